"""Make the tables of a database before a server or a command opens it."""

import asyncio
import sqlite3
from pathlib import Path

from mavera.storage.database import Database
from mavera.storage.engine import parse_url
from mavera.storage.schema import apply_migrations
from tests.support import servers

_FILE_COLUMNS = """
    SELECT tables.name AS table_name, columns.name AS column_name, NOT columns."notnull" AS nullable
      FROM sqlite_master AS tables, pragma_table_info(tables.name) AS columns
     WHERE tables.type = 'table' AND tables.name NOT LIKE 'sqlite%'
"""
_POSTGRES_COLUMNS = """
    SELECT table_name, column_name, is_nullable = 'YES' AS nullable
      FROM information_schema.columns
     WHERE table_schema = current_schema()
"""
RELEASED = Path(__file__).parents[1] / "storage" / "released"


def make_tables(database_url: str, *, up_to: str | None = None) -> None:
    """Apply the migrations to the database at `database_url`: all of them, or those up to `up_to`."""

    async def apply() -> None:
        async with Database.at(parse_url(database_url)) as database:
            await apply_migrations(database, up_to=up_to)

    asyncio.run(apply())


def load_released(database_url: str, engine: str) -> None:
    """Make a database as release 0.1.0 leaves it, with a row or two in each table."""
    dump = RELEASED / f"released-{engine}.sql"
    if engine == "sqlite":
        path = Path(database_url.removeprefix("sqlite:///"))
        path.parent.mkdir(parents=True)
        connection = sqlite3.connect(path)
        connection.executescript(dump.read_text())
        connection.close()
        return
    asyncio.run(servers.on_postgres(database_url, dump.read_text()))


async def list_tables(database: Database) -> set[str]:
    return set(await read_columns(database))


async def read_columns(database: Database) -> dict[str, set[tuple[str, bool]]]:
    """Return the columns of each table: their names, and whether they may be NULL."""
    tables: dict[str, set[tuple[str, bool]]] = {}
    for row in await database.fetch_all(_FILE_COLUMNS if database.is_file else _POSTGRES_COLUMNS):
        tables.setdefault(row["table_name"], set()).add((row["column_name"], bool(row["nullable"])))
    return tables
