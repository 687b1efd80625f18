"""
Run SQL on SQLite or Postgres.

    row = await database.fetch_one("SELECT … WHERE id = :id", id=id)      one statement, committed by itself

    async with database.transaction() as transaction:                    several statements, all or none
        await transaction.execute("UPDATE …", …)

    results = await database.batch(function)                             many statements: see `pool`

Values are always parameters. A database and a transaction are both `Queries`, so a repository's function
accepts either. No error of a driver leaves this file. A database that is unreachable or busy raises
ServiceUnavailable. Any other error is a mistake in our code and raises an APIError.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Protocol, Self, TypeVar

from sqlalchemy import URL

from mavera.settings import Settings
from mavera.storage.clock import StoreClock
from mavera.storage.engine import is_file, open_pool, settings_url
from mavera.storage.faults import Conflict, storage_errors
from mavera.storage.pool import Connection, Pool, Statements, run_transaction
from mavera.storage.postgres_checks import refuse_transaction_pool
from mavera.storage.rows import Row

__all__ = ["Conflict", "Database", "Queries", "Row", "Statements", "Transaction"]

T = TypeVar("T")

_POSTGRES_TIME = "SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) AS DOUBLE PRECISION) AS moment"
_FILE_HAS_TABLE = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = :name"
_POSTGRES_HAS_TABLE = "SELECT 1 WHERE to_regclass(CAST(:name AS TEXT)) IS NOT NULL"


class Queries(Protocol):
    """A database, or one transaction on it: both can run statements."""

    async def fetch_one(self, sql: str, /, **values: Any) -> Row | None: ...

    async def fetch_all(self, sql: str, /, **values: Any) -> list[Row]: ...

    async def execute(self, sql: str, /, **values: Any) -> int: ...

    async def execute_many(self, sql: str, rows: Sequence[Row], /) -> None: ...


class Transaction:
    """Statements on one connection. They take effect if the block of `Database.transaction` succeeds."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def fetch_one(self, sql: str, /, **values: Any) -> Row | None:
        """Return the first row, or None if there is none."""
        rows = await self.fetch_all(sql, **values)
        return rows[0] if rows else None

    async def fetch_all(self, sql: str, /, **values: Any) -> list[Row]:
        with storage_errors():
            return await self._connection.fetch_all(sql, values)

    async def execute(self, sql: str, /, **values: Any) -> int:
        """Return the number of rows changed."""
        with storage_errors():
            return await self._connection.execute(sql, values)

    async def execute_many(self, sql: str, rows: Sequence[Row], /) -> None:
        """Run one statement once for each of `rows`."""
        if rows:
            with storage_errors():
                await self._connection.execute_many(sql, rows)


class Database:
    """A pool of connections. It belongs to one event loop, and must be closed on it."""

    def __init__(self, pool: Pool, *, is_file: bool) -> None:
        self._pool = pool
        self.clock = StoreClock()
        """The time that months, leases and expiries go by. `sync_clock` sets it on Postgres."""
        self.is_file = is_file
        """Whether this is SQLite, whose file is on this machine."""

    @classmethod
    def open(cls, settings: Settings) -> Self:
        """Return a database that connects with its first statement. Raises ConfigurationError."""
        return cls.at(settings_url(settings))

    @classmethod
    def at(cls, url: URL) -> Self:
        return cls(open_pool(url), is_file=is_file(url))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        await self._pool.close()

    async def batch(self, function: Callable[[Statements], T], *, durable: bool = True) -> T:
        """
        Run `function`, which must do nothing but run statements, in a transaction of its own.

        If it is not `durable`, everybody sees its effects at once, but a power cut may undo them. A later
        durable batch makes them last, too.
        """
        with storage_errors():
            return await self._pool.batch(function, durable=durable)

    async def fetch_one(self, sql: str, /, **values: Any) -> Row | None:
        async with self._pool.lend() as connection:
            return await Transaction(connection).fetch_one(sql, **values)

    async def fetch_all(self, sql: str, /, **values: Any) -> list[Row]:
        async with self._pool.lend() as connection:
            return await Transaction(connection).fetch_all(sql, **values)

    async def execute(self, sql: str, /, **values: Any) -> int:
        async with self._pool.lend() as connection:
            return await Transaction(connection).execute(sql, **values)

    async def execute_many(self, sql: str, rows: Sequence[Row], /) -> None:
        async with self.transaction() as transaction:
            await transaction.execute_many(sql, rows)

    async def sync_clock(self) -> None:
        """Set the clock by the database's. Does nothing on SQLite. Raises ServiceUnavailable."""
        if not self.is_file:
            await self.clock.sync(self._read_time)

    async def _read_time(self) -> float:
        row = await self.fetch_one(_POSTGRES_TIME)
        return float(row["moment"]) if row else 0.0

    async def refuse_transaction_pool(self) -> None:
        """Raise ConfigurationError if a pool stands in front of Postgres that mavera cannot work behind."""
        if not self.is_file:
            await refuse_transaction_pool(self._pool)

    async def has_table(self, name: str) -> bool:
        sql = _FILE_HAS_TABLE if self.is_file else _POSTGRES_HAS_TABLE
        return await self.fetch_one(sql, name=name) is not None

    @asynccontextmanager
    async def session(self) -> AsyncIterator[Queries]:
        """Lend one connection on which each statement is committed by itself."""
        async with self._pool.lend() as connection:
            yield Transaction(connection)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """
        Commit when the block ends. Roll back if it raises or is cancelled.

        On SQLite, all processes together can have one open transaction, so keep it short.
        """
        async with self._pool.lend() as connection, run_transaction(connection):
            yield Transaction(connection)
