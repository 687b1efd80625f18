"""
Make a database engine from a URL.

    sqlite:////srv/mavera.db          →  aiosqlite: WAL, synchronous FULL, foreign keys, waits 5 s for a lock
    postgres://… | postgresql://…     →  asyncpg
    (none)                            →  sqlite in <data_dir>/mavera.db

Connections are in autocommit mode: a single statement commits itself, and `Database.transaction` sends
BEGIN. With WAL, readers go on while one connection writes. FULL makes a commit wait for the disk, so a
charge or a key that was answered survives a power cut. NORMAL would lose the last commits. Other users
cannot read the file or the directory made for it, because they contain digests and conversations.
"""

import os
from pathlib import Path
from typing import Any

from sqlalchemy import URL, event, make_url
from sqlalchemy.exc import ArgumentError, DisconnectionError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from mavera.errors import ConfigurationError
from mavera.extras import describe_missing_extra
from mavera.settings import Settings
from mavera.storage.blocking import DatabaseFile

WAIT_SECONDS = 5.0
_DRIVERS = {
    "sqlite": "sqlite+aiosqlite",
    "sqlite+aiosqlite": "sqlite+aiosqlite",
    "postgres": "postgresql+asyncpg",
    "postgresql": "postgresql+asyncpg",
    "postgresql+asyncpg": "postgresql+asyncpg",
}


def settings_url(settings: Settings) -> URL:
    if settings.database_url:
        return parse_url(settings.database_url)
    return URL.create("sqlite+aiosqlite", database=str(settings.data_dir / "mavera.db"))


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
    if _is_sqlite(url):
        _refuse_memory(url)
        return url
    return _with_asyncpg_ssl(url)


def make_engine(url: URL) -> AsyncEngine:
    """Return an engine for `url` that is not connected yet."""
    if not _is_sqlite(url):
        return _create(url, pool_pre_ping=True, connect_args={"timeout": WAIT_SECONDS})
    _prepare_file(Path(str(url.database)))
    engine = _create(url, connect_args={"timeout": WAIT_SECONDS})
    _watch_file(engine, file_of(url))
    return engine


def file_of(url: URL) -> DatabaseFile:
    """Return the SQLite file of `url`. Its connections get the same settings as those of the engine."""
    return DatabaseFile(str(url.database), WAIT_SECONDS, _set_pragmas)


def _watch_file(engine: AsyncEngine, file: DatabaseFile) -> None:
    """Keep the pool from using another file that has replaced this one."""

    def check_file(*_: Any) -> None:
        file.identity()

    def prepare_connection(connection: Any, record: ConnectionPoolEntry) -> None:
        record.info["file"] = file.identity()
        _set_pragmas(connection)

    def check_connection(_: Any, record: ConnectionPoolEntry, __: Any) -> None:
        if record.info["file"] != file.identity():
            raise DisconnectionError("another file has replaced it")

    event.listen(engine.sync_engine, "do_connect", check_file)
    event.listen(engine.sync_engine, "connect", prepare_connection)
    event.listen(engine.sync_engine, "checkout", check_connection)


def _create(url: URL, **options: Any) -> AsyncEngine:
    try:
        return create_async_engine(
            url,
            isolation_level="AUTOCOMMIT",
            skip_autocommit_rollback=True,
            pool_size=5,
            max_overflow=5,
            pool_timeout=WAIT_SECONDS,
            **options,
        )
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            describe_missing_extra("postgres", "MAVERA_DATABASE_URL with Postgres")
        ) from error


def _is_sqlite(url: URL) -> bool:
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


def _prepare_file(path: Path) -> None:
    """Make the file with mode 0600, which its WAL inherits. SQLite would make it readable to all."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        mode = path.stat().st_mode
        if mode & 0o007:
            path.chmod(mode & ~0o007)
    except OSError as error:
        raise ConfigurationError(f"The database file {path} cannot be used: {error.strerror}.") from error


def _set_pragmas(connection: Any) -> None:
    cursor = connection.cursor()
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
