"""What a database promises: it keeps what was committed, says so when it cannot, and is closed to others."""

import asyncio
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from mavera.errors import APIError, ConfigurationError, ServiceUnavailable
from mavera.settings import Settings
from mavera.storage.database import Conflict, Database, Statements
from mavera.storage.engine import parse_url
from tests.support.opening import Open
from tests.support.requirements import require_module

INSERT = "INSERT INTO milestones (name, reached_at) VALUES (:name, 1)"
COUNT = "SELECT COUNT(*) AS n FROM milestones"


async def count(database: Database) -> int:
    row = await database.fetch_one(COUNT)
    assert row is not None
    return int(row["n"])


def test_what_was_written_is_there_when_the_database_is_opened_again(opened: Open) -> None:
    async def main() -> None:
        async with opened() as database:
            assert await database.execute(INSERT, name="a") == 1
        async with opened() as database:
            assert await database.fetch_all("SELECT name FROM milestones") == [{"name": "a"}]

    asyncio.run(main())


@pytest.mark.sqlite
def test_the_pragmas_are_in_force_on_every_connection(opened: Open) -> None:
    wanted = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 5000}

    async def main() -> None:
        async with opened() as database, database.transaction() as first:
            # The transaction holds one connection, so the database has to use another.
            for queries in (first, database):
                rows = [await queries.fetch_all(f"PRAGMA {pragma}") for pragma in wanted]
                assert [next(iter(row.values())) for [row] in rows] == list(wanted.values())

    asyncio.run(main())


def test_a_transaction_that_fails_or_is_cancelled_leaves_nothing_behind(opened: Open) -> None:
    async def insert_then_fail(database: Database) -> None:
        async with database.transaction() as transaction:
            await transaction.execute(INSERT, name="a")
            raise ZeroDivisionError

    async def insert_then_wait(database: Database) -> None:
        async with database.transaction() as transaction:
            await transaction.execute(INSERT, name="b")
            await asyncio.sleep(60)

    async def main() -> None:
        async with opened() as database:
            with pytest.raises(ZeroDivisionError):
                await insert_then_fail(database)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(insert_then_wait(database), 0.2)
            assert await count(database) == 0
            await database.execute(INSERT, name="c")
            assert await count(database) == 1

    asyncio.run(main())


def test_cancelling_at_any_moment_never_keeps_the_write_lock(opened: Open) -> None:
    async def insert(database: Database, name: str) -> None:
        async with database.transaction() as transaction:
            await transaction.execute(INSERT, name=name)

    async def main() -> None:
        async with opened() as database:
            for step in range(60):
                task = asyncio.create_task(insert(database, f"n{step}"))
                await asyncio.sleep(step / 20_000)
                task.cancel()
                await asyncio.wait([task])
            await asyncio.wait_for(database.execute(INSERT, name="after"), 2)

    asyncio.run(main())


def test_after_a_failed_statement_a_transaction_can_only_be_rolled_back(opened: Open) -> None:
    async def insert_after_conflict(database: Database) -> None:
        async with database.transaction() as transaction:
            await transaction.execute(INSERT, name="a")
            with pytest.raises(Conflict):
                await transaction.execute(INSERT, name="a")
            await transaction.execute(INSERT, name="b")

    async def main() -> None:
        async with opened() as database:
            with pytest.raises(APIError):
                await insert_after_conflict(database)
            assert await count(database) == 0
            await database.execute(INSERT, name="c")
            with pytest.raises(Conflict):
                await database.execute(INSERT, name="c")
            assert await count(database) == 1

    asyncio.run(main())


@pytest.mark.sqlite
def test_reads_do_not_wait_for_a_batch_that_writes(opened: Open) -> None:
    async def main() -> None:
        async with opened() as database:
            is_writing, may_end = threading.Event(), threading.Event()

            def write(statements: Statements) -> None:
                statements.execute(INSERT, {"name": "a"})
                is_writing.set()
                assert may_end.wait(20)

            batch = asyncio.create_task(database.batch(write))
            try:
                assert await asyncio.to_thread(is_writing.wait, 20)
                assert await asyncio.gather(*(count(database) for _ in range(30))) == [0] * 30
            finally:
                may_end.set()
            await batch
            assert await count(database) == 1

    asyncio.run(main())


@pytest.mark.sqlite
def test_a_statement_whose_caller_was_cancelled_has_ended_before_the_caller_goes_on(
    opened: Open, settings: Settings
) -> None:
    async def main() -> None:
        async with opened() as holder, opened() as waiter:
            async with holder.transaction():
                inserting = asyncio.create_task(waiter.execute(INSERT, name="a"))
                await asyncio.sleep(0.1)  # it waits for the lock
                inserting.cancel()
                await asyncio.sleep(0.1)
                assert not inserting.done()
            await asyncio.wait([inserting])
            assert inserting.cancelled()
            # Whoever undoes what was cancelled would otherwise run before it.
            assert await count(holder) == 1

    asyncio.run(main())


@pytest.mark.sqlite
def test_a_database_that_was_closed_is_unavailable_and_waits_for_nobody(opened: Open) -> None:
    async def insert_after_close(database: Database) -> None:
        async with database.transaction() as transaction:
            await database.close()
            await transaction.execute(INSERT, name="a")

    async def main() -> None:
        async with opened() as database:
            with pytest.raises(ServiceUnavailable):
                await insert_after_close(database)

    asyncio.run(main())


@pytest.mark.sqlite
def test_many_writers_at_once_all_get_their_turn(opened: Open) -> None:
    async def add(database: Database) -> None:
        async with database.transaction() as transaction:
            row = await transaction.fetch_one("SELECT reached_at FROM milestones")
            assert row is not None
            await transaction.execute("UPDATE milestones SET reached_at = :at", at=row["reached_at"] + 1)

    async def main() -> None:
        async with opened() as one, opened() as two:
            await one.execute(INSERT, name="a")
            await asyncio.gather(*(add(database) for database in (one, two) for _ in range(50)))
            assert await one.fetch_one("SELECT reached_at FROM milestones") == {"reached_at": 101}

    asyncio.run(main())


@pytest.mark.sqlite
def test_a_locked_database_is_unavailable_and_says_when_to_come_back(opened: Open) -> None:
    async def main() -> None:
        async with opened() as holder, opened() as waiter:
            async with holder.transaction():
                with pytest.raises(ServiceUnavailable, match="busy") as caught:
                    await waiter.execute(INSERT, name="a")
            assert caught.value.retry_after == 1
            assert await waiter.execute(INSERT, name="a") == 1

    asyncio.run(main())


@pytest.mark.sqlite
def test_a_file_that_is_no_database_is_unavailable(settings: Settings) -> None:
    settings.data_dir.mkdir()
    (settings.data_dir / "mavera.db").write_text(
        "this is not a database, and long enough to be read as one" * 9
    )

    async def main() -> None:
        database = Database.open(settings)
        with pytest.raises(ServiceUnavailable):
            await database.fetch_one("SELECT 1")
        await database.close()

    asyncio.run(main())


def test_a_mistake_in_sql_is_no_outage(opened: Open) -> None:
    async def main() -> None:
        async with opened() as database:
            with pytest.raises(APIError) as caught:
                await database.fetch_one("SELEC 1")
            assert type(caught.value) is APIError
            assert "SELEC" not in caught.value.message

    asyncio.run(main())


def test_a_table_that_is_missing_is_the_operators_to_repair(opened: Open) -> None:
    async def main() -> None:
        async with opened() as database:
            with pytest.raises(ServiceUnavailable, match="lacks tables or columns") as caught:
                await database.fetch_one("SELECT * FROM nowhere")
            assert "nowhere" not in caught.value.message

    asyncio.run(main())


@pytest.mark.postgres
@pytest.mark.parametrize("state", ["40P01", "53100", "53200", "57P03", "58030", "25006"])
def test_what_a_postgres_cannot_do_now_is_unavailable(opened: Open, state: str) -> None:
    async def main() -> None:
        async with opened() as database:
            with pytest.raises(ServiceUnavailable) as refused:
                await database.execute(f"DO $$ BEGIN RAISE 'no' USING ERRCODE = '{state}'; END $$")
            assert refused.value.retry_after
            assert await database.fetch_one("SELECT 1 AS one")

    asyncio.run(main())


def test_a_postgres_that_is_not_there_is_unavailable() -> None:
    require_module("asyncpg")

    async def main() -> None:
        database = Database.open(Settings(database_url="postgres://who:secret@127.0.0.1:1/x"))
        with pytest.raises(ServiceUnavailable) as caught:
            await database.fetch_one("SELECT 1")
        assert caught.value.retry_after == 5
        assert "secret" not in caught.value.message
        await database.close()

    asyncio.run(main())


@pytest.mark.sqlite
def test_the_files_are_closed_to_everyone_else(opened: Open, settings: Settings) -> None:
    async def main() -> None:
        async with opened() as database:
            await database.execute(INSERT, name="a")
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in settings.data_dir.iterdir()}
            assert modes == dict.fromkeys(["mavera.db", "mavera.db-wal", "mavera.db-shm"], 0o600)
            assert stat.S_IMODE(settings.data_dir.stat().st_mode) == 0o700

    asyncio.run(main())


def test_a_file_that_was_open_to_the_world_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "mavera.db"
    path.touch(mode=0o644)
    path.chmod(0o644)
    Database.open(Settings(data_dir=tmp_path))
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("postgres://u:p@h/d", "postgresql+asyncpg://u:p@h/d"),
        ("postgresql://u:p@h/d?sslmode=require", "postgresql+asyncpg://u:p@h/d?ssl=require"),
        ("sqlite:////srv/m.db", "sqlite:////srv/m.db"),
    ],
)
def test_a_database_url_gets_the_driver_that_mavera_uses(given: str, used: str) -> None:
    assert parse_url(given).render_as_string(hide_password=False) == used


@pytest.mark.parametrize("url", ["mysql://u:secret@h/d", "secret", "sqlite://", "sqlite:///:memory:"])
def test_a_database_url_that_cannot_be_used_is_refused_without_quoting_it(url: str) -> None:
    with pytest.raises(ConfigurationError, match="MAVERA_DATABASE_URL") as caught:
        parse_url(url)
    assert "secret" not in str(caught.value)


@pytest.mark.sqlite
def test_a_second_database_of_a_process_keeps_the_locks_of_a_first(opened: Open, settings: Settings) -> None:
    """Another process that opens and closes the file must not think that it is the last one."""

    async def main() -> None:
        async with opened() as first:
            await first.execute("INSERT INTO milestones (name, reached_at) VALUES ('x', 1)")
            async with opened() as second:
                await second.fetch_one("SELECT 1")
            script = (
                "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]);"
                "c.execute('SELECT * FROM milestones').fetchall(); c.close()"
            )
            path = settings.data_dir / "mavera.db"
            await asyncio.to_thread(subprocess.run, [sys.executable, "-c", script, str(path)], check=True)
            assert path.with_name("mavera.db-wal").exists()

    asyncio.run(main())
