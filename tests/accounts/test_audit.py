"""The audit log: each change leaves one line with its author, pages reach every line, none has contents."""

import asyncio
import json
import time

import pytest

from mavera.accounts import audit
from mavera.accounts.administration import (
    WorkspaceChanges,
    grant_credits,
    make_workspace,
    update_own_workspace,
    update_workspace,
)
from mavera.accounts.audit import OPERATORS_LOG, Actor, AuditEntry, Entry, Search, list_entries
from mavera.accounts.keys.changes import Changes
from mavera.accounts.keys.delegation import KeyTerms, Wish
from mavera.accounts.keys.keyring import Keyring
from mavera.accounts.plans import SCOPES, Overrides
from mavera.accounts.workspaces import NewWorkspace
from mavera.errors import Forbidden, InvalidRequest
from mavera.storage.database import Database
from tests.support.opening import Open
from tests.support.plans import read_plan

NOW = int(time.time())
ADA = Actor("person", "console_w", "Ada")


async def read_all(database: Database, workspace_id: str, **search: object) -> list[AuditEntry]:
    entries, more = await list_entries(database, Search(workspace_id, limit=1000, **search))  # type: ignore[arg-type]
    assert more is None
    return entries


def test_every_change_of_a_key_is_recorded_with_its_author(opened: Open) -> None:
    async def main() -> None:
        async with opened() as database, Keyring(database) as keyring:
            made = await make_workspace(database, NewWorkspace("Team", "pro"), ADA, now=NOW)
            root = await keyring.make(made.id, KeyTerms("root", scopes=SCOPES), by=ADA)
            maker = await keyring.authenticate(f"Bearer {root.text}")
            child = await keyring.delegate(maker, Wish("ci", scopes=("responses",)))
            await keyring.edit_as(maker, child.key.id, Changes(budget=7, name="nightly"))
            await keyring.edit_as(maker, child.key.id, Changes())
            await keyring.rotate_as(maker, child.key.id)
            await keyring.revoke_as(maker, child.key.id)
            await keyring.revoke_as(maker, child.key.id)
            found = await read_all(database, made.id, action="api_key")

            assert [(entry.action, entry.subject_name) for entry in found] == [
                ("api_key.revoked", "nightly"),
                ("api_key.rotated", "nightly"),
                ("api_key.updated", "nightly"),
                ("api_key.created", "ci"),
                ("api_key.created", "root"),
            ]
            assert {entry.actor for entry in found[:-1]} == {Actor("key", root.key.id, "root")}
            assert found[-1].actor == ADA
            assert found[2].details == {
                "name": {"before": "ci", "after": "nightly"},
                "budget": {"before": None, "after": 7},
            }
            written = json.dumps([entry.details for entry in found])
            assert root.text not in written
            assert child.text not in written

    asyncio.run(main())


def test_a_refused_change_leaves_no_line(opened: Open) -> None:
    async def main() -> None:
        async with opened() as database, Keyring(database) as keyring:
            made = await make_workspace(database, NewWorkspace("Team", "pro"), ADA, now=NOW)
            root = await keyring.make(made.id, KeyTerms("root", scopes=SCOPES, budget=5))
            maker = await keyring.authenticate(f"Bearer {root.text}")
            before = await read_all(database, made.id)
            with pytest.raises(Forbidden):
                await keyring.delegate(maker, Wish(budget=6))
            with pytest.raises(Forbidden):
                await keyring.edit_as(maker, root.key.id, Changes(budget=6))
            with pytest.raises(InvalidRequest):
                await keyring.make(made.id, KeyTerms("n" * 200))
            await update_own_workspace(database, maker, WorkspaceChanges(name="n", budget=0), now=NOW)
            with pytest.raises(Forbidden):
                await update_own_workspace(database, maker, WorkspaceChanges(budget=None), now=NOW)
            assert [entry.action for entry in await read_all(database, made.id)] == [
                "budget.changed",
                "workspace.updated",
                *(entry.action for entry in before),
            ]

    asyncio.run(main())


def test_what_the_operator_does_is_in_both_logs(opened: Open) -> None:
    async def main() -> None:
        async with opened() as database:
            made = await make_workspace(database, NewWorkspace("Team"), ADA, now=NOW)
            changes = WorkspaceChanges(plan="enterprise", overrides=Overrides(monthly_credits=9), name="Crew")
            changed = await update_workspace(database, made.id, changes, ADA, now=NOW)
            assert (changed.plan, changed.name, changed.monthly_credits) == ("enterprise", "Crew", 9)
            kept = await update_workspace(
                database, made.id, WorkspaceChanges(overrides=Overrides(concurrent_runs=3)), ADA, now=NOW
            )
            assert (kept.overrides.monthly_credits, kept.overrides.concurrent_runs) == (9, 3)
            assert await grant_credits(database, made.id, 5, ADA, note="secret note", now=NOW) == 505
            own = [entry.action for entry in await read_all(database, made.id)]
            assert own == [
                "credits.granted",
                "plan.changed",
                "workspace.updated",
                "plan.changed",
                "workspace.created",
            ]
            log = await read_all(database, OPERATORS_LOG)
            assert [entry.action for entry in log] == [action for action in own if "updated" not in action]
            assert "secret" not in json.dumps([entry.details for entry in log])

    asyncio.run(main())


def test_pages_reach_every_line_once_and_a_search_finds_the_rare_one(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "MOST_SEARCHED", 40)

    async def main() -> None:
        async with opened() as database:
            for number in range(130):
                action = "plan.changed" if number == 3 else "api_key.updated"
                await audit.record(database, ADA, Entry("w", action, f"k{number}"), now=number)
                await audit.record(database, ADA, Entry("other", "plan.changed"), now=number)
            for search, wanted in (
                ({}, [f"k{n}" for n in reversed(range(130))]),
                ({"action": "plan"}, ["k3"]),
                ({"action": "plan.changed"}, ["k3"]),
                ({"action": "pla"}, []),
                ({"subject_id": "k77"}, ["k77"]),
            ):
                found: list[str] = []
                before: int | None = None
                for _ in range(50):
                    page, before = await list_entries(
                        database,
                        Search("w", before=before, limit=17, **search),
                    )
                    assert len(page) <= 17
                    found += [entry.subject_id for entry in page]
                    if before is None:
                        break
                assert before is None
                assert found == wanted

    asyncio.run(main())


def test_a_page_is_read_through_the_index(opened: Open) -> None:
    async def main() -> None:
        async with opened() as database:
            plan = await read_plan(
                database,
                "SELECT * FROM audit_log WHERE workspace_id = :w AND id < :before ORDER BY id DESC LIMIT 50",
                w="w",
                before=1 << 62,
            )
            assert "audit_log_newest" in plan

    asyncio.run(main())


def test_a_hostile_name_is_kept_as_text(opened: Open) -> None:
    async def main() -> None:
        async with opened() as database, Keyring(database) as keyring:
            made = await make_workspace(database, NewWorkspace("<b>\x00&'\""), ADA, now=NOW)
            name = "<script>alert(1)</script>"
            await keyring.make(made.id, KeyTerms(name), by=Actor("person", "c", "\udc80<i>"))
            [newest, *_] = await read_all(database, made.id)
            assert (newest.subject_name, newest.actor.name) == (name, "�<i>")

    asyncio.run(main())
