"""
Write rows a moment later and together, off the way of the requests that they are about.

Memory stays bounded: if the database cannot be reached for long, the oldest rows are dropped.
"""

import asyncio
from typing import Self

import structlog

from mavera.core.background import stop
from mavera.errors import ServiceUnavailable
from mavera.storage.database import Database, Row

WRITE_AFTER_SECONDS = 0.2
MOST_WAITING = 10_000

log = structlog.get_logger()


class LateRows:
    """
    Collects rows for one INSERT statement. The end of the block writes the rest.

    `subject` names the rows in the log, as in "tool calls".
    """

    def __init__(self, database: Database, insert: str, subject: str) -> None:
        self._database = database
        self._insert = insert
        self._subject = subject
        self._waiting: list[Row] = []
        self._writer: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await stop(self._writer)
        await self._write()

    @property
    def is_full(self) -> bool:
        """Say whether one more row would push out the oldest one if the database stays away."""
        return len(self._waiting) >= MOST_WAITING

    def add(self, row: Row) -> None:
        """Let the row be written soon."""
        self._waiting.append(row)
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write_soon())

    async def wait_until_written(self) -> None:
        """Wait until no row is left to write."""
        if self._writer is not None:
            await asyncio.shield(self._writer)

    async def _write_soon(self) -> None:
        while self._waiting:
            await asyncio.sleep(WRITE_AFTER_SECONDS)
            await self._write()

    async def _write(self) -> None:
        rows, self._waiting = self._waiting, []
        try:
            await self._database.execute_many(self._insert, rows)
        except (ServiceUnavailable, asyncio.CancelledError) as error:
            self._waiting = [*rows, *self._waiting][-MOST_WAITING:]
            if isinstance(error, asyncio.CancelledError):
                raise
            log.warning("rows not written yet", subject=self._subject, rows=len(rows), reason=error.message)
            await asyncio.sleep(1)
        except Exception as error:
            # Rows that cannot be written must not stop those that come after them.
            log.exception(
                "rows not written", subject=self._subject, rows=len(rows), error=type(error).__name__
            )
