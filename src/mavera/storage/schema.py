"""
See to it that the tables are those this code was written for.

The version in the database is compared, by plain SQL, with the last file in
migrations/versions. Where they agree, as at nearly every start, nothing more happens.
Otherwise `migrate` runs in a child process, so that Alembic never enters this one.
"""

import asyncio
import re
from functools import cache
from pathlib import Path

from mavera import __version__
from mavera.child_command import python_command
from mavera.errors import ConfigurationError
from mavera.storage.database import Database

_OURS = re.compile(r"\d{4}_\w+")
VERSIONS = Path(__file__).parent / "migrations" / "versions"


def known_versions() -> list[str]:
    """Return the names of the migrations, oldest first."""
    return list(_known_versions())


@cache
def _known_versions() -> tuple[str, ...]:
    return tuple(sorted(path.stem for path in VERSIONS.glob("[0-9]*.py")))


def may_run(lowest_schema: str) -> bool:
    """Whether this mavera knows enough to run on tables that ask for `lowest_schema` or newer."""
    return _known_versions()[-1] >= lowest_schema


async def current_version(database: Database) -> str | None:
    """Return the name of the last migration that was applied, None where there was none."""
    if not await database.has_table("alembic_version"):
        return None
    row = await database.fetch_one("SELECT version_num FROM alembic_version")
    return str(row["version_num"]) if row else None


async def ensure_schema(database: Database) -> None:
    """
    Apply what is missing. Tables of a newer mavera are left as they are, if this one may run on them.

    Raises ConfigurationError if it may not, and if the database belongs to another program.
    """
    known = known_versions()
    current = await current_version(database)
    if current == known[-1]:
        return
    if current is None:
        await _refuse_another_program(database)
    elif not _OURS.fullmatch(current):
        raise ConfigurationError(
            f"The database belongs to another program: its alembic_version is '{current[:60]}'."
        )
    elif current not in known:
        await _refuse_too_new(database, current)
        return
    await _migrate_in_child(database.url)


async def _refuse_too_new(database: Database, current: str) -> None:
    row = await database.fetch_one("SELECT lowest_schema, lowest_version FROM schema_state WHERE id = 1")
    if row is None or not may_run(row["lowest_schema"]):
        needed = f"mavera {row['lowest_version']} or newer" if row else "a newer mavera"
        raise ConfigurationError(
            f"The database is at {current} and needs {needed}; this is mavera {__version__}."
        )


async def _refuse_another_program(database: Database) -> None:
    """Raise ConfigurationError if an SQLite file has tables, none of which is ours."""
    if not database.is_file:
        return  # several programs may share a database of Postgres
    row = await database.fetch_one(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%' LIMIT 1"
    )
    if row is not None:
        raise ConfigurationError(
            f"The database file belongs to another program: it has a table '{row['name'][:60]}'."
        )


async def _migrate_in_child(url: str) -> None:
    # The URL may hold a password: on stdin `ps` does not show it.
    child = await asyncio.create_subprocess_exec(
        *python_command("mavera.storage.migrate"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await child.communicate(url.encode())
    if child.returncode != 0:
        lines = said.decode(errors="replace").strip().splitlines() or [f"exit status {child.returncode}"]
        raise ConfigurationError(f"The database could not be brought up to date: {lines[-1]}")
