"""
Limit the requests of a key with exact sliding windows of a minute and a day.

    allow(key, limits) → Verdict     both windows have room: the request is counted in both
                                     one has no room: it is counted in neither, and gets a time to retry

By default each process counts in memory. With MAVERA_RATE_LIMIT_URL, Redis or Valkey counts exactly across
all processes, with one script, one round trip and that server's clock. While that store is down, each
process counts for itself.

A window stores the times of its requests. Beyond a thousand of them it stores groups, each no longer than a
thousandth of the window, and drops a group when its last request is old enough. So no window ever has more
requests than its limit, and it needs little memory.
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

from mavera.accounts.limits.scripts import StoreScript
from mavera.accounts.plans import Limits
from mavera.errors import ConfigurationError
from mavera.extras import describe_missing_extra
from mavera.storage.probe import OncePerSecond

MINUTE_SECONDS, DAY_SECONDS = 60.0, 86_400.0
GROUPS = 1_000
KEYS_IN_MEMORY = 10_000
STORE_TIMEOUT_SECONDS = 1.0
SENT_AT_ONCE = 256
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
    The decision on one request, with the state of the window that is nearer to its limit.

    `reset_seconds` is the time until that window has room for one more request than now.
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
    """Counts in this process. `clock` must be monotonic."""

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
        states = [(count.total, count.find_oldest(now)) for count in counts]
        return to_verdict(allowed, windows, states, now)

    async def close(self) -> None:
        return None


class _Count:
    """The requests of one window: groups of [first time, last time, number], oldest first."""

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

    def find_oldest(self, now: float) -> float:
        """Return the time of the last request of the oldest group."""
        return self.groups[0][1] if self.groups else now


def to_verdict(
    allowed: bool, windows: tuple[Window, ...], states: list[tuple[int, float]], now: float
) -> Verdict:
    """Report the window that blocks longest, or else the one with the fewest requests left."""
    nearest: Verdict | None = None
    for window, (total, oldest) in zip(windows, states, strict=True):
        remaining = max(0, window.most - total)
        reset_seconds = max(1, math.ceil(oldest + window.seconds - now))
        if (
            nearest is None
            or remaining < nearest.remaining
            or (not remaining and reset_seconds > nearest.reset_seconds)
        ):
            nearest = Verdict(allowed, window.most, remaining, reset_seconds)
    assert nearest is not None  # noqa: S101 - there is always the minute
    return nearest


class SharedLimiter:
    """
    Counts in Redis or Valkey, for all processes together.

    Requests that arrive during a round trip share the next one. While the store is down, each process counts
    for itself and retries the store once a second. `local_requests` is the number of requests that it counted
    so since the start, and `on_local` is called for each.
    """

    def __init__(
        self,
        store: Any,
        errors: tuple[type[Exception], ...],
        on_local: Callable[[], None] = lambda: None,
    ) -> None:
        self.store = self._store = store
        self._on_local = on_local
        self.errors = self._errors = errors
        self._script = StoreScript(store, _SCRIPT)
        self._waiting: list[tuple[str, tuple[Window, ...], asyncio.Future[Verdict]]] = []
        self._sender: asyncio.Task[None] | None = None
        self._local = MemoryLimiter()
        self._reachable = OncePerSecond(self._ping)
        self._away_until = 0.0
        self.local_requests = 0

    async def allow(self, key_id: str, limits: Limits) -> Verdict:
        if time.monotonic() >= self._away_until:
            try:
                return await self.fetch_verdict(key_id, windows_of(limits))
            except self._errors as error:
                self._note_away(error)
        self.local_requests += 1
        self._on_local()
        return await self._local.allow(key_id, limits)

    async def fetch_verdict(self, key_id: str, windows: tuple[Window, ...]) -> Verdict:
        """Return the store's verdict. Raises the errors of its client."""
        future: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()
        self._waiting.append((key_id, windows, future))
        if self._sender is None:
            self._sender = asyncio.create_task(self._send_while_waiting())
        return await future

    async def is_reachable(self) -> bool:
        """Whether the store answers a ping, which is sent at most once a second."""
        return await self._reachable.get()

    async def find_policy(self) -> str | None:
        """Return what the store does when its memory is full, or None if it does not tell."""
        try:
            memory = await self._store.info("memory")
        except self._errors:
            return None
        policy = memory.get("maxmemory_policy")
        return str(policy) if policy is not None else None

    async def check_policy(self) -> None:
        """Log an error if the store may forget counts when its memory is full."""
        policy = await self.find_policy()
        if policy not in (None, "noeviction"):
            log.error("rate_limit_store_evicts", policy=policy, advice="maxmemory-policy noeviction")

    async def _ping(self) -> bool:
        try:
            return bool(await self._store.ping())
        except self._errors:
            return False

    async def close(self) -> None:
        await self._reachable.close()
        if self._sender is not None:
            await self._sender
        await self._store.aclose()

    async def _send_while_waiting(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:SENT_AT_ONCE], self._waiting[SENT_AT_ONCE:]
                await self._send_together(batch)
        finally:
            self._sender = None

    async def _send_together(
        self, batch: list[tuple[str, tuple[Window, ...], asyncio.Future[Verdict]]]
    ) -> None:
        try:
            replies = await self._script.run_each(
                [_build_script_input(key_id, windows) for key_id, windows, _ in batch]
            )
        except self._errors as error:
            _reject(batch, error)
            return
        except BaseException as error:
            # After an absurd reply, or when the server stops, the callers would wait for ever.
            _reject(batch, OSError(f"The store of rate limits failed: {type(error).__name__}."))
            raise
        for (_, windows, future), (allowed, now, *states) in zip(batch, replies, strict=True):
            if not future.done():  # a cancelled future is done
                pairs = [(int(n), float(at)) for n, at in zip(states[::2], states[1::2], strict=True)]
                future.set_result(to_verdict(bool(allowed), windows, pairs, float(now)))

    def _note_away(self, error: Exception) -> None:
        now = time.monotonic()
        if now >= self._away_until:  # log once, not for each request that was waiting
            log.warning("rate_limit_store_away", error=type(error).__name__, local=self.local_requests)
        self._away_until = now + STORE_AWAY_SECONDS


def _reject(
    batch: Sequence[tuple[str, tuple[Window, ...], asyncio.Future[Verdict]]], error: Exception
) -> None:
    for _, _, future in batch:
        if not future.done():
            future.set_exception(error)


@lru_cache(maxsize=4096)
def _build_script_input(
    key_id: str, windows: tuple[Window, ...]
) -> tuple[tuple[str, ...], tuple[float, ...]]:
    # The braces keep the keys of one script on one node of a cluster.
    names = [f"mavera:limit:{{{key_id}}}:{window.seconds:.0f}" for window in windows]
    keys = tuple(key for name in names for key in (name, f"{name}:total"))
    return keys, tuple(number for w in windows for number in (w.seconds, w.most, w.group_seconds))


def open_limiter(url: str, on_local: Callable[[], None] = lambda: None) -> Limiter:
    """
    Return a limiter that counts at `url`, or in this process if that is empty.

    `on_local` is called for each request that this process counts because the store is down.
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


# The script does the work of `_Count` at the store. A list contains the groups, newest first, as "first last
# count".
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

-- If this server's clock has stepped back, earlier requests get the current time. Otherwise a key that has
-- used up its limit would wait until the clock is there again.
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
