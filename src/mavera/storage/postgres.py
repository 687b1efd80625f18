"""A pool of connections to Postgres: asyncpg under SQLAlchemy, which writes `:name` as asyncpg wants it."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import cache, lru_cache
from typing import Any, TypeVar, cast

import structlog
from sqlalchemy import URL, CursorResult, Engine, event, text
from sqlalchemy import Connection as BlockingConnection
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from mavera.core.finish import finish
from mavera.errors import ConfigurationError
from mavera.extras import describe_missing_extra
from mavera.storage.faults import READ_ONLY, storage_errors
from mavera.storage.pool import Statements, run_transaction
from mavera.storage.postgres_checks import find_state
from mavera.storage.rows import Row

T = TypeVar("T")

WAIT_SECONDS = 5.0
# A connection to a server that was demoted without an error, or that a balancer forgot, is left after this.
RECYCLE_SECONDS = 300
# Our transactions wait for nothing but the database. One that is idle for so long belongs to a process that
# was stopped, and its locks would stop the others. Its sessions that wait for the same row get it one after
# another, so the others may wait several times as long.
IDLE_TRANSACTION_SECONDS = 6
# Statements whose parsed form is kept. Lists of values make many of one.
_STATEMENTS = 1024

log = structlog.get_logger()


class PostgresPool:
    def __init__(self, url: URL) -> None:
        """Make a pool that connects when it is used. Raises ConfigurationError without asyncpg."""
        self._engine = _make_engine(url)

    @asynccontextmanager
    async def lend(self) -> AsyncIterator["PostgresConnection"]:
        with storage_errors(connecting=True):
            connection = await self._engine.connect()
        try:
            yield PostgresConnection(connection)
        except BaseException as error:
            if find_state(error) == READ_ONLY:
                await finish(self._leave_standby(connection))
            raise
        finally:
            # Even if the task is cancelled, once or twice, the connection must go back to the pool.
            await finish(_give_back(connection))

    async def batch(self, function: Callable[[Statements], T], *, durable: bool) -> T:
        async with self.lend() as connection, run_transaction(connection):
            if not durable:
                await connection.execute("SET LOCAL synchronous_commit TO off", {})
            return await connection.run_blocking(function)

    async def close(self) -> None:
        await self._engine.dispose()

    async def _leave_standby(self, connection: AsyncConnection) -> None:
        """
        Discard all connections, because this server was the primary and no longer is.

        A demoted server keeps its connections open and takes no writes. New connections go where the URL,
        which names several hosts or a name that moves, leads now.
        """
        log.warning("database_is_read_only", action="connections discarded")
        with suppress(SQLAlchemyError, OSError):
            await connection.invalidate()
        await self._engine.dispose()


class PostgresConnection:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def fetch_all(self, sql: str, values: Row, /) -> list[Row]:
        return cast("list[Row]", (await self._run(sql, dict(values))).mappings().all())

    async def execute(self, sql: str, values: Row, /) -> int:
        return (await self._run(sql, dict(values))).rowcount

    async def execute_many(self, sql: str, rows: Sequence[Row], /) -> None:
        await self._run(sql, [dict(row) for row in rows])

    async def run_blocking(self, function: Callable[[Statements], T]) -> T:
        return await self._connection.run_sync(lambda connection: function(PooledStatements(connection)))

    async def begin(self) -> None:
        await self._run("BEGIN", {})

    async def commit(self) -> None:
        await self._run("COMMIT", {})

    async def roll_back(self) -> None:
        if self._connection.invalidated:
            return
        try:
            await self._run("ROLLBACK", {})
        except SQLAlchemyError:
            # Discarding the connection rolls back, too.
            await self._connection.invalidate()

    async def _run(self, sql: str, values: dict[str, Any] | list[dict[str, Any]]) -> CursorResult[Any]:
        return await self._connection.execute(_parse(sql), values)


class PooledStatements:
    """Statements inside `AsyncConnection.run_sync`: they look blocking, but the event loop goes on."""

    def __init__(self, connection: BlockingConnection) -> None:
        self._connection = connection

    def fetch_all(self, sql: str, values: Row, /) -> list[Row]:
        return cast("list[Row]", self._connection.execute(_parse(sql), dict(values)).mappings().all())

    def execute(self, sql: str, values: Row, /) -> int:
        return self._connection.execute(_parse(sql), dict(values)).rowcount

    def execute_many(self, sql: str, rows: Sequence[Row], /) -> None:
        if rows:
            self._connection.execute(_parse(sql), [dict(row) for row in rows])

    def insert(self, into: str, rows: Sequence[tuple[Any, ...]], /) -> None:
        if rows:
            names = _list_names(len(rows[0]))
            sql = f"INSERT INTO {into} VALUES ({', '.join(f':{name}' for name in names)})"  # noqa: S608
            self.execute_many(sql, [dict(zip(names, row, strict=True)) for row in rows])


# Parsing a statement, and making the key of its compiled form, takes longer than sending it.
_parse = lru_cache(maxsize=_STATEMENTS)(text)


@cache
def _list_names(count: int) -> tuple[str, ...]:
    return tuple(f"value{number}" for number in range(count))


async def _give_back(connection: AsyncConnection) -> None:
    with storage_errors():
        await connection.close()


def _make_engine(url: URL) -> AsyncEngine:
    try:
        engine = create_async_engine(
            url,
            isolation_level="AUTOCOMMIT",
            skip_autocommit_rollback=True,
            pool_size=5,
            max_overflow=5,
            pool_timeout=WAIT_SECONDS,
            pool_pre_ping=True,
            pool_recycle=RECYCLE_SECONDS,
            connect_args={"timeout": WAIT_SECONDS},
        )
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            describe_missing_extra("postgres", "MAVERA_DATABASE_URL with Postgres")
        ) from error
    limit_idle_transactions(engine.sync_engine, IDLE_TRANSACTION_SECONDS)
    return engine


def limit_idle_transactions(engine: Engine, seconds: int) -> None:
    """Let Postgres end sessions of `engine` that are idle inside a transaction for so long."""

    # A statement, because PgBouncer refuses it as an option of the connection.
    def set_limit(connection: DBAPIConnection, _: object) -> None:
        cursor = connection.cursor()
        cursor.execute(f"SET idle_in_transaction_session_timeout = '{seconds}s'")
        cursor.close()
        connection.commit()

    event.listen(engine, "connect", set_limit)
