"""Make the tables of a database before a server or a command opens it."""

import asyncio
import sqlite3
from pathlib import Path

from mavera.storage.database import Database
from mavera.storage.engine import make_engine, parse_url
from mavera.storage.schema import apply_migrations
from tests.support import servers

RELEASED = Path(__file__).parents[1] / "storage" / "released"


def make_tables(database_url: str, *, up_to: str | None = None) -> None:
    """Apply the migrations to the database at `database_url`: all of them, or those up to `up_to`."""

    async def apply() -> None:
        url = parse_url(database_url)
        async with Database(url, make_engine(url)) as database:
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
