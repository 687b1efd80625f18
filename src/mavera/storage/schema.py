"""
See to it that the tables are those this code was written for.

The version in the database is compared, by plain SQL, with the last file in
migrations/versions. Where they agree, as at nearly every start, nothing more happens.
Otherwise `migrate` runs in a child process, so that Alembic never enters this one.
"""

import asyncio
from pathlib import Path

from mavera.child_command import python_command
from mavera.errors import ConfigurationError
from mavera.storage.database import Database

VERSIONS = Path(__file__).parent / "migrations" / "versions"


def known_versions() -> list[str]:
    """Return the names of the migrations, oldest first."""
    return sorted(path.stem for path in VERSIONS.glob("[0-9]*.py"))


async def current_version(database: Database) -> str | None:
    """Return the name of the last migration that was applied, None where there was none."""
    if not await database.has_table("alembic_version"):
        return None
    row = await database.fetch_one("SELECT version_num FROM alembic_version")
    return str(row["version_num"]) if row else None


async def ensure_schema(database: Database) -> None:
    """Apply what is missing; raise ConfigurationError where a newer mavera made the tables."""
    known = known_versions()
    current = await current_version(database)
    if current == known[-1]:
        return
    if current is not None and current not in known:
        raise ConfigurationError(
            f"The database is at {current}, which is newer than this mavera. Upgrade mavera."
        )
    await _migrate_in_child(database.url)


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
