"""
Share a number of places among callers, so that no caller can take all of them.

    take("ws_a") → a place is free, and ws_a has less than its share → it enters
                 → else it waits; a free place goes to the waiting caller that holds the fewest
                 → its patience is over: 503 with Retry-After

A caller is a workspace. Everything happens on one event loop, so no lock is needed.
"""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from mavera.errors import ServiceUnavailable

_Waiting = tuple[str, "asyncio.Future[None]"]


class FairPlaces:
    """
    A pool of `places`, of which one caller holds at most `each`.

    A caller waits at most `patience_seconds`. Then it gets a 503 with the message `busy`.
    """

    def __init__(self, places: int, *, each: int, patience_seconds: float, busy: str) -> None:
        self._free = places
        self._each = each
        self._patience_seconds = patience_seconds
        self._busy = busy
        self._held: Counter[str] = Counter()
        self._waiting: deque[_Waiting] = deque()

    @asynccontextmanager
    async def take(self, caller: str) -> AsyncIterator[None]:
        """Hold a place during the block. Raises ServiceUnavailable if no place becomes free in time."""
        await self._enter(caller)
        try:
            yield
        finally:
            self._leave(caller)

    async def _enter(self, caller: str) -> None:
        # Each waiting caller has its whole share or found no free place, so this one overtakes nobody.
        if self._free and self._held[caller] < self._each:
            self._give(caller)
            return
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (caller, place)
        self._waiting.append(entry)
        try:
            async with asyncio.timeout(self._patience_seconds):
                await place
        except BaseException as error:
            if place.done() and not place.cancelled():
                self._leave(caller)
            else:
                self._waiting.remove(entry)
            if isinstance(error, TimeoutError):
                raise ServiceUnavailable(self._busy, retry_after=5) from error
            raise

    def _give(self, caller: str) -> None:
        self._free -= 1
        self._held[caller] += 1

    def _leave(self, caller: str) -> None:
        self._free += 1
        self._held[caller] -= 1
        if not self._held[caller]:
            del self._held[caller]
        while self._free and (entry := self._next()) is not None:
            self._waiting.remove(entry)
            self._give(entry[0])
            entry[1].set_result(None)

    def _next(self) -> _Waiting | None:
        """Return the first waiting entry of the caller that holds the fewest places."""
        below = (e for e in self._waiting if self._held[e[0]] < self._each and not e[1].done())
        return min(below, key=lambda entry: self._held[entry[0]], default=None)
