"""Make the tables of a database before a server or a command opens it."""

import asyncio

from mavera.storage.database import Database
from mavera.storage.engine import make_engine, parse_url
from mavera.storage.schema import apply_migrations


def make_tables(database_url: str, *, up_to: str | None = None) -> None:
    """Apply the migrations to the database at `database_url`: all of them, or those up to `up_to`."""

    async def apply() -> None:
        url = parse_url(database_url)
        async with Database(url, make_engine(url)) as database:
            await apply_migrations(database, up_to=up_to)

    asyncio.run(apply())
