"""
Bring a database's tables to a version: up to the newest, or down to an older one.

    migrate(url)                                    all of migrations/versions, in the order of their numbers
    echo "$URL" | python -m mavera.storage.migrate  the same, in a process of its own

All steps are one transaction, which holds the write lock of SQLite or an advisory lock
of Postgres from its start. A second process waits, then finds nothing left to do.

This module alone imports Alembic. A server imports `schema` instead, which runs this
one as a child process when there is something to do: 11 MB that it does not carry.
"""

import asyncio
import sys
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text

from mavera.storage.database import Database
from mavera.storage.engine import make_engine, parse_url

MIGRATIONS = Path(__file__).parent / "migrations"
# Any number will do, as long as nothing else on the same Postgres takes this one.
_ADVISORY_LOCK = 0x6D767261


def migrate(database_url: str, *, down_to: str | None = None) -> None:
    """Go up to the newest version or, where it is given, down to `down_to` ("base" is no tables at all)."""
    asyncio.run(_migrate(database_url, down_to))


async def _migrate(database_url: str, down_to: str | None) -> None:
    url = parse_url(database_url)
    database = Database(url, make_engine(url))
    try:
        async with database.transaction() as transaction:
            await transaction.run_sync(lambda connection: _apply(connection, down_to))
    finally:
        await database.close()


def _apply(connection: Connection, down_to: str | None) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _ADVISORY_LOCK})
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    if down_to is None:
        command.upgrade(config, "head")
    else:
        command.downgrade(config, down_to)


if __name__ == "__main__":
    migrate(sys.stdin.readline().strip())
