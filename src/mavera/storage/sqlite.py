"""
A pool of connections to an SQLite file. Each has a thread of its own, and one of them writes batches.

    lend()    a thread of at most ten, for one statement or one transaction
    batch()   the thread for batches: a read never waits behind a commit

With WAL, readers go on while one connection writes. FULL makes a commit wait for the disk, so a charge
or a key that was answered survives a power cut. NORMAL would lose the last commits. Other users cannot
read the file or the directory made for it, because they contain digests and conversations.
"""

import asyncio
import os
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import cache, partial
from itertools import chain
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TypeVar, cast

from mavera.core.finish import finish
from mavera.errors import ConfigurationError
from mavera.storage.faults import make_busy_error
from mavera.storage.pool import Statements
from mavera.storage.rows import Row

T = TypeVar("T")

WAIT_SECONDS = 5.0
_MOST_CONNECTIONS = 10
_PRAGMAS = ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON")
# Sixteen columns of so many rows are still far from the parameters that SQLite takes at once.
_MOST_ROWS = 64


class FilePool:
    """The threads are started when they are needed, and the one that was used last is lent first."""

    def __init__(self, path: str) -> None:
        """Make the file if there is none. Raises ConfigurationError if it cannot be used."""
        _prepare_file(Path(path))
        self._file = DatabaseFile(path)
        self._threads: list[FileThread] = []
        self._idle: list[FileThread] = []
        self._places = asyncio.Semaphore(_MOST_CONNECTIONS)
        self._writer: FileThread | None = None

    @asynccontextmanager
    async def lend(self) -> AsyncIterator["FileConnection"]:
        await self._take_place()
        thread = self._idle.pop() if self._idle else self._start_thread()
        try:
            yield FileConnection(thread)
        finally:
            if not thread.is_closed:
                self._idle.append(thread)
            self._places.release()

    async def batch(self, function: Callable[[Statements], T], *, durable: bool) -> T:
        if self._writer is None:
            self._writer = self._start_thread()
        return await self._writer.transact(function, durable=durable)

    async def close(self) -> None:
        threads, self._threads = self._threads, []
        self._idle, self._writer = [], None
        for thread in threads:
            await thread.close()

    def _start_thread(self) -> "FileThread":
        thread = FileThread(self._file)
        self._threads.append(thread)
        return thread

    async def _take_place(self) -> None:
        if not self._places.locked():
            await self._places.acquire()
            return
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await self._places.acquire()
        except TimeoutError as error:
            raise make_busy_error() from error


class FileConnection:
    def __init__(self, thread: "FileThread") -> None:
        self._thread = thread
        self._fault: Exception | None = None

    async def fetch_all(self, sql: str, values: Row, /) -> list[Row]:
        return await self._run(partial(_fetch_all, sql=sql, values=values))

    async def execute(self, sql: str, values: Row, /) -> int:
        return await self._run(partial(_execute, sql=sql, values=values))

    async def execute_many(self, sql: str, rows: Sequence[Row], /) -> None:
        await self._run(partial(_execute_many, sql=sql, rows=rows))

    async def begin(self) -> None:
        # If a transaction reads first and writes later, it fails at once when another one has written in
        # between. So each transaction takes the write lock first.
        await self.execute("BEGIN IMMEDIATE", {})

    async def commit(self) -> None:
        await self.execute("COMMIT", {})

    async def roll_back(self) -> None:
        await self._thread.disconnect()

    async def _run(self, function: Callable[[sqlite3.Connection], T]) -> T:
        if self._fault is not None:  # the transaction is gone, and the next statement would commit itself
            raise self._fault
        try:
            return await self._thread.run(function)
        except Exception as error:
            self._fault = error
            raise


def _fetch_all(connection: sqlite3.Connection, sql: str, values: Row) -> list[Row]:
    return [dict(row) for row in connection.execute(sql, values).fetchall()]


def _execute(connection: sqlite3.Connection, sql: str, values: Row) -> int:
    return connection.execute(sql, values).rowcount


def _execute_many(connection: sqlite3.Connection, sql: str, rows: Sequence[Row]) -> None:
    connection.executemany(sql, rows)


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
def _insert(into: str, rows: int, columns: int) -> str:
    row = f"({', '.join('?' * columns)})"
    return f"INSERT INTO {into} VALUES {', '.join([row] * rows)}"  # noqa: S608 - ours, the values are parameters


class FileThread:
    """
    A thread and its connection to an SQLite file, for one event loop.

    It has a plain queue because an executor makes two futures and takes three locks for each piece of work.
    """

    def __init__(self, file: "DatabaseFile") -> None:
        self._file = file
        self._loop = asyncio.get_running_loop()
        self._wanted: SimpleQueue[tuple[Callable[[], Any], asyncio.Future[Any]] | None] = SimpleQueue()
        self._connection: sqlite3.Connection | None = None
        self._identity: object = None
        self._durable = True
        self.is_closed = False
        self._thread = threading.Thread(target=self._run_jobs, name="sqlite", daemon=True)
        self._thread.start()

    async def run(self, function: Callable[[sqlite3.Connection], T]) -> T:
        """Run `function`. Cancelling the caller does not stop it, and the caller waits for its end."""
        try:
            return await self._submit(partial(self._call, function))
        except asyncio.CancelledError:
            await finish(_wait(self._submit(_do_nothing)))
            raise

    async def transact(self, function: Callable[[Statements], T], *, durable: bool) -> T:
        """Run `function` in one transaction. Cancelling the caller does not stop it."""
        return await self._submit(partial(self._transact, function, durable))

    async def disconnect(self) -> None:
        """Close the connection, which undoes what was not committed. The next work opens another one."""
        if not self.is_closed:
            await self._submit(self._disconnect)

    async def close(self) -> None:
        if self.is_closed:
            return
        disconnected = self._submit(self._disconnect)
        self.is_closed = True
        self._wanted.put(None)
        await disconnected
        self._thread.join()

    def _submit(self, function: Callable[[], T]) -> asyncio.Future[T]:
        answer: asyncio.Future[T] = self._loop.create_future()
        if self.is_closed:
            answer.set_exception(OSError("the database was closed"))
        else:
            self._wanted.put((function, answer))
        return answer

    def _run_jobs(self) -> None:
        while (wanted := self._wanted.get()) is not None:
            function, answer = wanted
            try:
                result = partial(_resolve, answer, function())
            except BaseException as error:
                result = partial(_reject, answer, error)
            with suppress(RuntimeError):  # the loop has ended, so nobody waits for the result
                self._loop.call_soon_threadsafe(result)

    def _call(self, function: Callable[[sqlite3.Connection], T]) -> T:
        connection = self._connect()
        try:
            return function(connection)
        except BaseException as error:
            if connection.in_transaction or not isinstance(error, sqlite3.IntegrityError):
                self._disconnect()
            raise

    def _transact(self, function: Callable[[Statements], T], durable: bool) -> T:
        connection = self._connect()
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

    def _connect(self) -> sqlite3.Connection:
        """Return the connection, a new one if another file has come to lie in the place of the last one."""
        if self._connection is not None and self._connection.in_transaction:
            return self._connection
        identity = self._file.identity()
        if self._connection is None or identity != self._identity:
            self._disconnect()
            self._connection, self._identity, self._durable = self._file.connect(), identity, True
        return self._connection

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


def _do_nothing() -> None:
    return None


async def _wait(answer: asyncio.Future[T]) -> None:
    with suppress(OSError):  # closed meanwhile
        await answer


@dataclass(frozen=True, slots=True)
class DatabaseFile:
    """An existing file. SQLite by itself would make a missing one, or keep writing to a deleted one."""

    path: str

    def identity(self) -> object:
        """Return a value that is different for another file at the path. Raises OSError if there is none."""
        status = os.stat(self.path)
        return status.st_dev, status.st_ino

    def connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path,
            timeout=WAIT_SECONDS,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=512,
        )
        try:
            connection.row_factory = sqlite3.Row
            for pragma in _PRAGMAS:
                connection.execute(f"PRAGMA {pragma}")
        except BaseException:
            connection.close()
            raise
        return connection


def _prepare_file(path: Path) -> None:
    """Make the file with mode 0600, which its WAL inherits. SQLite would make it readable to all."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Closing a descriptor of a file drops every lock that this process has on it. Another process would
        # then reset the write-ahead log below an open connection, and the file would be damaged.
        if not path.exists():
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        mode = path.stat().st_mode
        if mode & 0o007:
            path.chmod(mode & ~0o007)
    except OSError as error:
        raise ConfigurationError(f"The database file {path} cannot be used: {error.strerror}.") from error
