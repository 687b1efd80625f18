"""Indexes of large tables are built on Postgres while others write, and one half built is built again."""

import asyncio
import functools
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from mavera.storage.database import Database
from mavera.storage.engine import parse_url
from mavera.storage.migrations import INDEXES_OF_OLD_ROWS, MIGRATIONS, m0024_indexes_of_old_rows, name_of
from mavera.storage.schema import apply_migrations, find_version, list_versions

pytestmark = pytest.mark.postgres

# The migrations before it change the tables that the test locks.
BEFORE = name_of(MIGRATIONS[MIGRATIONS.index(m0024_indexes_of_old_rows) - 1])
NAMES = sorted(index.name for index in INDEXES_OF_OLD_ROWS)
WRITE_PERSONA = """
    INSERT INTO personas (id, workspace_id, mode, version, name, category, credits_charged, created_at,
                          updated_at)
    VALUES (:id, 'w', 'live', 1, 'one', 'c', 0, 1, 1)
    """


def on_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    @functools.wraps(test)
    def run(*given: Any, **named: Any) -> None:
        asyncio.run(test(*given, **named))

    return run


async def list_indexes(database: Database, *, valid: bool) -> list[str]:
    rows = await database.fetch_all(
        """
        SELECT relname FROM pg_index JOIN pg_class ON oid = indexrelid
         WHERE indisvalid = :valid AND relname = ANY(CAST(:names AS TEXT[])) ORDER BY relname
        """,
        valid=valid,
        names=NAMES,
    )
    return [row["relname"] for row in rows]


async def wait_for_builder(database: Database) -> None:
    """Return once an index is being built that is not valid yet."""
    while not await list_indexes(database, valid=False):  # noqa: ASYNC110 - Postgres has no event to wait for
        await asyncio.sleep(0.02)


@on_loop
async def test_others_write_while_a_large_index_is_built(database_url: str) -> None:
    url = parse_url(database_url)
    async with Database.at(url) as one, Database.at(url) as other:
        await apply_migrations(one, up_to=BEFORE)
        async with other.transaction() as transaction:
            for table in ("focus_groups", "personas"):
                await transaction.execute(f"LOCK TABLE {table} IN ROW EXCLUSIVE MODE")
            migrating = asyncio.create_task(apply_migrations(one))
            await asyncio.wait_for(wait_for_builder(other), 30)
            await transaction.execute(WRITE_PERSONA, id="p1")
            assert await other.execute(WRITE_PERSONA, id="p2") == 1
            assert not migrating.done()
        await asyncio.wait_for(migrating, 30)

        assert await list_indexes(one, valid=True) == NAMES
        assert await find_version(one) == list_versions()[-1]


@on_loop
async def test_an_index_that_a_killed_process_left_half_built_is_built_again(database_url: str) -> None:
    async with Database.at(parse_url(database_url)) as database:
        await apply_migrations(database, up_to=BEFORE)
        await database.execute(f"CREATE INDEX {NAMES[0]} ON milestones (name)")
        await database.execute(
            "UPDATE pg_index SET indisvalid = false WHERE indexrelid = to_regclass(CAST(:name AS TEXT))",
            name=NAMES[0],
        )

        await apply_migrations(database)

        assert await list_indexes(database, valid=True) == NAMES
        rows = await database.fetch_all(
            "SELECT tablename FROM pg_indexes WHERE indexname = :name", name=NAMES[0]
        )
        assert [row["tablename"] for row in rows] != ["milestones"]


@on_loop
async def test_processes_that_start_together_build_each_index_once(database_url: str) -> None:
    url = parse_url(database_url)
    async with Database.at(url) as one, Database.at(url) as two, Database.at(url) as three:
        await apply_migrations(one, up_to=BEFORE)

        await asyncio.wait_for(asyncio.gather(*map(apply_migrations, (one, two, three))), 60)

        assert await list_indexes(one, valid=True) == NAMES
        assert await list_indexes(one, valid=False) == []
        locks = await one.fetch_all("SELECT pid FROM pg_locks WHERE locktype = 'advisory'")
        assert locks == [], "a lock was kept"
