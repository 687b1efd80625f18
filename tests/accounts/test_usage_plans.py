"""With 1,000,000 runs on Postgres, no page of usage reads a whole table."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import pytest

from mavera.accounts.credits import usage
from mavera.settings import Settings
from mavera.storage.database import Database, Row
from tests.support.processes import make_key
from tests.support.tables import make_tables

pytestmark = [pytest.mark.proof, pytest.mark.postgres]

RUNS = 1_000_000
LARGE = ("usage", "usage_days", "ledger")
DAY = 86_400


class Recorder:
    """Runs statements and keeps them, so that their plans can be asked for."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.asked: list[tuple[str, dict[str, Any]]] = []

    async def fetch_one(self, sql: str, /, **values: Any) -> Row | None:
        rows = await self.fetch_all(sql, **values)
        return rows[0] if rows else None

    async def fetch_all(self, sql: str, /, **values: Any) -> list[Row]:
        self.asked.append((sql, values))
        return await self._database.fetch_all(sql, **values)

    async def execute(self, sql: str, /, **values: Any) -> int:
        return await self._database.execute(sql, **values)

    async def execute_many(self, sql: str, rows: Sequence[Row], /) -> None:
        await self._database.execute_many(sql, rows)


async def fill(database: Database, workspace_id: str) -> None:
    """Add runs of a year, half of them of another workspace, and their sums by day."""
    begin = int(time.time()) - 360 * DAY
    await database.execute(
        f"""
        INSERT INTO usage (workspace_id, created_at, run_id, key_id, status, input_tokens, output_tokens,
                           credits, milliseconds, rolled)
        SELECT CASE WHEN n % 2 = 0 THEN CAST(:workspace_id AS TEXT) ELSE 'other' END,
               {begin} + n * 31, 'run_' || n, 'key_' || n % 50, 'completed', 10, 20, 1, 300, 1
          FROM generate_series(1, {RUNS}) AS n
        """,
        workspace_id=workspace_id,
    )
    await database.execute(
        f"""
        INSERT INTO usage_days (workspace_id, kind, day, value, zone, currency, requests, errors,
                                input_tokens, output_tokens, credits, milliseconds, upstream_nanos)
        SELECT who, kind, {begin // DAY} + day, kind || '_' || value, 'UTC', '', 10, 0, 100, 200, 10, 3000, 0
          FROM unnest(ARRAY[CAST(:workspace_id AS TEXT), 'other']) AS who,
               unnest(ARRAY['total', 'key', 'persona', 'operation', 'model']) AS kind,
               generate_series(0, 360) AS day, generate_series(1, 20) AS value
        """,
        workspace_id=workspace_id,
    )
    await database.execute("ANALYZE")


async def find_whole_reads(database: Database, asked: list[tuple[str, dict[str, Any]]]) -> list[str]:
    """Return the lines of plans that read a large table from its beginning to its end."""
    found = []
    for sql, values in asked:
        rows = await database.fetch_all(f"EXPLAIN {sql}", **values)
        lines = [str(row["QUERY PLAN"]).strip() for row in rows]
        found += [line for line in lines for table in LARGE if f"Seq Scan on {table} " in line]
    return found


def test_no_page_of_usage_reads_a_whole_table(settings: Settings, database_url: str) -> None:
    make_tables(database_url)
    asyncio.run(make_key(settings, 1000))

    async def main() -> None:
        async with Database.open(settings) as database:
            row = await database.fetch_one("SELECT id FROM workspaces LIMIT 1")
            assert row is not None
            await fill(database, row["id"])
            recorder = Recorder(database)
            today = int(time.time()) // DAY
            assert len(await usage.list_latest(recorder, row["id"], limit=50)) == 50
            await usage.count_recent_personas(recorder, row["id"], runs=1000)
            span = usage.Span(row["id"], (today - 30) * DAY, today * DAY)
            assert (await usage.sum_all(recorder, span)).requests > 0
            for by in usage.GROUPINGS:
                await usage.read_groups(recorder, span, by)
            await usage.read_all(recorder, span)
            await usage.list_zones(recorder, span)
            assert len(recorder.asked) >= 3
            assert await find_whole_reads(database, recorder.asked) == []
            # The check itself must find one that does.
            whole: list[tuple[str, dict[str, Any]]] = [
                ("SELECT SUM(credits) AS n FROM usage WHERE credits > 0", {})
            ]
            assert await find_whole_reads(database, whole)

    asyncio.run(main())
