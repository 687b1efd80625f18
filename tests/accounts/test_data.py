"""Retention, export, erasure and deletion: what goes, what stays, and that nobody else's rows are touched."""

import asyncio
import io
import json
import zipfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from mavera.accounts import workspaces
from mavera.accounts.audit import OPERATORS_LOG, Actor, Search, list_entries
from mavera.accounts.credits import usage
from mavera.accounts.credits.days import fold_usage
from mavera.accounts.credits.usage import Span
from mavera.accounts.data import deletion, retention
from mavera.accounts.data.deletion import delete_workspace, erase_end_user, purge_deleted
from mavera.accounts.data.export import export_workspace
from mavera.accounts.data.retention import change_terms, list_terms, parse_retention, prune_workspace
from mavera.accounts.data.upkeep import Upkeep
from mavera.accounts.keys.delegation import KeyTerms
from mavera.accounts.keys.keyring import Keyring
from mavera.accounts.plans import Overrides
from mavera.accounts.workspaces import NewWorkspace
from mavera.errors import ConfigurationError, InvalidRequest, NotFound, Unauthorized
from mavera.settings import Settings
from mavera.storage.database import Database
from mavera.storage.sealing import open_secrets
from tests.support.opening import Open

NOW = 1_800_000_000
DAY = 86_400
ADA = Actor("person", "console_w", "Ada")
_ROWS = (
    """
    INSERT INTO usage (workspace_id, created_at, run_id, key_id, status, input_tokens, output_tokens,
                       credits, milliseconds, end_user_digest)
    VALUES (:w, :at, :name, 'k', 'completed', 1, 1, 2, 3, 'd')
    """,
    """
    INSERT INTO ledger (workspace_id, kind, reference, credits, created_at)
    VALUES (:w, 'top-up', :name, 5, :at)
    """,
    "INSERT INTO refused_requests VALUES (:w, :at, :name, 'k', 'responses', 422, 'code', 1)",
    """
    INSERT INTO audit_log (workspace_id, created_at, actor_kind, actor_id, actor_name, action, subject_id,
                           subject_name, details)
    VALUES (:w, :at, 'key', '', '', 'x', :name, '', '{}')
    """,
)


async def write_rows(database: Database, workspace_id: str, ages: list[int]) -> None:
    """Write a row of each growing table for each age in days."""
    for age in ages:
        at, name = NOW - age * DAY, f"{workspace_id}{age}"
        for sql in _ROWS:
            await database.execute(sql, w=workspace_id, at=at, name=name)
    await database.execute(
        "UPDATE workspaces SET balance = balance + :credits WHERE id = :w",
        w=workspace_id,
        credits=5 * len(ages),
    )
    await fold_usage(database)


def keep(opened: Open, use: Callable[[Database, str, str], Awaitable[None]]) -> None:
    """Run `use` with two workspaces that have rows of 1, 10 and 100 days."""

    async def main() -> None:
        async with opened() as database:
            made = []
            for name in ("Team", "Other"):
                new = NewWorkspace(name, "enterprise", Overrides(monthly_credits=0))
                workspace_id = await workspaces.create(database, new, now=NOW)
                await write_rows(database, workspace_id, [1, 10, 100])
                made.append(workspace_id)
            await use(database, made[0], made[1])

    asyncio.run(main())


async def count(database: Database, table: str, workspace_id: str) -> int:
    [row] = await database.fetch_all(
        f"SELECT COUNT(*) AS n FROM {table} WHERE workspace_id = :id", id=workspace_id
    )
    return int(row["n"])


def test_old_rows_go_and_sums_and_balances_stay(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "REMOVED_AT_ONCE", 1)

    async def use(database: Database, team: str, other: str) -> None:
        before = await usage.sum_all(database, Span.of_days(team, 0, 1 << 20))
        bounds = parse_retention("usage=50, ledger=5, requests=5, audit=50")
        removed = await prune_workspace(database, team, bounds, now=NOW)
        assert removed == {"usage": 1, "ledger": 2, "requests": 2, "audit": 1}
        assert await prune_workspace(database, team, bounds, now=NOW) == {}
        assert await usage.sum_all(database, Span.of_days(team, 0, 1 << 20)) == before
        [sums] = await database.fetch_all(
            "SELECT SUM(credits) AS s FROM ledger WHERE workspace_id = :id", id=team
        )
        assert sums["s"] == (await workspaces.get(database, team, now=NOW)).balance == 15
        assert await count(database, "ledger", team) == 2
        for table in ("usage", "ledger", "refused_requests", "audit_log"):
            assert await count(database, table, other) == 3, table

    keep(opened, use)


def test_rows_that_are_in_no_sum_yet_are_kept(opened: Open) -> None:
    async def use(database: Database, team: str, _: str) -> None:
        await database.execute("UPDATE usage SET rolled = 0 WHERE workspace_id = :id", id=team)
        assert await prune_workspace(database, team, {"usage": 1}, now=NOW) == {}

    keep(opened, use)


def test_a_workspace_keeps_less_than_the_operator_allows_and_never_more(opened: Open) -> None:
    async def use(database: Database, team: str, _: str) -> None:
        bounds = parse_retention("usage=50")
        await change_terms(database, team, {"usage": 5, "audit": 9}, bounds, ADA, now=NOW)
        terms = {str(term.kind): term.days for term in await list_terms(database, team, bounds)}
        assert (terms["usage"], terms["audit"], terms["ledger"]) == (5, 9, None)
        for days in (0, 51, -1):
            with pytest.raises(InvalidRequest):
                await change_terms(database, team, {"usage": days}, bounds, ADA, now=NOW)
        await change_terms(database, team, {"usage": None}, bounds, ADA, now=NOW)
        [entry, _first], _more = await list_entries(database, Search(team, action="retention"))
        assert entry.details == {"usage": {"before": 5, "after": None}}
        assert await Upkeep(database, bounds).do_once() > 0

    keep(opened, use)


@pytest.mark.parametrize(
    "text", ["usage", "usage=0", "usage=x", "everything=5", "usage=9999999999", "media=5"]
)
def test_a_setting_that_is_not_understood_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError):
        parse_retention(text)


def test_a_deleted_workspace_closes_at_once_and_its_rows_follow(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deletion, "REMOVED_AT_ONCE", 1)

    async def use(database: Database, team: str, other: str) -> None:
        async with Keyring(database) as keyring:
            key = await keyring.make(team, KeyTerms("ci"))
            with pytest.raises(InvalidRequest):
                await delete_workspace(database, team, "Other", ADA, now=NOW)
            await delete_workspace(database, team, "Team", ADA, now=NOW)
            with pytest.raises(NotFound):
                await delete_workspace(database, team, "Team", ADA, now=NOW)
            with pytest.raises(Unauthorized):
                await keyring.authenticate(f"Bearer {key.text}")
            with pytest.raises(NotFound):
                await workspaces.get(database, team, now=NOW)
            assert [one.id for one in await workspaces.list_all(database, now=NOW)] == [other]
            await workspaces.grant_all_due(database, now=NOW)
            with pytest.raises(InvalidRequest, match="last"):
                await delete_workspace(database, other, "Other", ADA, now=NOW)
        while await purge_deleted(database):
            pass
        for table in ("usage", "usage_days", "ledger", "refused_requests", "audit_log", "api_keys"):
            assert await count(database, table, team) == 0, table
        for table in ("usage", "ledger", "refused_requests", "audit_log"):
            assert await count(database, table, other) == 3, table
        [entry], _more = await list_entries(database, Search(OPERATORS_LOG))
        assert (entry.action, entry.subject_name, entry.actor) == ("workspace.deleted", "Team", ADA)

    keep(opened, use)


def test_workspaces_whose_files_cannot_be_removed_keep_no_other_waiting(opened: Open) -> None:
    async def use(database: Database, team: str, other: str) -> None:
        for number in range(12):
            new = NewWorkspace(f"W{number}", "enterprise", Overrides(monthly_credits=0))
            workspace_id = await workspaces.create(database, new, now=NOW)
            await database.execute(
                """
                INSERT INTO media (id, workspace_id, tool, status, progress, created_at, updated_at)
                VALUES (:id, :id, 'generateImage', 'completed', 100, 1, 1)
                """,
                id=workspace_id,
            )
            await delete_workspace(database, workspace_id, f"W{number}", ADA, now=NOW - 1)
        await delete_workspace(database, team, "Team", ADA, now=NOW)
        await purge_deleted(database)
        assert not await database.fetch_all("SELECT id FROM workspaces WHERE id = :id", id=team)
        assert len(await database.fetch_all("SELECT id FROM workspaces WHERE deleted_at IS NOT NULL")) == 12
        assert [one.id for one in await workspaces.list_all(database, now=NOW)] == [other]

    keep(opened, use)


def test_a_person_is_counted_first_and_then_forgotten(opened: Open) -> None:
    async def use(database: Database, team: str, other: str) -> None:
        for dry_run in (True, True, False):
            erasure = await erase_end_user(
                database, team, ["d", "older"], lambda _: (), ADA, dry_run=dry_run, now=NOW
            )
            assert (erasure.found["runs"], erasure.done) == (3, not dry_run)
            assert erasure.stays
        again = await erase_end_user(database, team, ["d"], lambda _: (), ADA, dry_run=True, now=NOW)
        assert again.found["runs"] == 0
        [elsewhere] = await database.fetch_all(
            "SELECT COUNT(*) AS n FROM usage WHERE workspace_id = :id AND end_user_digest = 'd'", id=other
        )
        assert elsewhere["n"] == 3
        [entry], _more = await list_entries(database, Search(team, action="data"))
        assert entry.action == "data.erased"

    keep(opened, use)


def test_the_zip_has_every_row_of_the_workspace_and_no_secret(
    opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mavera.accounts.data.export.ROWS_AT_ONCE", 2)

    async def use(database: Database, team: str, _: str) -> None:
        async with Keyring(database) as keyring:
            made = await keyring.make(team, KeyTerms("ci"))
        secrets = open_secrets(Settings(data_dir=tmp_path / "data"))
        data = b"".join([piece async for piece in export_workspace(database, secrets, team)])
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            assert archive.testzip() is None
            lines = {
                name: archive.read(name).decode().splitlines()
                for name in archive.namelist()
                if name.endswith(".jsonl")
            }
            assert json.loads(archive.read("workspace.json"))["id"] == team
        assert [len(lines[f"{name}.jsonl"]) for name in ("usage", "ledger", "api_keys")] == [3, 3, 1]
        assert {json.loads(line)["workspace_id"] for line in lines["usage.jsonl"]} == {team}
        [row] = await database.fetch_all("SELECT digest FROM api_keys WHERE id = :id", id=made.key.id)
        everything = "\n".join(line for some in lines.values() for line in some)
        assert row["digest"] not in everything
        assert "end_user_digest" not in everything

    keep(opened, use)
