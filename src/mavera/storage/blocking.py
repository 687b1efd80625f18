"""
Statements that block, for work that is many statements and one transaction.

    SQLite      a thread with a connection of its own, and the driver without SQLAlchemy before it
    Postgres    a connection of the pool, through SQLAlchemy's greenlets

Awaited one by one, each statement is four hops to the driver's thread and back; a whole
transaction here is one.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, TypeVar, cast

from sqlalchemy import Connection, text

from mavera.storage.rows import Row

T = TypeVar("T")


class Statements(Protocol):
    """One transaction; `run` commits it when the function that got it returns."""

    def fetch_all(self, sql: str, values: Row, /) -> list[Row]: ...

    def execute(self, sql: str, values: Row, /) -> int:
        """Return the number of rows changed."""
        ...

    def execute_many(self, sql: str, rows: Sequence[Row], /) -> None: ...


class PooledStatements:
    """Inside `AsyncConnection.run_sync`: looks blocking, and lets the loop go on."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def fetch_all(self, sql: str, values: Row, /) -> list[Row]:
        return cast("list[Row]", self._connection.execute(text(sql), dict(values)).mappings().all())

    def execute(self, sql: str, values: Row, /) -> int:
        return self._connection.execute(text(sql), dict(values)).rowcount

    def execute_many(self, sql: str, rows: Sequence[Row], /) -> None:
        if rows:
            self._connection.execute(text(sql), [dict(row) for row in rows])


class FileStatements:
    """On SQLite's own connection, in its thread."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def fetch_all(self, sql: str, values: Row, /) -> list[Row]:
        return cast("list[Row]", self._connection.execute(sql, values).fetchall())

    def execute(self, sql: str, values: Row, /) -> int:
        return self._connection.execute(sql, values).rowcount

    def execute_many(self, sql: str, rows: Sequence[Row], /) -> None:
        self._connection.executemany(sql, rows)


class FileThread:
    """One thread and its connection to an SQLite file; both are made by the first transaction."""

    def __init__(self, connect: Callable[[], sqlite3.Connection]) -> None:
        self._connect = connect
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sqlite")
        self._connection: sqlite3.Connection | None = None

    async def run(self, function: Callable[[Statements], T], *, durable: bool) -> T:
        """Run `function` in one transaction. A caller that is cancelled does not stop it."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, self._transact, function, durable)

    async def close(self) -> None:
        await asyncio.get_running_loop().run_in_executor(self._executor, self._disconnect)
        self._executor.shutdown(wait=False)

    def _transact(self, function: Callable[[Statements], T], durable: bool) -> T:
        if self._connection is None:
            self._connection = self._connect()
        connection = self._connection
        try:
            connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            connection.execute("BEGIN IMMEDIATE")
            result = function(FileStatements(connection))
            connection.execute("COMMIT")
        except BaseException:
            # What is closed with a transaction open is rolled back: also after a full disk.
            self._disconnect()
            raise
        return result

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def connect_file(path: str, *, wait_seconds: float, prepare: Callable[[Any], None]) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path, timeout=wait_seconds, isolation_level=None, check_same_thread=False, cached_statements=512
    )
    connection.row_factory = sqlite3.Row
    prepare(connection)
    return connection
