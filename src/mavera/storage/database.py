"""
SQL in, rows out, on SQLite or Postgres.

    row = await database.fetch_one("SELECT … WHERE id = :id", id=id)      one statement, committed by itself

    async with database.transaction() as transaction:                    several, all or none
        await transaction.execute("UPDATE …", …)

    results = await database.batch(function)                             many, in one go: see `blocking`

Values are always parameters. Both kinds of place to run a statement are `Queries`, so
that a repository's function takes either. Nothing of SQLAlchemy's own errors leaves
this file: a database that is away or busy is ServiceUnavailable, anything else is a
mistake of ours and an APIError.
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

# Of Postgres's states: what another try may bring about (a deadlock, a lock), and what means that it
# cannot serve now: no connection, no resources, an operator's stop, a fault of its system, a standby.
_POSTGRES_BUSY = frozenset({"40", "55"})
_POSTGRES_AWAY = frozenset({"08", "53", "57", "58"})
_DISK_FULL, _READ_ONLY = "53100", "25006"
# An empty file, or another program's, has come to lie in the place of ours.
_POSTGRES_LACKS = frozenset({"42P01", "42703", "3F000"})
_SQLITE_LACKS = ("no such table", "no such column", "table ")


class Conflict(APIError):
    """A row breaks a rule of its table: most often it is there already."""


class Queries(Protocol):
    """Where a statement can run: a database, or one transaction on it."""

    async def fetch_one(self, sql: str, /, **values: Any) -> Row | None: ...

    async def fetch_all(self, sql: str, /, **values: Any) -> list[Row]: ...

    async def execute(self, sql: str, /, **values: Any) -> int: ...

    async def execute_many(self, sql: str, rows: Sequence[Row], /) -> None: ...


class Transaction:
    """Statements on one connection; what they did counts when `Database.transaction` ends well."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def fetch_one(self, sql: str, /, **values: Any) -> Row | None:
        """Return the first row, or None where there is none."""
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
        """Run what only knows SQLAlchemy's blocking connections; it does not block the loop."""
        with _storage_errors():
            return await self._connection.run_sync(function)

    async def _run(self, sql: str, values: dict[str, Any] | list[dict[str, Any]]) -> CursorResult[Any]:
        with _storage_errors():
            return await self._connection.execute(text(sql), values)


class Database:
    """A pool of connections; it belongs to one event loop and is closed on it."""

    def __init__(self, url: URL, engine: AsyncEngine) -> None:
        self._url = url
        self._engine = engine
        # A transaction of SQLite that reads first and writes later fails at once, without
        # waiting, when another has written in between: so each takes the write lock first.
        self._begin = "BEGIN IMMEDIATE" if engine.dialect.name == "sqlite" else "BEGIN"
        self._file: FileThread | None = None

    @classmethod
    def open(cls, settings: Settings) -> Self:
        """Make ready to connect, which the first statement does."""
        url = settings_url(settings)
        return cls(url, make_engine(url))

    @property
    def is_file(self) -> bool:
        """Whether this is SQLite, whose file lies on this machine."""
        return self._engine.dialect.name == "sqlite"

    @property
    def url(self) -> str:
        """The address with its password, for `migrate`; not to be shown."""
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
        Run `function`, which does nothing but statements, in a transaction of its own.

        One that is not `durable` is seen by all at once, but may be lost in a power
        cut; a durable one after it keeps it too.
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
        async with _connected(self._engine) as connection:
            return await Transaction(connection).fetch_one(sql, **values)

    async def fetch_all(self, sql: str, /, **values: Any) -> list[Row]:
        async with _connected(self._engine) as connection:
            return await Transaction(connection).fetch_all(sql, **values)

    async def execute(self, sql: str, /, **values: Any) -> int:
        async with _connected(self._engine) as connection:
            return await Transaction(connection).execute(sql, **values)

    async def execute_many(self, sql: str, rows: Sequence[Row], /) -> None:
        async with self.transaction() as transaction:
            await transaction.execute_many(sql, rows)

    async def has_table(self, name: str) -> bool:
        async with _connected(self._engine) as connection:
            return await Transaction(connection).has_table(name)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """
        Commit when the block ends, roll back when it raises or is cancelled.

        On SQLite only one is open at a time in all processes together, so keep it short.
        """
        async with _connected(self._engine) as connection:
            transaction = Transaction(connection)
            try:
                await transaction.execute(self._begin)
                yield transaction
                await transaction.execute("COMMIT")
            except BaseException:
                # Even if the task is cancelled a second time, the connection goes back without a transaction.
                await finish(_roll_back(connection))
                raise


@asynccontextmanager
async def _connected(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    with _storage_errors(connecting=True):
        connection = await engine.connect()
    try:
        yield connection
    finally:
        # Even if the task is cancelled, once or twice, the connection has to go back to the pool.
        await finish(_give_back(connection))


async def _give_back(connection: AsyncConnection) -> None:
    with _storage_errors():
        await connection.close()


async def _roll_back(connection: AsyncConnection) -> None:
    """Undo what was begun; a connection of which that is not certain is thrown away, which undoes it too."""
    if connection.invalidated:
        return
    try:
        await connection.execute(text("ROLLBACK"))
    except SQLAlchemyError:
        await connection.invalidate()


@contextmanager
def _storage_errors(*, connecting: bool = False) -> Iterator[None]:
    """Let nothing of the database library's own errors past this file."""
    try:
        yield
    except PoolTimeoutError as error:
        raise _busy() from error
    except SQLAlchemyError as error:
        shown = _from_sqlalchemy(error)
        # Before there is a connection nothing of ours has run, so the mistake is not in our SQL.
        raise (_unreachable() if connecting and type(shown) is APIError else shown) from error
    except sqlite3.Error as error:
        raise _from_sqlite(error) from error
    except OSError as error:
        # asyncpg lets the socket's own errors through.
        raise _unreachable() from error
    except (OverflowError, UnicodeError) as error:
        # sqlite3 says so of a number beyond 64 bits, and of half a character, before it asks SQLite.
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
        return _mistake()  # asyncpg's word for a value that does not fit its column
    away = isinstance(error, OperationalError | InterfaceError)
    return _unreachable() if away or error.connection_invalidated else _mistake()


def _from_sqlite(error: sqlite3.Error) -> APIError:
    """Say of the driver's own error what `_from_sqlalchemy` says of one that it wraps."""
    if isinstance(error, sqlite3.IntegrityError):
        return _conflict()
    return _from_sqlite_code(getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR), str(error))


def _from_sqlite_code(code: int, message: str) -> APIError:
    # The low byte is the kind of SQLite's error; what is above it says more.
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


def _lasting(what: str) -> ServiceUnavailable:
    """Return the error for what does not pass by itself."""
    return ServiceUnavailable(f"{what} The operator has to repair or restore it.", retry_after=30)


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
