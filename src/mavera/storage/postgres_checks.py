"""
Refuse to start on a Postgres that cannot work, with a sentence instead of a stack trace.

    behind a transaction pool   two open connections have the same backend, or one changes its own
    too few connections         the pools of all living processes exceed max_connections: a warning
"""

import asyncio

import structlog

from mavera.errors import ConfigurationError
from mavera.storage.pool import Connection, Pool

# The pools of one process: `storage/postgres.py` has ten at most, and DBOS in a study worker ten more.
CONNECTIONS_OF_SERVER = 10
CONNECTIONS_OF_WORKER = 20

TRANSACTION_POOL = (
    "MAVERA_DATABASE_URL leads through a pool that changes the connection after each transaction, such as "
    "PgBouncer with pool_mode = transaction. mavera and its studies keep prepared statements and locks on a "
    "connection. Connect to Postgres directly, or set pool_mode = session."
)
# Prepared statements that are missing, or exist already, because another client's connection has been lent.
_FOREIGN_STATEMENT_STATES = frozenset({"26000", "42P05"})
_PID = "SELECT pg_backend_pid() AS pid"

log = structlog.get_logger()


async def refuse_transaction_pool(pool: Pool) -> None:
    """
    Raise ConfigurationError if the connections of `pool` go through a transaction pool.

    While one connection has an open transaction, a pool must serve the other one with another backend. If
    the connections are direct, each keeps its own.
    """
    try:
        async with pool.lend() as one, pool.lend() as other:
            before = await _read_pid(one)
            await other.begin()
            busy = await _read_pid(other)
            after = await asyncio.wait_for(_read_pid(one), timeout=10)
            await other.roll_back()
    except TimeoutError as error:
        raise ConfigurationError(TRANSACTION_POOL) from error
    except Exception as error:
        if find_state(error) in _FOREIGN_STATEMENT_STATES:
            raise ConfigurationError(TRANSACTION_POOL) from error
        raise
    if before in (busy, None) or before != after:
        raise ConfigurationError(TRANSACTION_POOL)


def find_state(error: BaseException | None) -> str | None:
    """Return the SQLSTATE of a driver's error, which may be the cause of ours."""
    while error is not None:
        state = getattr(error, "sqlstate", None) or getattr(getattr(error, "orig", None), "sqlstate", None)
        if isinstance(state, str):
            return state
        error = error.__cause__
    return None


def warn_of_few_connections(*, needed: int, most: int) -> None:
    """Log an error if the pools of all processes may need more connections than Postgres has."""
    if needed > most:
        log.error(
            "too_few_connections",
            needed=needed,
            max_connections=most,
            advice="raise max_connections, or run fewer processes",
        )


async def _read_pid(connection: Connection) -> int:
    rows = await connection.fetch_all(_PID, {})
    return int(rows[0]["pid"])
