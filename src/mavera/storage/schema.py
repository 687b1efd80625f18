"""
Bring the tables to the version for which this code was written.

    mavera_migrations  →  contains all migrations: there is nothing to do
                       →  lacks some: apply them in one transaction, after large indexes (`large_indexes.py`)
                       →  contains unknown ones of a newer mavera: use the tables if it allows that

A database of a release that used Alembic has its version in `alembic_version`. That version is read once.
The table stays as it is, so that servers of that release can still start beside this one.
"""

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from mavera import __version__
from mavera.errors import APIError, ConfigurationError
from mavera.storage.database import Database
from mavera.storage.large_indexes import build_indexes
from mavera.storage.migrations import LARGE_INDEXES, MIGRATIONS, name_of
from mavera.storage.pool import Statements
from mavera.storage.postgres_checks import find_state
from mavera.storage.tables import Tables

_KNOWN = tuple(map(name_of, MIGRATIONS))
# Any number that no other program on the same Postgres uses will do.
_ADVISORY_LOCK = 0x6D767261
# A step waits so long for a lock, and all tries of it together last so long.
LOCK_SECONDS = 3
MOST_WAIT_SECONDS = 120.0
_LOCK_NOT_AVAILABLE = "55P03"


def list_versions() -> tuple[str, ...]:
    """Return the names of the migrations, oldest first."""
    return _KNOWN


def may_run(lowest_schema: str) -> bool:
    """Whether this mavera can run on tables that require `lowest_schema` or newer."""
    return _KNOWN[-1] >= lowest_schema


async def find_version(database: Database) -> str | None:
    """Return the name of the last migration that was applied, or None if there was none."""
    if await database.has_table("mavera_migrations"):
        row = await database.fetch_one("SELECT MAX(name) AS name FROM mavera_migrations")
        return row["name"] if row else None
    return await _read_alembic_version(database)


@dataclass(frozen=True, slots=True)
class SchemaState:
    """
    The version of a database's tables.

    `applied` is the last migration, None if there was none. `missing` lists those that this mavera would
    apply. `lowest_version` is the oldest mavera that may run on the tables, None if they do not say.
    """

    applied: str | None
    missing: tuple[str, ...]
    lowest_version: str | None
    is_allowed: bool


async def find_schema_state(database: Database) -> SchemaState:
    """Return the version of the tables, and whether this mavera may run on them. Changes nothing."""
    applied = await find_version(database)
    missing = tuple(name for name in _KNOWN if applied is None or name > applied)
    row = None
    if await database.has_table("schema_state"):
        row = await database.fetch_one("SELECT lowest_schema, lowest_version FROM schema_state WHERE id = 1")
    allowed = may_run(row["lowest_schema"]) if row else applied is None or applied <= _KNOWN[-1]
    return SchemaState(applied, missing, row["lowest_version"] if row else None, allowed)


async def ensure_schema(database: Database) -> None:
    """
    Apply the missing migrations. Tables of a newer mavera stay as they are, if this one may run on them.

    Processes that start together wait for one another, and only the first has something to do.
    Raises ConfigurationError if this mavera may not run on the tables, if the file belongs to another
    program, or if a migration fails. After a failure the database is unchanged.
    """
    current = await find_version(database)
    if current == _KNOWN[-1]:
        return
    if current is None:
        await _refuse_another_program(database)
    elif current > _KNOWN[-1]:
        await _refuse_too_new(database, current)
        return
    await apply_migrations(database)


async def apply_migrations(database: Database, *, up_to: str | None = None) -> None:
    """
    Apply the missing migrations up to `up_to`, or all. Raises ConfigurationError if one fails.

    On Postgres, large indexes of tables that have rows are built first, one by one, beside running servers.
    """
    wanted = _KNOWN if up_to is None else _KNOWN[: _KNOWN.index(up_to) + 1]
    current = None if database.is_file else await find_version(database)
    for migration, indexes in LARGE_INDEXES.items():
        name = name_of(migration)
        if current is None or name not in wanted or name <= current:
            continue
        await _apply_together(database, _KNOWN[: _KNOWN.index(name)])
        try:
            await build_indexes(database, indexes)
        except APIError as error:
            raise _explain_failure(error) from error
    await _apply_together(database, wanted)


async def _apply_together(database: Database, wanted: Sequence[str]) -> None:
    """Apply those of `wanted` that are missing, in one transaction. Raises ConfigurationError."""
    adopted = await _read_alembic_version(database)
    apply = partial(_apply, is_file=database.is_file, wanted=wanted, adopted=adopted)
    until = time.monotonic() + MOST_WAIT_SECONDS
    while True:
        try:
            await database.batch(apply)
        except APIError as error:
            # A statement that waits for a lock makes every later statement on that table wait behind it.
            # So it gives up soon, lets the others pass, and the whole step is tried again.
            if find_state(error) == _LOCK_NOT_AVAILABLE and time.monotonic() < until:
                await asyncio.sleep(random.uniform(0.2, 1.0))  # noqa: S311 - spreads
                continue
            raise _explain_failure(error) from error
        return


def _explain_failure(error: APIError) -> ConfigurationError:
    reason = str(error.__cause__ or error).splitlines()[0]
    return ConfigurationError(f"The database could not be brought up to date: {reason}")


def _apply(statements: Statements, *, is_file: bool, wanted: Sequence[str], adopted: str | None) -> None:
    if not is_file:  # SQLite's transaction has the write lock already
        statements.execute(f"SET LOCAL lock_timeout TO '{LOCK_SECONDS}s'", {})
        statements.fetch_all("SELECT pg_advisory_xact_lock(:lock)", {"lock": _ADVISORY_LOCK})
    statements.execute(
        """
        CREATE TABLE IF NOT EXISTS mavera_migrations (
            name TEXT NOT NULL PRIMARY KEY,
            applied_at BIGINT NOT NULL
        )
        """,
        {},
    )
    applied = {row["name"] for row in statements.fetch_all("SELECT name FROM mavera_migrations", {})}
    if not applied and adopted is not None:
        applied = {name for name in _KNOWN if name <= adopted}
        _record(statements, sorted(applied))
    tables = Tables(statements, "sqlite" if is_file else "postgresql")
    for migration in MIGRATIONS:
        if (name := name_of(migration)) in wanted and name not in applied:
            migration(tables)
            _record(statements, [name])


def _record(statements: Statements, names: Sequence[str]) -> None:
    now = int(time.time())
    statements.insert("mavera_migrations (name, applied_at)", [(name, now) for name in names])


async def _read_alembic_version(database: Database) -> str | None:
    """Return the version that a release with Alembic wrote, or None if it is not one of ours."""
    if not await database.has_table("alembic_version"):
        return None
    row = await database.fetch_one("SELECT version_num FROM alembic_version")
    return str(row["version_num"]) if row and row["version_num"] in _KNOWN else None


async def _refuse_too_new(database: Database, current: str) -> None:
    row = await database.fetch_one("SELECT lowest_schema, lowest_version FROM schema_state WHERE id = 1")
    if row is None or not may_run(row["lowest_schema"]):
        needed = f"mavera {row['lowest_version']} or newer" if row else "a newer mavera"
        raise ConfigurationError(
            f"The database is at {current} and needs {needed}; this is mavera {__version__}."
        )


async def _refuse_another_program(database: Database) -> None:
    """Raise ConfigurationError if an SQLite file has tables but none of ours."""
    if not database.is_file:
        return  # several programs may share a database of Postgres
    rows = await database.fetch_all(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%' ORDER BY name"
    )
    names = [str(row["name"]) for row in rows]
    # Another process may have made our tables a moment ago.
    if names and "mavera_migrations" not in names:
        raise ConfigurationError(
            f"The database file belongs to another program: it has a table '{names[0][:60]}'."
        )
