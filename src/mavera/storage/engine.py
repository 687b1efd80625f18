"""
Make a pool of connections from the URL of a database.

    sqlite:////srv/mavera.db          →  SQLite in Python's own driver
    postgres://… | postgresql://…     →  Postgres with asyncpg
    (none)                            →  SQLite in <data_dir>/mavera.db

Connections are in autocommit mode: a single statement commits itself, and `Database.transaction` sends
BEGIN.
"""

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from mavera.errors import ConfigurationError
from mavera.settings import Settings
from mavera.storage.pool import Pool
from mavera.storage.postgres import PostgresPool
from mavera.storage.sqlite import FilePool

_DRIVERS = {
    "sqlite": "sqlite",
    "sqlite+aiosqlite": "sqlite",
    "postgres": "postgresql+asyncpg",
    "postgresql": "postgresql+asyncpg",
    "postgresql+asyncpg": "postgresql+asyncpg",
}


def settings_url(settings: Settings) -> URL:
    if settings.database_url:
        return parse_url(settings.database_url)
    return URL.create("sqlite", database=str(settings.data_dir / "mavera.db"))


def parse_url(text: str) -> URL:
    """Return `text` with the driver that we use. Raises ConfigurationError if there is none for it."""
    try:
        url = make_url(text)
    except (ArgumentError, ValueError) as error:
        # The cause may quote the URL with its password, so it is not chained.
        raise ConfigurationError(f"MAVERA_DATABASE_URL is not a URL ({type(error).__name__}).") from None
    if url.drivername not in _DRIVERS:
        raise ConfigurationError(
            f"MAVERA_DATABASE_URL begins with '{url.drivername}'; it must be sqlite:// or postgresql://."
        )
    url = url.set(drivername=_DRIVERS[url.drivername])
    if is_file(url):
        _refuse_memory(url)
        return url
    return _with_asyncpg_ssl(url)


def open_pool(url: URL) -> Pool:
    """Return a pool that has not connected yet. Raises ConfigurationError."""
    return FilePool(str(url.database)) if is_file(url) else PostgresPool(url)


def is_file(url: URL) -> bool:
    return url.get_backend_name() == "sqlite"


def _refuse_memory(url: URL) -> None:
    if not url.database or url.database.startswith((":memory:", "file:")):
        raise ConfigurationError(
            "MAVERA_DATABASE_URL must name a file, as in sqlite:////srv/mavera/mavera.db."
        )


def _with_asyncpg_ssl(url: URL) -> URL:
    """Rename `sslmode`, libpq's parameter in the URLs of many hosts, to asyncpg's `ssl`."""
    if "sslmode" not in url.query:
        return url
    mode = url.query["sslmode"]
    return url.difference_update_query(["sslmode"]).update_query_dict({"ssl": mode})
