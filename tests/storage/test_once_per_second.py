"""A look at something that others wait for: at most one a second, and never two at a time."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from mavera.storage.probe import OncePerSecond


class Looks:
    """Counts how often it is looked at, on a clock of its own; a look ends when `may_end` is set."""

    def __init__(self) -> None:
        self.now = 100.0
        self.begun = 0
        self.may_end = asyncio.Event()
        self.may_end.set()
        self.error: Exception | None = None
        self.state = OncePerSecond(self.look, clock=lambda: self.now)

    async def look(self) -> int:
        self.begun += 1
        number = self.begun
        await self.may_end.wait()
        if self.error is not None:
            raise self.error
        return number


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(test, 10))


def test_however_often_it_is_asked_it_looks_once_a_second() -> None:
    async def test() -> None:
        looks = Looks()
        found = []
        for _ in range(40):
            found += [await looks.state.get() for _ in range(5)]
            looks.now += 0.125
        assert found == sorted(found)
        assert looks.begun == 5  # at 0, 1, 2, 3 and 4 seconds of the five

    run(test())


def test_a_result_is_good_until_it_is_a_second_old() -> None:
    async def test() -> None:
        looks = Looks()
        assert await looks.state.get() == 1
        looks.now += 0.999
        assert await looks.state.get() == 1
        looks.now += 0.001
        assert await looks.state.get() == 2

    run(test())


def test_those_who_ask_during_a_look_wait_for_it_and_start_no_other() -> None:
    async def test() -> None:
        looks = Looks()
        looks.may_end.clear()
        asking = [asyncio.create_task(looks.state.get()) for _ in range(20)]
        await asyncio.sleep(0)
        looks.now += 30  # a look may take longer than its result is good for
        asking.append(asyncio.create_task(looks.state.get()))
        await asyncio.sleep(0)
        looks.may_end.set()
        assert await asyncio.gather(*asking) == [1] * 21
        assert await looks.state.get() == 1  # its age counts from its end

    run(test())


def test_one_who_leaves_takes_the_look_from_nobody() -> None:
    async def test() -> None:
        looks = Looks()
        looks.may_end.clear()
        leaving, staying = (asyncio.create_task(looks.state.get()) for _ in range(2))
        await asyncio.sleep(0)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        looks.may_end.set()
        assert await staying == 1
        assert looks.begun == 1

    run(test())


def test_closing_waits_for_the_look_that_is_going_on() -> None:
    async def test() -> None:
        looks = Looks()
        looks.may_end.clear()
        asking = asyncio.create_task(looks.state.get())
        await asyncio.sleep(0)
        closing = asyncio.create_task(looks.state.close())
        await asyncio.sleep(0)
        assert not closing.done()
        looks.may_end.set()
        await closing
        assert await asking == 1

    run(test())


def test_a_look_that_fails_is_not_remembered() -> None:
    async def test() -> None:
        looks = Looks()
        looks.error = OSError("gone")
        with pytest.raises(OSError, match="gone"):
            await looks.state.get()
        looks.error = None
        assert await looks.state.get() == 2

    run(test())
