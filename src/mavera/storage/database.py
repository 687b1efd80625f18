"""
Run SQL on SQLite or Postgres.

    row = await database.fetch_one("SELECT … WHERE id = :id", id=id)      one statement, committed by itself

    async with database.transaction() as transaction:                    several statements, all or none
        await transaction.execute("UPDATE …", …)

    results = await database.batch(function)                             many statements: see `blocking`

Values are always parameters. A database and a transaction are both `Queries`, so a repository's function
accepts either. No error of SQLAlchemy leaves this file. A database that is unreachable or busy raises
ServiceUnavailable. Any other error is a mistake in our code and raises an APIError.
"""

import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Protocol, Self, TypeVar, cast

from sqlalchemy import URL, Connection, CursorResult, inspect, text
from sqlalchemy.exc import DBAPIError, IntegrityError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from mavera.core.finish import finish
from mavera.errors import APIError, ServiceUnavailable
from mavera.settings import Settings
from mavera.storage.blocking import FileThread, PooledStatements, Statements
from mavera.storage.engine import file_of, make_engine, settings_url
from mavera.storage.rows import Row

__all__ = ["Conflict", "Database", "Queries", "Row", "Statements", "Transaction"]

T = TypeVar("T")

# Classes of Postgres's error states. A retry can succeed after a busy one (a deadlock, a lock). The others
# mean that Postgres cannot serve now: no connection, no resources, an operator's stop, a system fault.
_POSTGRES_BUSY = frozenset({"40", "55"})
_POSTGRES_AWAY = frozenset({"08", "53", "57", "58"})
_DISK_FULL, _READ_ONLY = "53100", "25006"
# These errors occur if an empty database, or one of another program, has replaced ours.
_POSTGRES_LACKS = frozenset({"42P01", "42703", "3F000"})
_SQLITE_LACKS = ("no such table", "no such column", "table ")


class Conflict(APIError):
    """A row breaks a rule of its table, most often because it exists already."""


class Queries(Protocol):
    """A database, or one transaction on it: both can run statements."""

    async def fetch_one(self, sql: str, /, **values: Any) -> Row | None: ...

    async def fetch_all(self, sql: str, /, **values: Any) -> list[Row]: ...

    async def execute(self, sql: str, /, **values: Any) -> int: ...

    async def execute_many(self, sql: str, rows: Sequence[Row], /) -> None: ...


class Transaction:
    """Statements on one connection. They take effect if the block of `Database.transaction` succeeds."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def fetch_one(self, sql: str, /, **values: Any) -> Row | None:
        """Return the first row, or None if there is none."""
        return cast("Row | None", (await self._run(sql, values)).mappings().first())

    async def fetch_all(self, sql: str, /, **values: Any) -> list[Row]:
        return cast("list[Row]", (await self._run(sql, values)).mappings().all())

    async def execute(self, sql: str, /, **values: Any) -> int:
        """Return the number of rows changed."""
        return (await self._run(sql, values)).rowcount

    async def execute_many(self, sql: str, rows: Sequence[Row], /) -> None:
        """Run one statement once for each of `rows`."""
        if rows:
            await self._run(sql, [dict(row) for row in rows])

    async def has_table(self, name: str) -> bool:
        return await self.run_sync(lambda connection: inspect(connection).has_table(name))

    async def run_sync(self, function: Callable[[Connection], T]) -> T:
        """Run a function that needs a blocking connection of SQLAlchemy. The event loop goes on."""
        with _storage_errors():
            return await self._connection.run_sync(function)

    async def _run(self, sql: str, values: dict[str, Any] | list[dict[str, Any]]) -> CursorResult[Any]:
        with _storage_errors():
            return await self._connection.execute(text(sql), values)


class Database:
    """A pool of connections. It belongs to one event loop, and must be closed on it."""

    def __init__(self, url: URL, engine: AsyncEngine) -> None:
        self._url = url
        self._engine = engine
        # If an SQLite transaction reads first and writes later, it fails at once when another one has
        # written in between. So each transaction takes the write lock first.
        self._begin = "BEGIN IMMEDIATE" if engine.dialect.name == "sqlite" else "BEGIN"
        self._file: FileThread | None = None

    @classmethod
    def open(cls, settings: Settings) -> Self:
        """Return a database that connects with its first statement."""
        url = settings_url(settings)
        return cls(url, make_engine(url))

    @property
    def is_file(self) -> bool:
        """Whether this is SQLite, whose file is on this machine."""
        return self._engine.dialect.name == "sqlite"

    @property
    def url(self) -> str:
        """The URL with its password. Do not show it."""
        return self._url.render_as_string(hide_password=False)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        if self._file is not None:
            await self._file.close()
            self._file = None
        await self._engine.dispose()

    async def batch(self, function: Callable[[Statements], T], *, durable: bool = True) -> T:
        """
        Run `function`, which must do nothing but run statements, in a transaction of its own.

        If it is not `durable`, everybody sees its effects at once, but a power cut may undo them. A later
        durable batch makes them last, too.
        """
        if self.is_file:
            if self._file is None:
                self._file = FileThread(file_of(self._url))
            with _storage_errors():
                return await self._file.run(function, durable=durable)
        async with self.transaction() as transaction:
            if not durable:
                await transaction.execute("SET LOCAL synchronous_commit TO off")
            return await transaction.run_sync(lambda connection: function(PooledStatements(connection)))

    async def fetch_one(self, sql: str, /, **values: Any) -> Row | None:
        async with _connect(self._engine) as connection:
            return await Transaction(connection).fetch_one(sql, **values)

    async def fetch_all(self, sql: str, /, **values: Any) -> list[Row]:
        async with _connect(self._engine) as connection:
            return await Transaction(connection).fetch_all(sql, **values)

    async def execute(self, sql: str, /, **values: Any) -> int:
        async with _connect(self._engine) as connection:
            return await Transaction(connection).execute(sql, **values)

    async def execute_many(self, sql: str, rows: Sequence[Row], /) -> None:
        async with self.transaction() as transaction:
            await transaction.execute_many(sql, rows)

    async def has_table(self, name: str) -> bool:
        async with _connect(self._engine) as connection:
            return await Transaction(connection).has_table(name)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """
        Commit when the block ends. Roll back if it raises or is cancelled.

        On SQLite, all processes together can have one open transaction, so keep it short.
        """
        async with _connect(self._engine) as connection:
            transaction = Transaction(connection)
            try:
                await transaction.execute(self._begin)
                yield transaction
                await transaction.execute("COMMIT")
            except BaseException:
                # Even if the task is cancelled again, the pool must not get an open transaction.
                await finish(_roll_back(connection))
                raise


@asynccontextmanager
async def _connect(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    with _storage_errors(connecting=True):
        connection = await engine.connect()
    try:
        yield connection
    finally:
        # Even if the task is cancelled, once or twice, the connection must go back to the pool.
        await finish(_give_back(connection))


async def _give_back(connection: AsyncConnection) -> None:
    with _storage_errors():
        await connection.close()


async def _roll_back(connection: AsyncConnection) -> None:
    """Roll back, or discard the connection if that fails. Discarding it rolls back, too."""
    if connection.invalidated:
        return
    try:
        await connection.execute(text("ROLLBACK"))
    except SQLAlchemyError:
        await connection.invalidate()


@contextmanager
def _storage_errors(*, connecting: bool = False) -> Iterator[None]:
    """Turn errors of the database libraries into ours."""
    try:
        yield
    except PoolTimeoutError as error:
        raise _busy() from error
    except SQLAlchemyError as error:
        public = _from_sqlalchemy(error)
        # Before there is a connection, none of our statements has run, so the mistake is not in our SQL.
        raise (_unreachable() if connecting and type(public) is APIError else public) from error
    except sqlite3.Error as error:
        raise _from_sqlite(error) from error
    except OSError as error:
        # asyncpg passes errors of its socket on.
        raise _unreachable() from error
    except (OverflowError, UnicodeError) as error:
        # sqlite3 raises these before it calls SQLite: for a number beyond 64 bits, and for half a character.
        raise _mistake() from error


def _from_sqlalchemy(error: SQLAlchemyError) -> APIError:
    if not isinstance(error, DBAPIError):
        return _mistake()
    if isinstance(error, IntegrityError):
        return _conflict()
    code = getattr(error.orig, "sqlite_errorcode", None)
    if code is not None:
        return _from_sqlite_code(code, str(error.orig))
    state = getattr(error.orig, "sqlstate", None) or ""
    if state == _DISK_FULL:
        return _full()
    if state in _POSTGRES_LACKS:
        return _lacking()
    if state[:2] in _POSTGRES_BUSY:
        return _busy()
    if state[:2] in _POSTGRES_AWAY or state == _READ_ONLY:
        return _unreachable()
    if isinstance(error.orig and error.orig.__cause__, ValueError):
        return _mistake()  # asyncpg raises it for a value that does not fit its column
    away = isinstance(error, OperationalError | InterfaceError)
    return _unreachable() if away or error.connection_invalidated else _mistake()


def _from_sqlite(error: sqlite3.Error) -> APIError:
    """Convert an error of the driver as `_from_sqlalchemy` converts one that SQLAlchemy wraps."""
    if isinstance(error, sqlite3.IntegrityError):
        return _conflict()
    return _from_sqlite_code(getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR), str(error))


def _from_sqlite_code(code: int, message: str) -> APIError:
    # The low byte is the kind of SQLite's error. The rest gives details.
    match code & 0xFF:
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return _busy()
        case sqlite3.SQLITE_FULL:
            return _full()
        case sqlite3.SQLITE_NOTADB | sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_FORMAT:
            return _lasting("The database file is damaged, or is no SQLite database.")
        case sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM | sqlite3.SQLITE_AUTH:
            return _lasting("The database file cannot be opened.")
        case sqlite3.SQLITE_READONLY:
            return _lasting("The database file cannot be written.")
        case sqlite3.SQLITE_IOERR:
            return _lasting("The database's disk failed.")
        case sqlite3.SQLITE_ERROR if message.startswith(_SQLITE_LACKS):
            return _lacking()
        case sqlite3.SQLITE_ERROR | sqlite3.SQLITE_MISUSE | sqlite3.SQLITE_RANGE | sqlite3.SQLITE_TOOBIG:
            return _mistake()
        case _:
            return _unreachable()


def _full() -> ServiceUnavailable:
    return ServiceUnavailable("The database's disk is full. The operator has to make room.", retry_after=30)


def _lasting(fault: str) -> ServiceUnavailable:
    """Return the error for a fault that lasts until the operator repairs it."""
    return ServiceUnavailable(f"{fault} The operator has to repair or restore it.", retry_after=30)


def _lacking() -> ServiceUnavailable:
    return _lasting("The database lacks tables or columns that this mavera needs.")


def _conflict() -> Conflict:
    return Conflict("The database has such a row already.")


def _busy() -> ServiceUnavailable:
    return ServiceUnavailable("The database is busy. Try again in a second.", retry_after=1)


def _unreachable() -> ServiceUnavailable:
    return ServiceUnavailable("The database cannot be reached. Try again in a few seconds.", retry_after=5)


def _mistake() -> APIError:
    return APIError("The database refused a statement.")
