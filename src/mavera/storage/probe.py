"""
Check whether the store is usable. Callers may ask at any rate; the store is checked at most once a second.

    SQLite     a write in a transaction of its own, which detects a full disk, a lock and a damaged file
    Postgres   a read, because one write a second from each server would be a useless load

Both checks also read which versions of servers may use the tables.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from mavera import __version__
from mavera.errors import APIError
from mavera.storage.database import Database, Row
from mavera.storage.schema import may_run

T = TypeVar("T")

FRESH_SECONDS = 1.0


class OncePerSecond(Generic[T]):
    """
    The latest result of `look`, which runs at most once a second and never twice at a time.

    Errors are not remembered. After `look` has raised one, the next caller runs it again.
    """

    def __init__(
        self, look: Callable[[], Awaitable[T]], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._look = look
        self._clock = clock
        self._looking: asyncio.Task[T] | None = None
        self._latest: tuple[float, T] | None = None

    async def get(self) -> T:
        """Return a result that is at most a second old. Raises the errors of `look`."""
        if self._latest is not None and self._clock() - self._latest[0] < FRESH_SECONDS:
            return self._latest[1]
        if self._looking is None:
            self._looking = asyncio.create_task(self._look_once())
        # A caller that is cancelled must not cancel the look of the others.
        return await asyncio.shield(self._looking)

    async def close(self) -> None:
        """Wait for the end of a look that is running."""
        if self._looking is not None:
            await asyncio.wait({self._looking})

    async def _look_once(self) -> T:
        try:
            result = await self._look()
            self._latest = self._clock(), result
            return result
        finally:
            self._looking = None


@dataclass(frozen=True, slots=True)
class StoreState:
    """
    The state of the store. `detail` describes a fault for the operator.

    `is_fault_here` is true if the fault is in this process, its disk or its version. Another server may work.
    """

    is_ready: bool
    is_fault_here: bool = False
    detail: str | None = None


class StoreProbe:
    """Close it before the database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._state = OncePerSecond(self._look)

    async def state(self) -> StoreState:
        return await self._state.get()

    async def close(self) -> None:
        await self._state.close()

    async def _look(self) -> StoreState:
        try:
            row = await (self._write() if self._database.is_file else self._read())
        except APIError as error:
            return StoreState(False, self._database.is_file, error.message)
        if row is not None and not may_run(row["lowest_schema"]):
            return StoreState(
                False,
                True,
                f"The database needs mavera {row['lowest_version']} or newer; this is {__version__}.",
            )
        if row is not None and row["read_only"]:
            return StoreState(False, False, "The database takes no writes: it is a standby.")
        if row is not None and row["closed"]:
            return StoreState(False, False, "The database is closed, because its data moved to another one.")
        return StoreState(True)

    async def _write(self) -> Row | None:
        async with self._database.transaction() as transaction:
            await transaction.execute(
                "UPDATE schema_state SET probed_at = :now WHERE id = 1", now=int(time.time())
            )
            return await transaction.fetch_one(
                "SELECT lowest_schema, lowest_version, 0 AS read_only, 0 AS closed"
                " FROM schema_state WHERE id = 1"
            )

    async def _read(self) -> Row | None:
        return await self._database.fetch_one(
            """
            SELECT lowest_schema, lowest_version, pg_is_in_recovery() AS read_only,
                   EXISTS (SELECT 1 FROM database_copies WHERE role = 'source') AS closed
              FROM schema_state
             WHERE id = 1
            """
        )
