"""Migrations go up, down and up again, and two processes that start at once do not trip over each other."""

import asyncio
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from mavera.errors import ConfigurationError, ServiceUnavailable
from mavera.settings import Settings
from mavera.storage.database import Database
from mavera.storage.engine import parse_url
from mavera.storage.migrations import MIGRATIONS
from mavera.storage.schema import ensure_schema, find_version, list_versions
from tests.support import servers
from tests.support.opening import Open
from tests.support.tables import list_tables, load_released, read_columns

TABLES = {
    "mavera_migrations",
    "schema_state",
    "sessions",
    "sign_in_links",
    "sent_forms",
    "playground_runs",
    "facts",
    "tool_calls",
    "media",
    "workspaces",
    "api_keys",
    "milestones",
    "ledger",
    "audit_log",
    "retention",
    "usage_days",
    "processes",
    "run_slots",
    "refused_requests",
    "reservations",
    "usage",
    "alerts",
    "idempotency",
    "kept_answers",
    "personas",
    "persona_versions",
    "focus_groups",
    "focus_group_cells",
    "focus_group_images",
    "focus_group_priors",
    "focus_group_shares",
    "database_copies",
    "findings",
}

START = """
import asyncio, sys
from pathlib import Path
from mavera.accounts.first_run import make_first_key
from mavera.settings import Settings
from mavera.storage.database import Database
from mavera.storage.schema import ensure_schema

async def main():
    database = Database.open(Settings(data_dir=Path(sys.argv[1])))
    await ensure_schema(database)
    print(await make_first_key(database) or "")
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


def test_a_new_database_has_every_table_and_records_every_migration(opened: Open) -> None:
    async def main() -> None:
        async with opened() as database:
            assert await list_tables(database) == TABLES
            rows = await database.fetch_all("SELECT name FROM mavera_migrations ORDER BY name")
            assert tuple(row["name"] for row in rows) == list_versions()

    asyncio.run(main())


def test_a_released_database_upgrades_with_its_rows(
    settings: Settings, database_url: str, engine: str
) -> None:
    """The dumps are of release 0.1.0, whose tables Alembic made."""
    load_released(database_url, engine)
    before = asyncio.run(read_all(settings))

    async def upgrade() -> None:
        async with Database.open(settings) as database:
            assert await find_version(database) == "0004_tools"
            await ensure_schema(database)
            assert await find_version(database) == list_versions()[-1]
            assert await list_tables(database) == TABLES | {"alembic_version"}

    asyncio.run(upgrade())
    after = asyncio.run(read_all(settings))
    assert before
    for table, rows in before.items():
        shortened = [{name: row[name] for name in rows[0]} for row in after[table]]
        assert shortened == rows, table
    assert after["alembic_version"] == [{"version_num": "0004_tools"}], "released servers could not start"


def test_a_released_database_gets_the_columns_of_a_new_one(
    settings: Settings, database_url: str, engine: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    load_released(database_url, engine)

    async def columns(url: str) -> dict[str, set[tuple[str, bool]]]:
        async with Database.at(parse_url(url)) as database:
            await ensure_schema(database)
            return await read_columns(database)

    upgraded = asyncio.run(columns(database_url))
    if engine == "sqlite":
        new = asyncio.run(columns(f"sqlite:///{tmp_path}/new.db"))
    else:
        with servers.new_database(request.getfixturevalue("postgres_url")) as url:
            new = asyncio.run(columns(url))
    del upgraded["alembic_version"]
    assert upgraded == new


async def pretend_applied(database: Database, name: str) -> None:
    await database.execute("INSERT INTO mavera_migrations (name, applied_at) VALUES (:name, 1)", name=name)


async def read_all(settings: Settings) -> dict[str, list[dict[str, object]]]:
    """Return the rows of every table that has any."""
    async with Database.open(settings) as database:
        found = {
            name: [dict(row) for row in await database.fetch_all(f"SELECT * FROM {name} ORDER BY 1, 2")]
            for name in sorted(TABLES)
            if await database.has_table(name) and name not in ("mavera_migrations", "schema_state")
        }
        versions = await database.fetch_all("SELECT * FROM alembic_version")
        found["alembic_version"] = [dict(row) for row in versions]
    return {name: rows for name, rows in found.items() if rows}


def test_processes_that_start_together_migrate_once_and_make_one_key(tmp_path: Path) -> None:
    starting = [start(tmp_path / "data") for _ in range(4)]
    said = [process.communicate() for process in starting]

    assert [process.returncode for process in starting] == [0] * 4, said
    assert sum(out.startswith("mvra_live_") for out, _ in said) == 1


def test_an_ordinary_start_finds_nothing_to_do(opened: Open) -> None:
    async def main() -> None:
        async with opened() as database:
            await ensure_schema(database)
            assert await find_version(database) == list_versions()[-1]

    asyncio.run(main())


def test_tables_that_a_newer_mavera_made_are_refused(opened: Open) -> None:
    async def main() -> None:
        async with opened() as database:
            await pretend_applied(database, "9999_from_the_future")
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
        assert await list_tables(database) == {"workspaces"}, "a half-done migration was left behind"
        await database.close()

    asyncio.run(main())


def test_migrations_are_numbered_in_order_and_documented() -> None:
    numbers = [int(name.partition("_")[0]) for name in list_versions()]
    assert numbers == sorted(set(numbers))
    assert all(name[:5] == f"{number:04}_" for name, number in zip(list_versions(), numbers, strict=True))
    assert all(migration.__doc__ for migration in MIGRATIONS)


def test_newer_tables_are_used_if_they_allow_it_and_otherwise_say_what_they_need(opened: Open) -> None:
    async def main() -> None:
        async with opened() as database:
            await pretend_applied(database, "9998_more")
            await ensure_schema(database)
            await database.execute(
                "UPDATE schema_state SET lowest_schema = '9998_more', lowest_version = '7.5.0'"
            )
            with pytest.raises(ConfigurationError, match=r"needs mavera 7\.5\.0 or newer"):
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
