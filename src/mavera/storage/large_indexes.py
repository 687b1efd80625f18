"""
Build indexes of large tables on Postgres while servers read and write these tables.

    invalid, left by a process that was killed   →  removed
    missing                                      →  CREATE INDEX CONCURRENTLY
    valid                                        →  nothing to do

Such a statement cannot be part of a transaction, so it runs before the transaction of its migration, which
then finds the index. Processes that start together take turns.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

from mavera.core.finish import finish
from mavera.errors import APIError
from mavera.storage.database import Database, Queries
from mavera.storage.tables import Index

# Any number that no other program on the same Postgres uses will do.
_ADVISORY_LOCK = 0x6D767262
_LOOK_SECONDS = 0.2


async def build_indexes(database: Database, indexes: Sequence[Index]) -> None:
    """Build those of `indexes` that are missing. Waits for other processes. Raises APIError."""
    async with database.session() as session, _lock(session):
        for index in indexes:
            await _build(session, index)


async def _build(session: Queries, index: Index) -> None:
    state = await session.fetch_one(
        "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(CAST(:name AS TEXT))", name=index.name
    )
    if state is not None and state["indisvalid"]:
        return
    if state is not None:
        await session.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {index.name}")
    await session.execute(f"CREATE INDEX CONCURRENTLY {index.name} ON {index.on}")


@asynccontextmanager
async def _lock(session: Queries) -> AsyncIterator[None]:
    """
    Let one process at a time build.

    The others look again and again. A statement that waits for the lock would count as a transaction, and
    the builder would wait for it in turn.
    """
    while not await _try_lock(session):  # noqa: ASYNC110 - the lock is another process's
        await asyncio.sleep(_LOOK_SECONDS)
    try:
        yield
    finally:
        with suppress(APIError):  # a connection that has ended has given the lock up
            await finish(session.fetch_one("SELECT pg_advisory_unlock(:lock)", lock=_ADVISORY_LOCK))


async def _try_lock(session: Queries) -> bool:
    row = await session.fetch_one("SELECT pg_try_advisory_lock(:lock) AS is_mine", lock=_ADVISORY_LOCK)
    return row is not None and bool(row["is_mine"])
