"""
The gate in front of a model: a bounded number of runs enter, and a bounded number wait.

    join() → Place     or ServiceUnavailable, at once
    place.turn()       returns when this run may enter
    place.leave()      lets the next one in
"""

import asyncio
import math
import time
from collections.abc import Callable

from mavera.errors import ServiceUnavailable

MOST_RETRY_SECONDS = 60
_NEWEST_WEIGHT = 0.2


class Gate:
    """
    `on_waiting` is called with 1 when a run begins to wait, and with -1 when it stops.

    `on_waited` is called with the seconds of each wait.
    """

    def __init__(
        self,
        running: int,
        waiting: int,
        *,
        on_waiting: Callable[[int], None] = lambda _: None,
        on_waited: Callable[[float], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._on_waiting = on_waiting
        self._on_waited = on_waited
        self._running = running
        self._most = running + waiting
        self._inside = 0
        self._turns = asyncio.Semaphore(running)
        self._clock = clock
        self._usual_seconds = 1.0

    @property
    def is_full(self) -> bool:
        """Whether a new run has to wait for the end of another one."""
        return self._turns.locked()

    def join(self) -> "Place":
        """Return a place. Raises ServiceUnavailable if all are taken."""
        if self._inside >= self._most:
            waves = self._inside / self._running
            retry_after = min(MOST_RETRY_SECONDS, max(1, math.ceil(self._usual_seconds * waves)))
            raise ServiceUnavailable(
                "The model is busy, and its queue is full. Retry later.",
                retry_after=retry_after,
            )
        self._inside += 1
        return Place(self)

    async def enter(self) -> float:
        if self._inside <= self._running:  # nobody can be waiting
            await self._turns.acquire()
            return self._clock()
        self._on_waiting(1)
        began = self._clock()
        try:
            await self._turns.acquire()
        finally:
            self._on_waiting(-1)
            self._on_waited(self._clock() - began)
        return self._clock()

    def leave(self, entered_at: float | None) -> None:
        self._inside -= 1
        if entered_at is None:
            return
        self._turns.release()
        took = self._clock() - entered_at
        self._usual_seconds += (took - self._usual_seconds) * _NEWEST_WEIGHT


class Place:
    """The place of one run. Further calls of `turn` and `leave` do nothing."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._entered_at: float | None = None
        self._left = False

    @property
    def entered(self) -> bool:
        return self._entered_at is not None

    @property
    def is_waiting(self) -> bool:
        """Whether `turn` has to wait for the end of another run."""
        return self._entered_at is None and self._gate.is_full

    async def turn(self) -> None:
        if self._entered_at is None:
            self._entered_at = await self._gate.enter()

    def leave(self) -> None:
        if not self._left:
            self._left = True
            self._gate.leave(self._entered_at)
