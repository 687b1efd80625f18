"""Migrations go up, down and up again, and two processes that start at once do not trip over each other."""

import asyncio
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import Connection, inspect

from mavera.errors import ConfigurationError, ServiceUnavailable
from mavera.settings import Settings
from mavera.storage.database import Database
from mavera.storage.migrate import migrate
from mavera.storage.schema import current_version, ensure_schema, known_versions
from tests.storage.opening import Open

TABLES = {
    "schema_state",
    "tool_calls",
    "media",
    "workspaces",
    "api_keys",
    "milestones",
    "ledger",
    "reservations",
    "usage",
    "alerts",
    "idempotency",
    "personas",
    "persona_versions",
}

START = """
import asyncio, sys
from pathlib import Path
from mavera.accounts.first_run import first_run
from mavera.settings import Settings
from mavera.storage.database import Database
from mavera.storage.schema import ensure_schema

async def main():
    database = Database.open(Settings(data_dir=Path(sys.argv[1])))
    await ensure_schema(database)
    print(await first_run(database) or "", "alembic" in sys.modules)
    await database.close()

asyncio.run(main())
"""


def start(data_dir: Path) -> "subprocess.Popen[str]":
    """Start what a server does first, in a process of its own."""
    command = [sys.executable, "-W", "error", "-c", START, str(data_dir)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_first_start_ignores_modules_in_the_working_directory(tmp_path: Path) -> None:
    (tmp_path / "queue.py").write_text("raise SystemExit('the wrong queue')")
    command = [sys.executable, "-P", "-c", START, str(tmp_path / "data")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


async def tables(database: Database) -> set[str]:
    def names(connection: Connection) -> set[str]:
        return set(inspect(connection).get_table_names())

    async with database.transaction() as transaction:
        return await transaction.run_sync(names) - {"alembic_version"}


def test_migrations_go_up_down_and_up_again(opened: Open, database_url: str) -> None:
    async def seen() -> tuple[set[str], str | None]:
        async with opened() as database:
            return await tables(database), await current_version(database)

    up = asyncio.run(seen())
    assert up == (TABLES, known_versions()[-1])
    migrate(database_url, down_to="base")
    assert asyncio.run(seen()) == (set(), None)
    migrate(database_url)
    assert asyncio.run(seen()) == up


def test_processes_that_start_together_migrate_once_and_make_one_key(tmp_path: Path) -> None:
    starting = [start(tmp_path / "data") for _ in range(4)]
    said = [process.communicate() for process in starting]

    assert [process.returncode for process in starting] == [0] * 4, said
    assert sum(out.startswith("mvra_live_") for out, _ in said) == 1
    assert all(out.endswith("False\n") for out, _ in said), "Alembic came into a server's process"


def test_an_ordinary_start_finds_nothing_to_do(opened: Open) -> None:
    async def main() -> None:
        async with opened() as database:
            await ensure_schema(database)
            assert await current_version(database) == known_versions()[-1]

    asyncio.run(main())


def test_tables_that_a_newer_mavera_made_are_refused(opened: Open) -> None:
    async def main() -> None:
        async with opened() as database:
            await database.execute("UPDATE alembic_version SET version_num = '9999_from_the_future'")
            await database.execute("UPDATE schema_state SET lowest_schema = '9999_from_the_future'")
            with pytest.raises(ConfigurationError, match="9999_from_the_future"):
                await ensure_schema(database)

    asyncio.run(main())


def test_a_migration_that_fails_says_why(settings: Settings) -> None:
    async def main() -> None:
        database = Database.open(settings)
        await database.execute("CREATE TABLE workspaces (id TEXT)")
        with pytest.raises(ConfigurationError, match=r"could not be brought up to date|another program"):
            await ensure_schema(database)
        assert await tables(database) == {"workspaces"}, "a half-done migration was left behind"
        await database.close()

    asyncio.run(main())


def test_the_names_of_versions_fit_alembics_column() -> None:
    assert known_versions()
    assert all(len(name) <= 32 for name in known_versions())


def test_newer_tables_are_used_if_they_allow_it_and_otherwise_say_what_they_need(opened: Open) -> None:
    async def main() -> None:
        async with opened() as database:
            await database.execute("UPDATE alembic_version SET version_num = '9998_more'")
            await ensure_schema(database)
            await database.execute(
                "UPDATE schema_state SET lowest_schema = '9998_more', lowest_version = '7.5.0'"
            )
            with pytest.raises(ConfigurationError, match=r"needs mavera 7\.5\.0 or newer"):
                await ensure_schema(database)
            await database.execute("UPDATE alembic_version SET version_num = 'a1b2c3'")
            with pytest.raises(ConfigurationError, match="belongs to another program"):
                await ensure_schema(database)

    asyncio.run(main())


def test_a_file_of_another_program_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "mavera.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE recipes (name TEXT)")
    connection.close()

    async def main() -> None:
        async with Database.open(Settings(data_dir=tmp_path)) as database:
            with pytest.raises(ConfigurationError, match="another program"):
                await ensure_schema(database)

    asyncio.run(main())
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("recipes",)]
    connection.close()


@pytest.mark.parametrize("content", [b"no database at all " * 300, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_damaged_file_is_called_that(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "mavera.db").write_bytes(content)

    async def main() -> None:
        async with Database.open(Settings(data_dir=tmp_path)) as database:
            with pytest.raises(ServiceUnavailable, match="damaged"):
                await ensure_schema(database)

    asyncio.run(main())
