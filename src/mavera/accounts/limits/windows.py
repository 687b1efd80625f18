"""
How many requests a key may make: exact sliding windows of a minute and a day.

    allow(key, limits) → Verdict     both windows have room: counted once in each
                                     one has none: counted in neither, and when to come back

In memory by default, so per process; with MAVERA_RATE_LIMIT_URL in Redis or Valkey, exact
across all processes: one script, one round trip, by that server's clock. A store that
is down leaves each process to count for itself until it is back.

A window remembers when its requests came. Past a thousand of them it remembers groups,
each no longer than a thousandth of the window, and lets a group go when its last
request is old enough: never more than the limit in any window, and little memory.
"""

import asyncio
import importlib
import math
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Protocol

import msgspec
import structlog

from mavera.accounts.plans import Limits
from mavera.errors import ConfigurationError
from mavera.extras import describe_missing_extra
from mavera.storage.probe import OncePerSecond

MINUTE_SECONDS, DAY_SECONDS = 60.0, 86_400.0
GROUPS = 1_000
KEYS_IN_MEMORY = 10_000
STORE_TIMEOUT_SECONDS = 1.0
ASKED_AT_ONCE = 256
STORE_AWAY_SECONDS = 1.0

log = structlog.get_logger()


class Window(msgspec.Struct, frozen=True):
    """`most` requests in any `seconds`."""

    seconds: float
    most: int

    @property
    def group_seconds(self) -> float:
        return 0.0 if self.most <= GROUPS else self.seconds / GROUPS


class Verdict(msgspec.Struct, frozen=True):
    """
    What came of one request, as of the window that is nearer to its end.

    `reset_seconds`: until that window has room for one more than now.
    """

    allowed: bool
    limit: int
    remaining: int
    reset_seconds: int


class Limiter(Protocol):
    async def allow(self, key_id: str, limits: Limits) -> Verdict: ...

    async def close(self) -> None: ...


@lru_cache(maxsize=512)
def windows_of(limits: Limits) -> tuple[Window, ...]:
    minute = Window(MINUTE_SECONDS, limits.requests_per_minute)
    if limits.requests_per_day is None:
        return (minute,)
    return (minute, Window(DAY_SECONDS, limits.requests_per_day))


class MemoryLimiter:
    """Counts in this process. `clock` is one that nobody can set back."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._counts: OrderedDict[str, tuple[_Count, ...]] = OrderedDict()

    async def allow(self, key_id: str, limits: Limits) -> Verdict:
        return self.count(key_id, windows_of(limits))

    def count(self, key_id: str, windows: tuple[Window, ...]) -> Verdict:
        now = self._clock()
        counts = self._counts.get(key_id)
        if counts is None or len(counts) != len(windows):
            counts = tuple(_Count() for _ in windows)
            self._counts[key_id] = counts
            if len(self._counts) > KEYS_IN_MEMORY:
                self._counts.popitem(last=False)
        self._counts.move_to_end(key_id)
        allowed = True
        pairs = tuple(zip(counts, windows, strict=True))
        for count, window in pairs:
            count.forget(now - window.seconds)
            if count.total >= window.most:
                allowed = False
        if allowed:
            for count, window in pairs:
                count.add(now, window.group_seconds)
        states = [(count.total, count.oldest(now)) for count in counts]
        return verdict(allowed, windows, states, now)

    async def close(self) -> None:
        return None


class _Count:
    """The requests of one window: groups of [first, last, how many], oldest first."""

    __slots__ = ("groups", "total")

    def __init__(self) -> None:
        self.groups: deque[list[float]] = deque()
        self.total = 0

    def forget(self, before: float) -> None:
        while self.groups and self.groups[0][1] <= before:
            self.total -= int(self.groups.popleft()[2])

    def add(self, now: float, group_seconds: float) -> None:
        self.total += 1
        if self.groups and now - self.groups[-1][0] < group_seconds:
            self.groups[-1][1] = now
            self.groups[-1][2] += 1
        else:
            self.groups.append([now, now, 1])

    def oldest(self, now: float) -> float:
        """Return when the group that leaves next had its last request."""
        return self.groups[0][1] if self.groups else now


def verdict(
    allowed: bool, windows: tuple[Window, ...], states: list[tuple[int, float]], now: float
) -> Verdict:
    """Return what to tell: of the window that refuses longest, or else has the least left."""
    told: Verdict | None = None
    for window, (total, oldest) in zip(windows, states, strict=True):
        remaining = max(0, window.most - total)
        reset_seconds = max(1, math.ceil(oldest + window.seconds - now))
        if (
            told is None
            or remaining < told.remaining
            or (not remaining and reset_seconds > told.reset_seconds)
        ):
            told = Verdict(allowed, window.most, remaining, reset_seconds)
    assert told is not None  # noqa: S101 - there is always the minute
    return told


class SharedLimiter:
    """
    Counts in Redis or Valkey, for all processes together.

    What is asked while an answer is on its way goes out together when it has come. While
    the store is away each process counts for itself and asks again once a second;
    `local_requests` says how many requests were counted that way since the start, and
    `on_local` is called for each.
    """

    def __init__(
        self,
        store: Any,
        errors: tuple[type[Exception], ...],
        on_local: Callable[[], None] = lambda: None,
    ) -> None:
        self._store = store
        self._on_local = on_local
        self._errors = errors
        self._script = store.register_script(_SCRIPT)
        self._waiting: list[tuple[str, tuple[Window, ...], asyncio.Future[Verdict]]] = []
        self._asker: asyncio.Task[None] | None = None
        self._local = MemoryLimiter()
        self._reachable = OncePerSecond(self._ping)
        self._away_until = 0.0
        self.local_requests = 0

    async def allow(self, key_id: str, limits: Limits) -> Verdict:
        if time.monotonic() >= self._away_until:
            try:
                return await self.ask(key_id, windows_of(limits))
            except self._errors as error:
                self._note_away(error)
        self.local_requests += 1
        self._on_local()
        return await self._local.allow(key_id, limits)

    async def ask(self, key_id: str, windows: tuple[Window, ...]) -> Verdict:
        """Return the store's verdict. Raises what its client raises."""
        answer: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()
        self._waiting.append((key_id, windows, answer))
        if self._asker is None:
            self._asker = asyncio.create_task(self._ask_while_waiting())
        return await answer

    async def is_reachable(self) -> bool:
        """Ask the store for a sign of life, at most once a second."""
        return await self._reachable.get()

    async def _ping(self) -> bool:
        try:
            return bool(await self._store.ping())
        except self._errors:
            return False

    async def close(self) -> None:
        await self._reachable.close()
        if self._asker is not None:
            await self._asker
        await self._store.aclose()

    async def _ask_while_waiting(self) -> None:
        try:
            while self._waiting:
                asked, self._waiting = self._waiting[:ASKED_AT_ONCE], self._waiting[ASKED_AT_ONCE:]
                await self._ask_together(asked)
        finally:
            self._asker = None

    async def _ask_together(
        self, asked: list[tuple[str, tuple[Window, ...], asyncio.Future[Verdict]]]
    ) -> None:
        try:
            async with self._store.pipeline(transaction=False) as pipeline:
                for key_id, windows, _ in asked:
                    await self._script(*_script_input(key_id, windows), client=pipeline)
                answers = await pipeline.execute()
        except self._errors as error:
            _refuse(asked, error)
            return
        except BaseException as error:
            # An answer that makes no sense, or the end of the server: whoever waits would wait for ever.
            _refuse(asked, OSError(f"The store of rate limits failed: {type(error).__name__}."))
            raise
        for (_, windows, future), (allowed, now, *states) in zip(asked, answers, strict=True):
            if not future.done():  # cancelled: whoever asked has left
                pairs = [(int(n), float(at)) for n, at in zip(states[::2], states[1::2], strict=True)]
                future.set_result(verdict(bool(allowed), windows, pairs, float(now)))

    def _note_away(self, error: Exception) -> None:
        now = time.monotonic()
        if now >= self._away_until:  # said once, not by each of those that were waiting
            log.warning("rate_limit_store_away", error=type(error).__name__, local=self.local_requests)
        self._away_until = now + STORE_AWAY_SECONDS


def _refuse(
    asked: Sequence[tuple[str, tuple[Window, ...], asyncio.Future[Verdict]]], error: Exception
) -> None:
    for _, _, future in asked:
        if not future.done():
            future.set_exception(error)


def _script_input(key_id: str, windows: tuple[Window, ...]) -> tuple[list[str], list[float]]:
    # The braces keep the keys of one script on one node of a cluster.
    names = [f"mavera:limit:{{{key_id}}}:{window.seconds:.0f}" for window in windows]
    keys = [key for name in names for key in (name, f"{name}:total")]
    return keys, [number for w in windows for number in (w.seconds, w.most, w.group_seconds)]


def open_limiter(url: str, on_local: Callable[[], None] = lambda: None) -> Limiter:
    """
    Return a limiter that counts at `url`, or in this process where there is none.

    `on_local` is called for each request that this process counts since the store is away.
    """
    if not url:
        return MemoryLimiter()
    scheme, _, rest = url.partition("://")
    schemes = {"redis": "redis", "rediss": "rediss", "valkey": "redis", "valkeys": "rediss", "unix": "unix"}
    if scheme not in schemes or not rest:
        raise ConfigurationError("MAVERA_RATE_LIMIT_URL must begin with redis:// or valkey://.")
    try:
        redis = importlib.import_module("redis.asyncio")
    except ModuleNotFoundError as error:
        raise ConfigurationError(describe_missing_extra("redis", "MAVERA_RATE_LIMIT_URL")) from error
    try:
        store = redis.Redis.from_url(
            f"{schemes[scheme]}://{rest}",
            socket_timeout=STORE_TIMEOUT_SECONDS,
            socket_connect_timeout=STORE_TIMEOUT_SECONDS,
        )
    except ValueError as error:
        raise ConfigurationError("MAVERA_RATE_LIMIT_URL is not a URL that Redis clients know.") from error
    return SharedLimiter(store, (redis.RedisError, OSError, TimeoutError), on_local)


# What `_Count` does, at the store. A list holds the groups, newest first, as "first last count".
_SCRIPT = """
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local windows = #KEYS / 2
local totals = {}
local allowed = 1

local function parse(group)
    local first, last, count = string.match(group, '^(%S+) (%S+) (%S+)$')
    return tonumber(first), tonumber(last), tonumber(count)
end

-- Where this server's clock has stepped back, what was counted before counts as of now: else a key
-- that had used up its limit would wait until the clock is there again.
local function settle(list)
    local newest = redis.call('LINDEX', list, 0)
    if not newest then return end
    local _, last = parse(newest)
    if last <= now then return end
    local groups = redis.call('LRANGE', list, 0, -1)
    redis.call('DEL', list)
    for _, group in ipairs(groups) do
        local first, last, count = parse(group)
        local settled = string.format('%.6f %.6f %d', math.min(first, now), math.min(last, now), count)
        redis.call('RPUSH', list, settled)
    end
end

for w = 1, windows do
    local list, seconds, most = KEYS[2 * w - 1], tonumber(ARGV[3 * w - 2]), tonumber(ARGV[3 * w - 1])
    settle(list)
    local total = tonumber(redis.call('GET', KEYS[2 * w]) or '0')
    local group = redis.call('LINDEX', list, -1)
    while group do
        local _, last, count = parse(group)
        if last > now - seconds then break end
        redis.call('RPOP', list)
        total = total - count
        group = redis.call('LINDEX', list, -1)
    end
    if not group then total = 0 end
    totals[w] = total
    if total >= most then allowed = 0 end
end

local answer = {allowed, string.format('%.6f', now)}
for w = 1, windows do
    local list, seconds, length = KEYS[2 * w - 1], tonumber(ARGV[3 * w - 2]), tonumber(ARGV[3 * w])
    if allowed == 1 then
        totals[w] = totals[w] + 1
        local group = redis.call('LINDEX', list, 0)
        local first, _, count = 0, 0, 0
        if group then first, _, count = parse(group) end
        if group and now - first < length then
            redis.call('LSET', list, 0, string.format('%.6f %.6f %d', first, now, count + 1))
        else
            redis.call('LPUSH', list, string.format('%.6f %.6f 1', now, now))
        end
    end
    redis.call('SET', KEYS[2 * w], totals[w], 'EX', seconds + 1)
    redis.call('EXPIRE', list, seconds + 1)
    local oldest = now
    local group = redis.call('LINDEX', list, -1)
    if group then local _, last = parse(group) oldest = last end
    answer[#answer + 1] = totals[w]
    answer[#answer + 1] = string.format('%.6f', oldest)
end
return answer
"""
