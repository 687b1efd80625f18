"""The cap on a workspace's concurrent runs is exact over processes, in Redis and in Postgres."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from mavera.accounts.limits.slots import PostgresSlots, RedisSlots
from mavera.accounts.limits.windows import SharedLimiter, open_limiter
from mavera.core.ids import new_cuid
from mavera.storage.database import Database
from mavera.storage.engine import parse_url
from tests.support import servers
from tests.support.tables import make_tables

MOST = 10
Slots = RedisSlots | PostgresSlots
OpenSlots = Callable[[int], AbstractAsyncContextManager[Slots]]


@pytest.fixture(params=["redis", "postgres"])
def open_slots(request: pytest.FixtureRequest) -> OpenSlots:
    """Return what opens the slots of one more process, with leases of so many seconds."""
    if request.param == "redis":
        url = request.getfixturevalue("redis_url")

        @asynccontextmanager
        async def open_redis(lease_seconds: int) -> AsyncIterator[Slots]:
            limiter = open_limiter(url)
            assert isinstance(limiter, SharedLimiter)
            async with RedisSlots(limiter.store, limiter.errors, lease_seconds=lease_seconds) as slots:
                yield slots
            await limiter.close()

        return open_redis
    database_url = request.getfixturevalue("slots_database")

    @asynccontextmanager
    async def open_postgres(lease_seconds: int) -> AsyncIterator[Slots]:
        async with (
            Database.at(parse_url(database_url)) as database,
            PostgresSlots(database, new_cuid(), lease_seconds=lease_seconds) as slots,
        ):
            yield slots

    return open_postgres


@pytest.fixture
def slots_database(postgres_url: str) -> Any:
    with servers.new_database(postgres_url) as url:
        make_tables(url)
        yield url


def test_two_hundred_at_once_over_two_processes_begin_exactly_ten_runs(open_slots: OpenSlots) -> None:
    async def run() -> None:
        workspace = new_cuid()
        async with open_slots(60) as one, open_slots(60) as other:
            begun = await asyncio.gather(
                *((one, other)[number % 2].begin(workspace, MOST) for number in range(200))
            )
            assert sum(begun) == MOST
            assert await other.begin(new_cuid(), MOST), "another workspace has slots of its own"

    asyncio.run(run())


def test_the_end_of_a_run_makes_room_for_one_more_anywhere(open_slots: OpenSlots) -> None:
    async def run() -> None:
        workspace = new_cuid()
        async with open_slots(60) as one, open_slots(60) as other:
            assert await one.begin(workspace, 1)
            assert not await other.begin(workspace, 1)
            one.end(workspace, 1)
            for _ in range(100):
                if await other.begin(workspace, 1):
                    break
                await asyncio.sleep(0.02)
            else:
                pytest.fail("the slot did not come back")
            assert not await one.begin(workspace, 1)

    asyncio.run(run())


def test_the_slots_of_a_process_that_died_come_back_and_those_of_a_living_one_do_not(
    open_slots: OpenSlots,
) -> None:
    async def run() -> None:
        workspace = new_cuid()
        async with AsyncExitStack() as stack:
            dead = await stack.enter_async_context(open_slots(3))
            living = await stack.enter_async_context(open_slots(3))
            assert await dead.begin(workspace, 2)
            assert await living.begin(workspace, 2)
            assert dead._renewer is not None
            dead._renewer.cancel()  # a killed process renews nothing
            await asyncio.sleep(4.5)

            assert await living.begin(workspace, 2)
            assert not await living.begin(workspace, 2)

    asyncio.run(run())


def test_a_plan_without_a_cap_needs_no_slot(open_slots: OpenSlots) -> None:
    async def run() -> None:
        async with open_slots(60) as slots:
            workspace = new_cuid()
            assert all([await slots.begin(workspace, None) for _ in range(20)])
            slots.end(workspace, None)
            assert await slots.begin(workspace, 1)

    asyncio.run(run())


def test_while_redis_is_away_each_process_counts_for_itself() -> None:
    async def run() -> None:
        limiter = open_limiter(f"redis://127.0.0.1:{servers.free_port()}/0")
        assert isinstance(limiter, SharedLimiter)
        async with RedisSlots(limiter.store, limiter.errors, lease_seconds=60) as slots:
            workspace = new_cuid()
            assert [await slots.begin(workspace, 1) for _ in range(2)] == [True, False]
            slots.end(workspace, 1)
            assert await slots.begin(workspace, 1)
        await limiter.close()

    asyncio.run(run())
