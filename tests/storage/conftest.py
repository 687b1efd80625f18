"""A database of its own for each test, on SQLite, with the tables in place."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from mavera.settings import Settings
from mavera.storage.database import Database
from mavera.storage.migrate import migrate
from tests.storage.opening import Open


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data")


@pytest.fixture
def database_url(settings: Settings) -> str:
    return f"sqlite:///{settings.data_dir}/mavera.db"


@pytest.fixture
def opened(settings: Settings, database_url: str) -> Open:
    """Return what opens the one database again and again, each time as another process would."""
    migrate(database_url)

    @asynccontextmanager
    async def open_database() -> AsyncIterator[Database]:
        database = Database.open(settings)
        try:
            yield database
        finally:
            await database.close()

    return open_database
