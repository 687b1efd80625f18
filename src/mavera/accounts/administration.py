"""
Make and change workspaces, with the lines of the audit log. Routes, the console and commands call this.

    a workspace's admin   its name and its budget
    the operator          also its plan, its limits, its credits, and the workspace itself

Each change is recorded twice: in the audit log of the workspace and in that of the operator.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from mavera.accounts import audit, workspaces
from mavera.accounts.audit import OPERATORS_LOG, Actor, Entry
from mavera.accounts.keys import repository
from mavera.accounts.keys.delegation import check_usage_limit
from mavera.accounts.plans import Overrides
from mavera.accounts.principal import Principal
from mavera.accounts.workspaces import NO_OVERRIDES, NewWorkspace, Workspace
from mavera.storage.database import Database, Queries


class WorkspaceChanges(msgspec.Struct, frozen=True, kw_only=True):
    """The new values of a workspace. UNSET ones stay. A `budget` of None removes it."""

    name: str | UnsetType = UNSET
    budget: int | UnsetType | None = UNSET
    reporting_zone: str | UnsetType = UNSET
    plan: str | UnsetType = UNSET
    overrides: Overrides = NO_OVERRIDES
    """Limits that differ from the plan's. None keeps the present one, or the one of a new plan."""

    @property
    def changes_plan(self) -> bool:
        return self.plan is not UNSET or self.overrides != NO_OVERRIDES


async def make_workspace(database: Database, new: NewWorkspace, actor: Actor, *, now: int) -> Workspace:
    """Make a workspace and grant its first credits. Raises InvalidRequest."""
    async with database.transaction() as transaction:
        workspace_id = await workspaces.create(transaction, new, now=now)
        details = {"plan": new.plan, "budget": new.budget, **_list_given(new.overrides)}
        entry = Entry(workspace_id, "workspace.created", workspace_id, new.name, details)
        await _record_twice(transaction, actor, entry, now=now)
    await workspaces.grant_due(database, workspace_id, now=now)
    return await workspaces.get(database, workspace_id, now=now)


async def update_workspace(
    database: Database, workspace_id: str, changes: WorkspaceChanges, actor: Actor, *, now: int
) -> Workspace:
    """Change a workspace as its operator. Raises NotFound or InvalidRequest."""
    async with database.transaction() as transaction:
        await repository.lock_workspace(transaction, workspace_id)
        before = await workspaces.get(transaction, workspace_id, now=now)
        if changes.changes_plan:
            plan = before.plan if changes.plan is UNSET else changes.plan
            given = changes.overrides
            overrides = given if plan != before.plan else _merge(before.overrides, given)
            await workspaces.put_on_plan(transaction, before, plan, overrides, now=now)
            after = {"plan": plan, **asdict(overrides)}
            details = audit.describe_changes({"plan": before.plan, **asdict(before.overrides)}, after)
            entry = Entry(workspace_id, "plan.changed", workspace_id, before.name, details)
            await _record_twice(transaction, actor, entry, now=now)
        await _change_own(transaction, before, changes, actor, now=now)
    await workspaces.grant_due(database, workspace_id, now=now)
    return await workspaces.get(database, workspace_id, now=now)


async def update_own_workspace(
    database: Database, principal: Principal, changes: WorkspaceChanges, *, now: int
) -> Workspace:
    """
    Change the name or the budget of the principal's workspace. Its plan is the operator's.

    Raises InvalidRequest, or Forbidden if the key may not set this budget.
    """
    workspace_id = principal.workspace_id
    async with database.transaction() as transaction:
        await repository.lock_workspace(transaction, workspace_id)
        before = await workspaces.get(transaction, workspace_id, now=now)
        key = await repository.find_key(transaction, workspace_id, principal.key_id)
        if changes.budget is not UNSET and key is not None:
            check_usage_limit(key, before.budget, changes.budget)
        await _change_own(transaction, before, changes, Actor.of(principal), now=now)
    return await workspaces.get(database, workspace_id, now=now)


async def grant_credits(
    database: Database, workspace_id: str, credits: int, actor: Actor, *, note: str | None, now: int
) -> int:
    """Add credits to a workspace, and return its new balance. Raises InvalidRequest or NotFound."""
    await workspaces.grant_due(database, workspace_id, now=now)
    async with database.transaction() as transaction:
        balance = await workspaces.top_up(transaction, workspace_id, credits, note=note, now=now)
        workspace = await workspaces.get(transaction, workspace_id, now=now)
        details = {"credits": credits, "balance": balance}
        entry = Entry(workspace_id, "credits.granted", workspace_id, workspace.name, details)
        await _record_twice(transaction, actor, entry, now=now)
    return balance


async def _change_own(
    transaction: Queries, before: Workspace, changes: WorkspaceChanges, actor: Actor, *, now: int
) -> None:
    if changes.name is not UNSET:
        await workspaces.rename(transaction, before.id, changes.name)
        await _record_change(
            transaction,
            actor,
            before,
            "workspace.updated",
            {"name": changes.name},
            {"name": before.name},
            now,
        )
    if changes.reporting_zone is not UNSET:
        await workspaces.set_zone(transaction, before.id, changes.reporting_zone)
        zone, was_zone = {"reporting_zone": changes.reporting_zone}, {"reporting_zone": before.reporting_zone}
        await _record_change(transaction, actor, before, "workspace.updated", zone, was_zone, now)
    if changes.budget is not UNSET:
        await workspaces.set_budget(transaction, before.id, changes.budget)
        after, was = {"budget": changes.budget}, {"budget": before.budget}
        await _record_change(transaction, actor, before, "budget.changed", after, was, now)


async def _record_change(
    db: Queries,
    actor: Actor,
    workspace: Workspace,
    action: str,
    after: Mapping[str, Any],
    before: Mapping[str, Any],
    now: int,
) -> None:
    details = audit.describe_changes(before, after)
    if details:
        entry = Entry(workspace.id, action, workspace.id, workspace.name, details)
        await audit.record(db, actor, entry, now=now)


async def _record_twice(db: Queries, actor: Actor, entry: Entry, *, now: int) -> None:
    for log in (entry.workspace_id, OPERATORS_LOG):
        copy = Entry(log, entry.action, entry.subject_id, entry.subject_name, entry.details)
        await audit.record(db, actor, copy, now=now)


def _merge(before: Overrides, given: Overrides) -> Overrides:
    return Overrides(**{**asdict(before), **_list_given(given)})


def _list_given(overrides: Overrides) -> dict[str, int]:
    return {name: value for name, value in asdict(overrides).items() if value is not None}
