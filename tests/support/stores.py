"""Fixtures for a database of its own for each test, on SQLite and on Postgres, with the tables in place."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from mavera.settings import Settings
from mavera.storage.database import Database
from tests.support import servers
from tests.support.opening import Open
from tests.support.tables import make_tables


@pytest.fixture(params=["sqlite", "postgres"])
def engine(request: pytest.FixtureRequest) -> str:
    """Say which engine the test runs on. One marked `sqlite` or `postgres` runs on that one only."""
    name: str = request.param
    for other in ("sqlite", "postgres"):
        if other != name and request.node.get_closest_marker(other):
            pytest.skip(f"about {other}")
    return name


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    with servers.postgres() as url:
        yield url


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    with servers.redis() as url:
        yield url


@pytest.fixture
def database_url(engine: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    if engine == "sqlite":
        yield f"sqlite:///{tmp_path}/data/mavera.db"
        return
    with servers.new_database(request.getfixturevalue("postgres_url")) as url:
        yield url


@pytest.fixture
def settings(tmp_path: Path, engine: str, database_url: str) -> Settings:
    return Settings(data_dir=tmp_path / "data", database_url="" if engine == "sqlite" else database_url)


@pytest.fixture
def opened(settings: Settings, database_url: str) -> Open:
    """Return what opens the one database again and again, each time as another process would."""
    make_tables(database_url)

    @asynccontextmanager
    async def open_database() -> AsyncIterator[Database]:
        database = Database.open(settings)
        try:
            yield database
        finally:
            await database.close()

    return open_database
