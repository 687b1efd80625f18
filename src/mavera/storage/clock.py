"""
The time of the store, which every lease, month and expiry goes by.

    SQLite     this machine's clock, because all processes of the file run on this machine
    Postgres   the database's clock: read now and then, and carried on by this machine's monotonic clock

So a server whose own clock is wrong, or jumps, computes the same times as all others. The difference between
both clocks is the skew. Beyond 5 seconds, the log, `mavera doctor` and a metric name it.
"""

import time
from collections.abc import Awaitable, Callable

import structlog

MOST_SKEW_SECONDS = 5.0
# A machine that sleeps stops its monotonic clock, so the time is read again this often.
SYNC_SECONDS = 10.0

log = structlog.get_logger()


class StoreClock:
    """Calling it returns Unix seconds. Before the first `sync`, that is this machine's time."""

    def __init__(
        self, *, wall: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._offset: float | None = None
        self._is_skewed = False

    def __call__(self) -> float:
        return self._wall() if self._offset is None else self._monotonic() + self._offset

    @property
    def skew_seconds(self) -> float:
        """The seconds by which this machine's clock is ahead of the store's."""
        return 0.0 if self._offset is None else self._wall() - self()

    async def sync(self, read: Callable[[], Awaitable[float]]) -> None:
        """Read the store's time with `read`. Its answer counts for the middle of the round trip."""
        before = self._monotonic()
        moment = await read()
        after = self._monotonic()
        self._offset = moment - (before + after) / 2
        skewed = abs(self.skew_seconds) > MOST_SKEW_SECONDS
        if skewed and not self._is_skewed:
            log.error("clock_skewed", ahead_seconds=round(self.skew_seconds, 1))
        self._is_skewed = skewed
