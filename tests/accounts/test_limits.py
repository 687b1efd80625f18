"""Requests are counted exactly, in one process and in several, and the wait that is told is the right one."""

import asyncio
import time

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from mavera.accounts.limits.windows import GROUPS, Limiter, MemoryLimiter, SharedLimiter, Window, open_limiter
from mavera.accounts.plans import PLANS, Limits
from mavera.errors import ConfigurationError
from tests.support import servers
from tests.support.house import Clock
from tests.support.requirements import require_module

FREE = PLANS["free"].limits
TEN = Limits(10, None, None)


async def allowed(limiter: Limiter, limits: Limits, times: int, key: str = "key") -> int:
    verdicts = await asyncio.gather(*(limiter.allow(key, limits) for _ in range(times)))
    return sum(verdict.allowed for verdict in verdicts)


def test_two_hundred_at_once_against_ten_a_minute_admit_ten() -> None:
    assert asyncio.run(allowed(MemoryLimiter(), TEN, 200)) == 10


def test_two_processes_that_share_a_store_admit_ten_together(redis_url: str) -> None:
    async def main() -> None:
        one, two = open_limiter(redis_url), open_limiter(redis_url.replace("redis://", "valkey://"))
        key = f"key{time.time_ns()}"
        counts = await asyncio.gather(*(allowed(limiter, FREE, 100, key) for limiter in (one, two)))
        assert sum(counts) == 10
        verdict = await one.allow(key, FREE)
        assert (verdict.limit, verdict.remaining) == (10, 0)
        assert 58 <= verdict.reset_seconds <= 60
        assert await allowed(two, FREE, 3, key + "other") == 3
        await one.close()
        await two.close()

    asyncio.run(main())


def test_the_stores_window_slides_and_the_wait_it_tells_is_enough(redis_url: str) -> None:
    async def main() -> None:
        limiter = open_limiter(redis_url)
        assert isinstance(limiter, SharedLimiter)
        key = f"key{time.time_ns()}"
        windows = (Window(2.0, 3),)
        first = [await limiter.fetch_verdict(key, windows) for _ in range(3)]
        refused = await limiter.fetch_verdict(key, windows)
        assert [each.allowed for each in first] == [True] * 3
        assert (refused.allowed, refused.reset_seconds) == (False, 2)
        await asyncio.sleep(refused.reset_seconds)
        assert (await limiter.fetch_verdict(key, windows)).allowed
        await limiter.close()

    asyncio.run(main())


def test_a_store_whose_clock_steps_back_makes_nobody_wait_longer_than_the_window(redis_url: str) -> None:
    redis = require_module("redis.asyncio")

    async def main() -> None:
        limiter = open_limiter(redis_url)
        assert isinstance(limiter, SharedLimiter)
        key = f"key{time.time_ns()}"
        windows = (Window(2.0, 3),)
        for _ in range(3):
            await limiter.fetch_verdict(key, windows)
        async with redis.Redis.from_url(redis_url) as store:
            # What the store would hold had its clock been an hour ahead until now.
            name = f"mavera:limit:{{{key}}}:2"
            groups = [group.decode().split() for group in await store.lrange(name, 0, -1)]
            await store.delete(name)
            for first, last, count in groups:
                await store.rpush(name, f"{float(first) + 3600:.6f} {float(last) + 3600:.6f} {count}")
        refused = await limiter.fetch_verdict(key, windows)
        assert (refused.allowed, refused.remaining, refused.reset_seconds) == (False, 0, 2)
        await asyncio.sleep(refused.reset_seconds)
        assert (await limiter.fetch_verdict(key, windows)).allowed
        await limiter.close()

    asyncio.run(main())


def test_groups_in_the_store_count_as_those_in_memory(redis_url: str) -> None:
    async def main() -> None:
        limiter = open_limiter(redis_url)
        limits = Limits(5_000, 2_000, None)
        key = f"key{time.time_ns()}"
        assert await allowed(limiter, limits, 2_100, key) == 2_000
        await limiter.close()

    asyncio.run(main())


def test_a_wait_is_right_to_the_second() -> None:
    async def main() -> None:
        clock = Clock()
        limiter = MemoryLimiter(clock)
        for _ in range(10):
            assert (await limiter.allow("key", FREE)).allowed
            clock.seconds += 3
        refused = await limiter.allow("key", FREE)
        assert (refused.allowed, refused.remaining, refused.reset_seconds) == (False, 0, 30)
        clock.seconds += refused.reset_seconds - 1
        assert not (await limiter.allow("key", FREE)).allowed
        clock.seconds += 1
        assert (await limiter.allow("key", FREE)).allowed
        assert not (await limiter.allow("key", FREE)).allowed

    asyncio.run(main())


def test_a_day_that_is_used_up_is_what_is_told() -> None:
    async def main() -> None:
        clock = Clock()
        limiter = MemoryLimiter(clock)
        for _ in range(100):
            assert (await limiter.allow("key", FREE)).allowed
            clock.seconds += 7
        refused = await limiter.allow("key", FREE)
        assert (refused.allowed, refused.limit, refused.reset_seconds) == (False, 100, 86_400 - 700)

    asyncio.run(main())


@settings(deadline=None)
@given(
    st.lists(st.floats(0, 40, allow_nan=False), max_size=300),
    st.sampled_from([Limits(5, 20, None), Limits(7, None, None)]),
)
def test_no_window_ever_has_more_than_its_limit(pauses: list[float], limits: Limits) -> None:
    async def main() -> None:
        clock = Clock()
        limiter = MemoryLimiter(clock)
        times: list[float] = []
        for pause in pauses:
            clock.seconds += pause
            if (await limiter.allow("key", limits)).allowed:
                times.append(clock.seconds)
        for end in times:
            assert sum(end - 60 < at <= end for at in times) <= limits.requests_per_minute

    asyncio.run(main())


def test_a_large_limit_is_kept_in_little_memory_and_never_passed() -> None:
    async def main() -> None:
        clock = Clock()
        limiter = MemoryLimiter(clock)
        limits = Limits(20_000, None, None)
        admitted = 0
        for _ in range(30_000):
            clock.seconds += 0.001
            admitted += (await limiter.allow("key", limits)).allowed
        assert admitted == 20_000
        [count] = limiter._counts["key"]
        assert len(count.groups) <= GROUPS + 1
        refused = await limiter.allow("key", limits)
        clock.seconds += refused.reset_seconds
        assert (await limiter.allow("key", limits)).allowed

    asyncio.run(main())


def test_a_store_that_is_away_leaves_each_process_to_count_until_it_is_back() -> None:
    require_module("redis")
    port = servers.free_port()

    async def main() -> None:
        limiter = open_limiter(f"redis://127.0.0.1:{port}")
        assert isinstance(limiter, SharedLimiter)
        assert await allowed(limiter, TEN, 50) == 10
        assert limiter.local_requests == 50
        with servers.running_redis(port):
            await asyncio.sleep(1.1)
            assert (await limiter.allow("key", TEN)).remaining == 9
            assert limiter.local_requests == 50
        assert (await limiter.allow("other", TEN)).allowed
        assert limiter.local_requests == 51
        await limiter.close()

    asyncio.run(main())


@pytest.mark.parametrize("url", ["memcached://h", "redis", "redis://:secret@h:port/0"])
def test_a_url_that_cannot_be_used_is_refused_without_quoting_it(url: str) -> None:
    with pytest.raises(ConfigurationError, match="MAVERA_RATE_LIMIT_URL") as caught:
        open_limiter(url)
    assert "secret" not in str(caught.value)


def test_a_start_names_a_store_that_forgets_counts_when_it_is_full() -> None:
    require_module("redis")

    async def main() -> None:
        with servers.running_redis(servers.free_port()) as url:
            limiter = open_limiter(url)
            assert isinstance(limiter, SharedLimiter)
            with structlog.testing.capture_logs() as entries:
                await limiter.check_policy()
            assert entries == []
            await limiter.store.config_set("maxmemory-policy", "allkeys-lru")
            with structlog.testing.capture_logs() as entries:
                await limiter.check_policy()
            assert [(entry["event"], entry["policy"]) for entry in entries] == [
                ("rate_limit_store_evicts", "allkeys-lru")
            ]
            await limiter.close()

    asyncio.run(main())
