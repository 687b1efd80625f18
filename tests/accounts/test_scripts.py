"""Scripts run at the store in one round trip, whatever the store knows of them."""

import asyncio
from typing import Any

import pytest

from mavera.accounts.limits.scripts import StoreScript
from mavera.accounts.limits.windows import SharedLimiter, open_limiter
from mavera.accounts.plans import Limits

ADD = "return redis.call('INCRBY', KEYS[1], ARGV[1])"


async def count_commands(store: Any, name: str) -> int:
    stats = await store.info("commandstats")
    return sum(
        int(each["calls"])
        for command, each in stats.items()
        if command.partition("|")[0] == f"cmdstat_{name}"
    )


@pytest.fixture
def limiter(redis_url: str) -> SharedLimiter:
    limiter = open_limiter(redis_url)
    assert isinstance(limiter, SharedLimiter)
    return limiter


def test_a_script_is_loaded_once_and_again_after_the_store_forgot_it(limiter: SharedLimiter) -> None:
    async def main() -> None:
        store, limits = limiter.store, Limits(1000, None, None)
        await store.script_flush()
        before = await count_commands(store, "script")
        for _ in range(5):
            assert (await limiter.allow("scripts-loaded-once", limits)).allowed
        assert await count_commands(store, "script") == before + 1
        await store.script_flush()
        verdicts = await asyncio.gather(*(limiter.allow("scripts-loaded-once", limits) for _ in range(20)))
        remaining = [verdict.remaining for verdict in verdicts]
        assert remaining == list(range(remaining[0], remaining[0] - 20, -1))
        await limiter.close()

    asyncio.run(main())


def test_each_call_runs_once_and_has_its_own_reply(limiter: SharedLimiter) -> None:
    async def main() -> None:
        await limiter.store.delete("mavera:scripts:a", "mavera:scripts:b")
        await limiter.store.script_flush()
        script = StoreScript(limiter.store, ADD)
        calls = [(["mavera:scripts:a"], [1]), (["mavera:scripts:b"], [10]), (["mavera:scripts:a"], [2])]
        assert await script.run_each(calls) == [1, 10, 3]
        assert await script.run(["mavera:scripts:b"], [5]) == 15
        await limiter.close()

    asyncio.run(main())


def test_an_error_of_a_script_reaches_the_caller(limiter: SharedLimiter) -> None:
    async def main() -> None:
        await limiter.store.set("mavera:scripts:text", "not a number")
        with pytest.raises(limiter.errors, match="not an integer"):
            await StoreScript(limiter.store, ADD).run(["mavera:scripts:text"], [1])
        await limiter.close()

    asyncio.run(main())


def test_a_reply_that_a_cancelled_caller_left_answers_nobody_else(limiter: SharedLimiter) -> None:
    async def main() -> None:
        await limiter.store.delete("mavera:scripts:c", "mavera:scripts:d")
        script = StoreScript(limiter.store, ADD)
        assert await script.run(["mavera:scripts:d"], [0]) == 0
        await limiter.store.client_pause(300)
        left = asyncio.create_task(script.run(["mavera:scripts:c"], [7]))
        await asyncio.sleep(0.05)  # the call is on its way, and the store does not answer yet
        left.cancel()
        await asyncio.wait([left])
        assert left.cancelled()

        replies = [await script.run(["mavera:scripts:d"], [1]) for _ in range(3)]
        assert replies == [1, 2, 3]
        await limiter.close()

    asyncio.run(main())


def test_one_refused_call_leaves_the_replies_of_the_others_in_order(limiter: SharedLimiter) -> None:
    async def main() -> None:
        await limiter.store.set("mavera:scripts:text", "not a number")
        await limiter.store.delete("mavera:scripts:e")
        script = StoreScript(limiter.store, ADD)
        calls = [(["mavera:scripts:e"], [1]), (["mavera:scripts:text"], [1]), (["mavera:scripts:e"], [2])]
        with pytest.raises(limiter.errors, match="not an integer"):
            await script.run_each(calls)

        assert await script.run(["mavera:scripts:e"], [4]) == 7
        await limiter.close()

    asyncio.run(main())
