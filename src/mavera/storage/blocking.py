"""
Blocking statements, for work that needs many statements in one transaction.

    SQLite      a thread with a connection of its own, and the driver without SQLAlchemy in front of it
    Postgres    a connection of the pool, through SQLAlchemy's greenlets

An awaited statement hops to the driver's thread and back, four times in all. Here a whole transaction needs
one hop.
"""

import asyncio
import os
import sqlite3
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial
from itertools import chain
from queue import SimpleQueue
from typing import Any, Protocol, TypeVar, cast

from sqlalchemy import Connection, text

from mavera.storage.rows import Row

T = TypeVar("T")

# With sixteen columns, this many rows stay far below SQLite's limit of parameters in one statement.
_MOST_ROWS = 64


class Statements(Protocol):
    """The statements of one transaction. It is committed when the function that got it returns."""

    def fetch_all(self, sql: str, values: Row, /) -> list[Row]: ...

    def execute(self, sql: str, values: Row, /) -> int:
        """Return the number of rows changed."""
        ...

    def execute_many(self, sql: str, rows: Sequence[Row], /) -> None: ...

    def insert(self, into: str, rows: Sequence[tuple[Any, ...]], /) -> None:
        """Add `rows` to `into`, a table and its columns such as `usage (run_id, …)`."""
        ...


class PooledStatements:
    """Statements inside `AsyncConnection.run_sync`: they look blocking, but the event loop goes on."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def fetch_all(self, sql: str, values: Row, /) -> list[Row]:
        return cast("list[Row]", self._connection.execute(text(sql), dict(values)).mappings().all())

    def execute(self, sql: str, values: Row, /) -> int:
        return self._connection.execute(text(sql), dict(values)).rowcount

    def execute_many(self, sql: str, rows: Sequence[Row], /) -> None:
        if rows:
            self._connection.execute(text(sql), [dict(row) for row in rows])

    def insert(self, into: str, rows: Sequence[tuple[Any, ...]], /) -> None:
        if rows:
            names = _names(len(rows[0]))
            sql = f"INSERT INTO {into} VALUES ({', '.join(f':{name}' for name in names)})"  # noqa: S608
            self.execute_many(sql, [dict(zip(names, row, strict=True)) for row in rows])


class FileStatements:
    """
    Statements on SQLite's own connection, in its thread.

    Each statement releases the interpreter to the event loop and waits to get it back, which costs more
    than most statements. So one statement inserts many rows.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def fetch_all(self, sql: str, values: Row, /) -> list[Row]:
        return cast("list[Row]", self._connection.execute(sql, values).fetchall())

    def execute(self, sql: str, values: Row, /) -> int:
        return self._connection.execute(sql, values).rowcount

    def execute_many(self, sql: str, rows: Sequence[Row], /) -> None:
        self._connection.executemany(sql, rows)

    def insert(self, into: str, rows: Sequence[tuple[Any, ...]], /) -> None:
        at = 0
        while at < len(rows):
            # With powers of two, SQLite prepares only a few different statements.
            count = min(_MOST_ROWS, 1 << (len(rows) - at).bit_length() - 1)
            some = rows[at : at + count]
            self._connection.execute(_insert(into, count, len(some[0])), [*chain.from_iterable(some)])
            at += count


@cache
def _names(count: int) -> tuple[str, ...]:
    return tuple(f"value{number}" for number in range(count))


@cache
def _insert(into: str, rows: int, columns: int) -> str:
    row = f"({', '.join('?' * columns)})"
    return f"INSERT INTO {into} VALUES {', '.join([row] * rows)}"  # noqa: S608 - ours, the values are parameters


class FileThread:
    """
    A thread and its connection to an SQLite file, for one event loop.

    It has a plain queue because an executor makes two futures and takes three locks for each batch.
    """

    def __init__(self, file: "DatabaseFile") -> None:
        self._file = file
        self._loop = asyncio.get_running_loop()
        self._wanted: SimpleQueue[tuple[Callable[[], Any], asyncio.Future[Any]] | None] = SimpleQueue()
        self._connection: sqlite3.Connection | None = None
        self._identity: object = None
        self._durable: bool | None = None
        self._thread = threading.Thread(target=self._work, name="sqlite", daemon=True)
        self._thread.start()

    async def run(self, function: Callable[[Statements], T], *, durable: bool) -> T:
        """Run `function` in one transaction. Cancelling the caller does not stop it."""
        future: asyncio.Future[T] = self._loop.create_future()
        self._wanted.put((partial(self._transact, function, durable), future))
        return await future

    async def close(self) -> None:
        future: asyncio.Future[None] = self._loop.create_future()
        self._wanted.put((self._disconnect, future))
        self._wanted.put(None)
        await future
        self._thread.join()

    def _work(self) -> None:
        while (wanted := self._wanted.get()) is not None:
            function, future = wanted
            try:
                result = partial(_resolve, future, function())
            except BaseException as error:
                result = partial(_reject, future, error)
            with suppress(RuntimeError):  # the loop has ended, so nobody waits for the result
                self._loop.call_soon_threadsafe(result)

    def _transact(self, function: Callable[[Statements], T], durable: bool) -> T:
        identity = self._file.identity()
        if self._connection is None or identity != self._identity:
            self._disconnect()
            self._connection, self._identity, self._durable = self._file.connect(), identity, None
        connection = self._connection
        try:
            if durable is not self._durable:
                connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
                self._durable = durable
            connection.execute("BEGIN IMMEDIATE")
            result = function(FileStatements(connection))
            connection.execute("COMMIT")
        except BaseException:
            # Closing the connection rolls an open transaction back, even after a full disk.
            self._disconnect()
            raise
        return result

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _resolve(future: asyncio.Future[T], result: T) -> None:
    if not future.done():  # a cancelled future is done
        future.set_result(result)


def _reject(future: asyncio.Future[Any], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)


@dataclass(frozen=True, slots=True)
class DatabaseFile:
    """
    An existing SQLite file. SQLite by itself would make a missing file, or keep writing to a deleted one.

    `prepare` runs on each new connection.
    """

    path: str
    wait_seconds: float
    prepare: Callable[[Any], None]

    def identity(self) -> object:
        """Return a value that is different for another file at the path. Raises OSError if there is none."""
        status = os.stat(self.path)
        return status.st_dev, status.st_ino

    def connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path,
            timeout=self.wait_seconds,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=512,
        )
        connection.row_factory = sqlite3.Row
        self.prepare(connection)
        return connection
