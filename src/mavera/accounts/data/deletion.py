"""
Delete a workspace, and erase what is known of one person, persona or study.

    delete_workspace   closes it at once: keys, sessions and links end; one line in the operator's log
    purge_deleted      removes its rows in the background, a bounded number at a time, its own row last
    erase_*            count what is found, and remove it unless it is a dry run
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from mavera.accounts import audit, workspaces
from mavera.accounts.audit import OPERATORS_LOG, Actor, Entry
from mavera.errors import InvalidRequest, NotFound
from mavera.storage.database import Database, Queries

REMOVED_AT_ONCE = 500
BATCHES_A_PASS = 40

# Erasure cannot reach these. Every list of what stays has them.
STAYS = (
    "sums of usage by day and the ledger, which name nobody",
    "the server's own log and traces, which its operator keeps",
    "backups, until the operator's schedule removes them",
    "answers that clients and webhooks have received",
)


KeysOfAnswers = Callable[[str], tuple[str, ...]]
"""Returns the digests under which the answer to a request may be kept."""


@dataclass(frozen=True, slots=True)
class Erasure:
    """The number of things of each kind that were found, and what stays."""

    found: dict[str, int] = field(default_factory=dict)
    stays: tuple[str, ...] = STAYS
    done: bool = False


async def delete_workspace(
    database: Database, workspace_id: str, name: str, actor: Actor, *, now: int
) -> None:
    """
    Close a workspace for good. `name` has to be its name, so that nobody deletes the wrong one.

    Raises NotFound, or InvalidRequest for another name or the last workspace.
    """
    async with database.transaction() as transaction:
        await transaction.execute("UPDATE workspaces SET name = name WHERE id = :id", id=workspace_id)
        workspace = await workspaces.get(transaction, workspace_id, now=now)
        if name.strip() != workspace.name.strip():
            raise InvalidRequest("Type the name of the workspace to delete it.", param="name")
        others = await transaction.fetch_one(
            "SELECT id FROM workspaces WHERE id <> :id AND deleted_at IS NULL LIMIT 1", id=workspace_id
        )
        if others is None:
            raise InvalidRequest("This is the last workspace of the server. Make another one first.")
        for sql in _CLOSING:
            await transaction.execute(sql, id=workspace_id, now=now)
        entry = Entry(OPERATORS_LOG, "workspace.deleted", workspace_id, workspace.name)
        await audit.record(transaction, actor, entry, now=now)


async def purge_deleted(database: Database) -> int:
    """Remove rows of deleted workspaces, a bounded number. Return how many were removed."""
    # A workspace whose files cannot be removed at the moment must not keep others waiting.
    rows = await database.fetch_all(
        """
        SELECT id FROM workspaces w
         WHERE deleted_at IS NOT NULL
         ORDER BY EXISTS (SELECT 1 FROM media WHERE workspace_id = w.id), deleted_at
         LIMIT 10
        """
    )
    removed = 0
    for row in rows:
        removed += await _purge(database, row["id"])
    return removed


async def _purge(database: Database, workspace_id: str) -> int:
    removed = 0
    for sql in _PURGING:
        for _ in range(BATCHES_A_PASS):
            count = await database.execute(sql, id=workspace_id, most=REMOVED_AT_ONCE)
            removed += count
            if count < REMOVED_AT_ONCE:
                break
        else:
            return removed  # the next pass goes on here
    if await database.fetch_one("SELECT id FROM media WHERE workspace_id = :id LIMIT 1", id=workspace_id):
        return removed  # media/store.py finds them by the workspace's row, and removes them with their files
    async with database.transaction() as transaction:
        for table in ("api_keys", "workspaces"):
            column = "id" if table == "workspaces" else "workspace_id"
            await transaction.execute(f"DELETE FROM {table} WHERE {column} = :id", id=workspace_id)  # noqa: S608
    return removed + 1


async def erase_end_user(
    database: Database,
    workspace_id: str,
    digests: Sequence[str],
    keys_of_answers: KeysOfAnswers,
    actor: Actor,
    *,
    dry_run: bool,
    now: int,
) -> Erasure:
    """
    Remove the link between runs and a person, whose `digests` are under every secret, and their kept answers.

    The name itself is stored nowhere, so the audit log has only the numbers.
    """
    names = [f"digest{number}" for number in range(len(digests))]
    values = dict(zip(names, digests, strict=True))
    condition = f"workspace_id = :id AND end_user_digest IN ({', '.join(f':{name}' for name in names)})"
    rows = await database.fetch_all(
        f"SELECT request_id FROM usage WHERE {condition}",  # noqa: S608 - the names are ours
        id=workspace_id,
        **values,
    )
    keys = [key for row in rows if row["request_id"] for key in keys_of_answers(row["request_id"])]
    found = {"runs": len(rows), "kept answers": await _count_answers(database, workspace_id, keys)}
    if not dry_run:
        await _forget_answers(database, workspace_id, keys)
        async with database.transaction() as transaction:
            await transaction.execute(
                f"UPDATE usage SET end_user_digest = NULL WHERE {condition}",  # noqa: S608
                id=workspace_id,
                **values,
            )
            await _record(transaction, workspace_id, actor, "end user", found, now=now)
    return Erasure(found, done=not dry_run)


async def erase_persona(
    database: Database, workspace_id: str, persona_id: str, actor: Actor, *, dry_run: bool, now: int
) -> Erasure:
    """Remove a custom persona with all its versions. Raises NotFound."""
    if (
        await database.fetch_one(
            "SELECT id FROM personas WHERE id = :id AND workspace_id = :workspace_id",
            id=persona_id,
            workspace_id=workspace_id,
        )
        is None
    ):
        raise NotFound("This workspace has no such custom persona.")
    row = await database.fetch_one(
        "SELECT COUNT(*) AS n FROM persona_versions WHERE persona_id = :id", id=persona_id
    )
    found = {"personas": 1, "versions": int(row["n"]) if row else 0}
    if not dry_run:
        async with database.transaction() as transaction:
            await transaction.execute("DELETE FROM persona_versions WHERE persona_id = :id", id=persona_id)
            await transaction.execute("DELETE FROM personas WHERE id = :id", id=persona_id)
            await _record(transaction, workspace_id, actor, "persona", found, now=now)
    stays = ("the persona as ended studies asked it, until these are deleted", *STAYS)
    return Erasure(found, stays, done=not dry_run)


async def erase_study(
    database: Database, workspace_id: str, study_id: str, actor: Actor, *, dry_run: bool, now: int
) -> Erasure:
    """Remove a study that has ended, with its cells and links. Raises NotFound or InvalidRequest."""
    row = await database.fetch_one(
        "SELECT ended_at FROM focus_groups WHERE id = :id AND workspace_id = :workspace_id",
        id=study_id,
        workspace_id=workspace_id,
    )
    if row is None:
        raise NotFound("This workspace has no such focus group.")
    if row["ended_at"] is None:
        raise InvalidRequest("This focus group is running. Cancel it first.")
    counted = await database.fetch_one(
        "SELECT COUNT(*) AS n FROM focus_group_cells WHERE study_id = :id", id=study_id
    )
    found = {"studies": 1, "cells": int(counted["n"]) if counted else 0}
    if not dry_run:
        async with database.transaction() as transaction:
            for table, column in (
                ("focus_group_cells", "study_id"),
                ("focus_group_shares", "study_id"),
                ("focus_group_images", "study_id"),
                ("focus_groups", "id"),
            ):
                await transaction.execute(f"DELETE FROM {table} WHERE {column} = :id", id=study_id)  # noqa: S608
            await _record(transaction, workspace_id, actor, "study", found, now=now)
    return Erasure(found, done=not dry_run)


async def _count_answers(database: Database, workspace_id: str, keys: Sequence[str]) -> int:
    count = 0
    for start in range(0, len(keys), REMOVED_AT_ONCE):
        some = dict(_name(keys[start : start + REMOVED_AT_ONCE]))
        row = await database.fetch_one(
            f"SELECT COUNT(*) AS n FROM kept_answers WHERE {_place(some)}",  # noqa: S608 - the names are ours
            id=workspace_id,
            **some,
        )
        count += int(row["n"]) if row else 0
    return count


async def _forget_answers(database: Database, workspace_id: str, keys: Sequence[str]) -> None:
    for start in range(0, len(keys), REMOVED_AT_ONCE):
        some = dict(_name(keys[start : start + REMOVED_AT_ONCE]))
        await database.execute(f"DELETE FROM kept_answers WHERE {_place(some)}", id=workspace_id, **some)  # noqa: S608


def _name(keys: Sequence[str]) -> list[tuple[str, str]]:
    return [(f"digest{number}", key) for number, key in enumerate(keys)]


def _place(some: Iterable[str]) -> str:
    return (
        "workspace_id = :id AND purpose = 'responses'"
        f" AND digest IN ({', '.join(f':{name}' for name in some)})"
    )


async def _record(
    db: Queries, workspace_id: str, actor: Actor, what: str, found: dict[str, int], *, now: int
) -> None:
    entry = Entry(workspace_id, "data.erased", "", what, found)
    await audit.record(db, actor, entry, now=now)


_CLOSING = (
    "UPDATE workspaces SET deleted_at = :now WHERE id = :id",
    "UPDATE api_keys SET revoked_at = COALESCE(revoked_at, :now) WHERE workspace_id = :id",
    "UPDATE sessions SET revoked_at = COALESCE(revoked_at, :now) WHERE workspace_id = :id",
    "DELETE FROM sign_in_links WHERE workspace_id = :id AND :now > 0",
)
_OWN_STUDIES = "SELECT id FROM focus_groups WHERE workspace_id = :id"
_OWN_PERSONAS = "SELECT id FROM personas WHERE workspace_id = :id"


def _purge_of(table: str, key: str, condition: str = "workspace_id = :id") -> str:
    return f"DELETE FROM {table} WHERE ({key}) IN (SELECT {key} FROM {table} WHERE {condition} LIMIT :most)"  # noqa: S608


_PURGING = (
    _purge_of("focus_group_cells", "study_id, key", f"study_id IN ({_OWN_STUDIES})"),
    _purge_of("focus_group_shares", "id", f"study_id IN ({_OWN_STUDIES})"),
    _purge_of("focus_group_images", "study_id, digest", f"study_id IN ({_OWN_STUDIES})"),
    _purge_of("focus_groups", "id"),
    _purge_of("persona_versions", "persona_id, version", f"persona_id IN ({_OWN_PERSONAS})"),
    _purge_of("personas", "id"),
    _purge_of("kept_answers", "workspace_id, purpose, digest"),
    _purge_of("playground_runs", "id"),
    _purge_of("tool_calls", "id"),
    _purge_of("refused_requests", "workspace_id, created_at, request_id"),
    _purge_of("usage", "workspace_id, created_at, run_id"),
    _purge_of("usage_days", "workspace_id, kind, day, value, zone, currency"),
    _purge_of("reservations", "run_id"),
    _purge_of("ledger", "id"),
    _purge_of("alerts", "subject_id, month, percent"),
    _purge_of("audit_log", "id"),
    _purge_of("retention", "workspace_id, kind"),
    _purge_of("sessions", "id"),
)
