"""Places are shared: no caller takes them all, nobody waits for ever, and none is lost."""

import asyncio
from collections import Counter
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mavera.errors import ServiceUnavailable
from mavera.fetch.fair_places import FairPlaces


def test_a_caller_with_a_full_share_leaves_room_for_another() -> None:
    async def run() -> None:
        places = FairPlaces(4, each=2, patience_seconds=30, busy="busy")
        leave = asyncio.Event()

        async def stay() -> None:
            async with places.take("greedy"):
                await leave.wait()

        greedy = [asyncio.create_task(stay()) for _ in range(50)]
        await asyncio.sleep(0)
        async with asyncio.timeout(5), places.take("modest"):
            pass
        leave.set()
        await asyncio.gather(*greedy)

    asyncio.run(run())


def test_a_free_place_goes_to_the_caller_that_holds_the_fewest() -> None:
    async def run() -> list[str]:
        places = FairPlaces(2, each=2, patience_seconds=30, busy="busy")
        leave, order = asyncio.Event(), []

        async def stay(caller: str) -> None:
            async with places.take(caller):
                order.append(caller)
                await leave.wait()

        tasks = [asyncio.create_task(stay("first")) for _ in range(4)]
        await asyncio.sleep(0)
        tasks.append(asyncio.create_task(stay("late")))
        await asyncio.sleep(0)
        leave.set()
        await asyncio.gather(*tasks)
        return order

    assert asyncio.run(run())[:3] == ["first", "first", "late"]


def test_a_caller_whose_patience_is_over_gets_a_503_and_leaves_the_queue() -> None:
    async def run() -> None:
        places = FairPlaces(1, each=1, patience_seconds=0.01, busy="Try later.")
        async with places.take("a"):
            with pytest.raises(ServiceUnavailable, match="Try later") as refused:
                async with places.take("b"):
                    pass
            assert refused.value.retry_after
        async with asyncio.timeout(5), places.take("b"):
            pass

    asyncio.run(run())


moves = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["come", "go", "cancel"])), max_size=60)


@given(moves, st.integers(1, 3), st.integers(1, 3))
def test_no_place_is_lost_or_given_twice(moves: list[tuple[str, str]], count: int, each: int) -> None:
    async def run() -> None:
        places = FairPlaces(count, each=each, patience_seconds=30, busy="busy")
        inside: Counter[str] = Counter()
        tasks: list[tuple[str, asyncio.Task[None], asyncio.Event]] = []

        async def stay(caller: str, leave: asyncio.Event) -> None:
            async with places.take(caller):
                inside[caller] += 1
                assert inside.total() <= count
                assert inside[caller] <= each
                try:
                    await leave.wait()
                finally:
                    inside[caller] -= 1

        for caller, move in moves:
            mine = [task for task in tasks if task[0] == caller and not task[1].done()]
            if move == "come":
                leave = asyncio.Event()
                tasks.append((caller, asyncio.create_task(stay(caller, leave)), leave))
            elif mine and move == "go":
                mine[0][2].set()
            elif mine:
                mine[-1][1].cancel()
            await asyncio.sleep(0)
        for _, task, leave in tasks:
            leave.set()
            with suppress(asyncio.CancelledError):
                await task
        async with asyncio.timeout(5):
            for caller in "abc":
                async with places.take(caller):
                    assert inside.total() == 0

    asyncio.run(run())
