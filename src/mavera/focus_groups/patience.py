"""
Repeat calls that fail for a while: reads of a model that is away, and statements of a database that is busy.

    Patience         for how long, and with which waits
    PatientQueries   a database whose statements are repeated until they succeed, or the patience ends

A study is worth more than a second of a busy database: without this, a cell would fail although its answer
had arrived, or a whole study would wait until its lease is over.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from mavera.errors import APIError
from mavera.storage.database import Queries, Row

T = TypeVar("T")

LONGEST_WAIT_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Patience:
    """
    `seconds` is how long calls are repeated. The first wait doubles with each try, up to 15 seconds.

    The default outlasts a model's server that is replaced, or a night's maintenance of a database.
    """

    seconds: float = 30 * 60.0
    first_wait_seconds: float = 0.5

    async def insist(
        self, call: Callable[[], Awaitable[T]], *, is_over: Callable[[], Awaitable[bool]] | None = None
    ) -> T | None:
        """
        Return the result of `call`, which is repeated while it raises passing errors.

        Returns None if `is_over` says so before a repetition. Raises the APIError of the last try.
        """
        wait = self.first_wait_seconds
        until = time.monotonic() + self.seconds
        while True:
            try:
                return await call()
            except APIError as error:
                if not is_passing(error) or time.monotonic() + wait > until:
                    raise
            if is_over is not None and await is_over():
                return None
            await asyncio.sleep(wait)
            wait = min(2 * wait, LONGEST_WAIT_SECONDS)


def is_passing(error: APIError) -> bool:
    """Return whether a retry can succeed, because the other side is unavailable or busy."""
    return error.status in (429, 503)


class PatientQueries:
    """
    Runs each statement on `database` until it succeeds.

    After a broken connection nobody knows whether a statement took effect, so it may run twice. Use it only
    for statements that change nothing the second time.
    """

    def __init__(self, database: Queries, patience: Patience) -> None:
        self._database = database
        self._patience = patience

    async def fetch_one(self, sql: str, /, **values: Any) -> Row | None:
        return await self._patience.insist(partial(self._database.fetch_one, sql, **values))

    async def fetch_all(self, sql: str, /, **values: Any) -> list[Row]:
        return await self._patience.insist(partial(self._database.fetch_all, sql, **values)) or []

    async def execute(self, sql: str, /, **values: Any) -> int:
        return await self._patience.insist(partial(self._database.execute, sql, **values)) or 0

    async def execute_many(self, sql: str, rows: Sequence[Row], /) -> None:
        await self._patience.insist(partial(self._database.execute_many, sql, rows))
