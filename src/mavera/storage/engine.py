"""
Make a pool of connections from the URL of a database.

    sqlite:////srv/mavera.db          →  SQLite in Python's own driver
    postgres://… | postgresql://…     →  Postgres with asyncpg
    (none)                            →  SQLite in <data_dir>/mavera.db

Connections are in autocommit mode: a single statement commits itself, and `Database.transaction` sends
BEGIN.
"""

from pathlib import Path

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


def parse_location(text: str) -> URL:
    """Return the URL of a database that a user named on the command line, by its URL or by a file's path."""
    if "://" in text:
        return parse_url(text, name="The database")
    return URL.create("sqlite", database=str(Path(text).expanduser().absolute()))


def hide_password(location: str) -> str:
    """Return `location` as it may be printed."""
    if "://" not in location:
        return location
    url = parse_location(location)
    return url.set(drivername=url.get_backend_name()).render_as_string(hide_password=True)


def parse_url(text: str, *, name: str = "MAVERA_DATABASE_URL") -> URL:
    """
    Return `text` with the driver that we use. Raises ConfigurationError if there is none for it.

    `name` stands for the text in messages.
    """
    try:
        url = make_url(text)
    except (ArgumentError, ValueError) as error:
        # The cause may quote the URL with its password, so it is not chained.
        raise ConfigurationError(f"{name} is not a URL ({type(error).__name__}).") from None
    if url.drivername not in _DRIVERS:
        raise ConfigurationError(
            f"{name} begins with '{url.drivername}'; it must be sqlite:// or postgresql://."
        )
    url = url.set(drivername=_DRIVERS[url.drivername])
    if is_file(url):
        _refuse_memory(url, name)
        return url
    return _with_asyncpg_ssl(url)


def open_pool(url: URL) -> Pool:
    """Return a pool that has not connected yet. Raises ConfigurationError."""
    return FilePool(str(url.database)) if is_file(url) else PostgresPool(url)


def is_file(url: URL) -> bool:
    return url.get_backend_name() == "sqlite"


def _refuse_memory(url: URL, name: str) -> None:
    if not url.database or url.database.startswith((":memory:", "file:")):
        raise ConfigurationError(f"{name} must name a file, as in sqlite:////srv/mavera/mavera.db.")


def _with_asyncpg_ssl(url: URL) -> URL:
    """Rename `sslmode`, libpq's parameter in the URLs of many hosts, to asyncpg's `ssl`."""
    if "sslmode" not in url.query:
        return url
    mode = url.query["sslmode"]
    return url.difference_update_query(["sslmode"]).update_query_dict({"ssl": mode})
