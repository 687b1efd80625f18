"""Usage by day: exact whatever is written, killed or folded late, and read without reading the runs."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from mavera.accounts import workspaces
from mavera.accounts.credits import days, usage
from mavera.accounts.credits.days import fold_usage, select_days, values_of
from mavera.accounts.credits.holds import Credits
from mavera.accounts.credits.ledger import End, Reserve
from mavera.accounts.credits.usage import Span, Sums, write_csv
from mavera.accounts.keys.delegation import KeyTerms
from mavera.accounts.keys.keyring import Keyring
from mavera.accounts.workspaces import NewWorkspace
from mavera.errors import APIError, InvalidRequest
from mavera.storage.database import Database
from tests.support.opening import Open
from tests.support.plans import read_plan

NOON = 1_764_417_600  # 2025-11-29 12:00 in UTC
DAY = NOON // 86_400
ALL = (0, 1 << 20)


class Books:
    def __init__(self, database: Database, workspace_id: str, key_id: str) -> None:
        self.database = database
        self.workspace_id = workspace_id
        self.key_id = key_id
        self.now = NOON
        self.credits = Credits(database, clock=lambda: self.now)
        self._number = 0

    async def run(self, **members: Any) -> None:
        self._number += 1
        run_id = f"run{self._number}"
        members = {"status": "completed", "credits": 2, "input_tokens": 10, "output_tokens": 5, **members}
        await self.credits.reserve(Reserve(run_id, self.workspace_id, self.key_id, 3))
        await self.credits.end(End(run_id, self.workspace_id, self.key_id, **members))

    def span(self, first: int = ALL[0], last: int = ALL[1]) -> Span:
        return Span.of_days(self.workspace_id, first, last)

    async def old_row(self, run_id: str, created_at: int, **members: Any) -> None:
        """Write a row as a server of the previous release does."""
        row = {"input_tokens": 1, "output_tokens": 1, "credits": 1, "key_id": "old", **members}
        await self.database.execute(
            """
            INSERT INTO usage (workspace_id, created_at, run_id, key_id, status, input_tokens, output_tokens,
                               credits, milliseconds)
            VALUES (:workspace_id, :created_at, :run_id, :key_id, 'completed', :input_tokens, :output_tokens,
                    :credits, 7)
            """,
            workspace_id=self.workspace_id,
            created_at=created_at,
            run_id=run_id,
            **row,
        )


def keep(opened: Open, use: Callable[[Books], Awaitable[None]]) -> None:
    async def main() -> None:
        async with opened() as database, Keyring(database) as keyring:
            workspace_id = await workspaces.create(database, NewWorkspace("Team", "enterprise"), now=NOON)
            key = (await keyring.make(workspace_id, KeyTerms("ci"))).key
            books = Books(database, workspace_id, key.id)
            await use(books)
            await books.credits.close()

    asyncio.run(main())


def test_the_sums_are_those_of_the_runs_in_every_grouping(opened: Open) -> None:
    async def use(books: Books) -> None:
        eur = {"upstream_nanos": 500_000_000, "upstream_currency": "EUR"}
        await asyncio.gather(
            books.run(persona_id="p1", operation="responses", model="m1", **eur),
            books.run(persona_id="p2", operation="responses", model="m1", **eur),
            books.run(persona_id="p1", operation="chat_completions", model="m2"),
            books.run(status="failed", credits=0, milliseconds=30),
        )
        span = books.span()
        total = await usage.sum_all(books.database, span)
        assert total == Sums(4, 40, 20, 6, 1, 30, {"EUR": 1_000_000_000})
        assert total.costs == [("EUR", 1.0)]
        for by in usage.GROUPINGS:
            lines = await usage.read_groups(books.database, span, by)
            assert sum((sums for *_, sums in lines), Sums()) == total, by
        by_persona = dict(await usage.sum_by_persona(books.database, span))
        assert {name: sums.requests for name, sums in by_persona.items()} == {None: 1, "p1": 2, "p2": 1}
        assert by_persona["p2"].nanos == {"EUR": 500_000_000}
        assert [name for name, _ in await usage.sum_by_model(books.database, span)] == [None, "m1", "m2"]
        assert len(await usage.sum_by_operation(books.database, span)) == 3
        [(key_id, name, _)] = await usage.read_groups(books.database, span, "key")
        assert (key_id, name) == (books.key_id, "ci")

    keep(opened, use)


def test_a_run_that_cannot_be_written_is_in_no_sum(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    async def use(books: Books) -> None:
        await books.run()

        def fail(*_: object) -> None:
            raise ZeroDivisionError

        with monkeypatch.context() as patch:
            patch.setattr(days.DayBook, "write", fail)
            with pytest.raises(APIError):
                await books.run()
        rows = await books.database.fetch_all("SELECT run_id FROM usage")
        assert len(rows) == (await usage.sum_all(books.database, books.span())).requests == 1

    keep(opened, use)


def test_rows_of_an_earlier_release_count_before_and_after_they_are_folded(opened: Open) -> None:
    async def use(books: Books) -> None:
        await books.run()
        for number in range(25):
            await books.old_row(f"old{number}", NOON - number * 86_400)
        await books.old_row("absurd", NOON, input_tokens=1 << 62, output_tokens=-5)
        before = await usage.sum_by_day(books.database, books.span())
        assert len(before) == 25
        assert (await usage.sum_all(books.database, books.span())).input_tokens == 10 + 25 + 10**9
        folded = [await fold_usage(books.database, most=10) for _ in range(4)]
        assert folded == [10, 10, 6, 0]
        assert await usage.sum_by_day(books.database, books.span()) == before
        assert await books.database.fetch_all("SELECT run_id FROM usage WHERE rolled = 0") == []

    keep(opened, use)


def test_processes_that_fold_at_once_count_each_row_once(opened: Open) -> None:
    async def use(books: Books) -> None:
        for number in range(60):
            await books.old_row(f"old{number}", NOON)
        async with opened() as other:
            databases = (books.database, other) * 4
            await asyncio.gather(*(fold_usage(database, most=10) for database in databases))
        assert (await usage.sum_all(books.database, books.span())).requests == 60
        [row] = await books.database.fetch_all("SELECT requests FROM usage_days WHERE kind = 'total'")
        assert row["requests"] == 60

    keep(opened, use)


def test_the_sweep_folds_by_itself(opened: Open) -> None:
    async def use(books: Books) -> None:
        await books.old_row("old", NOON)
        await books.credits.sweep()
        assert len(await books.database.fetch_all("SELECT day FROM usage_days WHERE kind = 'total'")) == 1

    keep(opened, use)


def test_a_day_is_a_day_of_the_reporting_zone_and_earlier_days_keep_theirs(opened: Open) -> None:
    async def use(books: Books) -> None:
        books.now = NOON + 11 * 3600  # 23:00 in UTC, the next day in Berlin
        await books.run()
        await workspaces.set_zone(books.database, books.workspace_id, "Europe/Berlin")
        await books.run()
        await books.run(status="completed", reserved=False)
        found = await usage.sum_by_day(books.database, books.span())
        assert [(day, sums.requests) for day, sums in found] == [(DAY, 1), (DAY + 1, 2)]
        assert await usage.list_zones(books.database, books.span()) == ["Europe/Berlin", "UTC"]
        with pytest.raises(InvalidRequest):
            await workspaces.set_zone(books.database, books.workspace_id, "Mars/Olympus")

    keep(opened, use)


def test_a_zone_that_this_machine_does_not_know_stops_no_charge(opened: Open) -> None:
    async def use(books: Books) -> None:
        await books.database.execute("UPDATE workspaces SET reporting_zone = '../../etc/passwd'")
        await books.run()
        assert await usage.list_zones(books.database, books.span()) == ["UTC"]

    keep(opened, use)


@pytest.mark.parametrize("kind", days.KINDS)
def test_no_read_scans_the_runs_or_the_days_of_others(opened: Open, kind: str) -> None:
    async def use(books: Books) -> None:
        plan = await read_plan(books.database, select_days(kind), **values_of(books.workspace_id, DAY, DAY))
        assert "usage_not_rolled" in plan
        assert "SCAN" not in plan.replace("SCAN CONSTANT", "")
        assert "Seq Scan" not in plan
        assert "usage_days_pkey" in plan or "PRIMARY KEY" in plan
        assert "day" in plan  # the range of days bounds what is read

    keep(opened, use)


def test_a_table_for_spreadsheets_runs_no_name(opened: Open) -> None:
    async def use(books: Books) -> None:
        await books.run()
        await books.database.execute("UPDATE api_keys SET name = '=cmd|'' /C calc''!A0'")
        text = write_csv("key", await usage.read_groups(books.database, books.span(), "key"), zone="UTC")
        head, line = text.splitlines()
        assert head.startswith("key,name,requests,errors,")
        assert line.split(",")[1].startswith("'=cmd")

    keep(opened, use)


def test_a_month_counts_up_in_the_present_month(opened: Open) -> None:
    async def use(books: Books) -> None:
        books.now = int(time.time())
        await books.run()
        today = books.now // 86_400
        assert (await usage.sum_all(books.database, books.span(today, today))).requests == 1
        assert (await usage.sum_all(books.database, books.span(today + 1, today + 1))).requests == 0

    keep(opened, use)
