"""
The audit log: who changed what, and when, but never contents.

    record(db, actor, entry)      in the transaction of the change, so that neither exists without the other
    list_entries(db, …)           newest first, from before a known entry

An entry belongs to a workspace, whose admins read it, or to the operator's log (`OPERATORS_LOG`), which has
what concerns the server: workspaces that were made, put on a plan, or deleted. It outlives the workspace.

`details` has the names and values of settings, such as a budget before and after. It has no question, no
answer, no text of a persona and no secret.
"""

import getpass
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from mavera.accounts.principal import Principal
from mavera.core.text import clean_text
from mavera.storage.database import Queries, Row

OPERATORS_LOG = ""
"""The `workspace_id` of entries that belong to the operator."""

ActorKind = Literal["key", "person", "command", "server"]
Value = str | int | float | bool | list[str] | None
_NAME_MAX = 200


@dataclass(frozen=True, slots=True)
class Actor:
    """
    Whoever changed something: a key, a person in the console, the command line, or the server by itself.

    `id` is that of the key or of the console identity. An empty `name` of a key is looked up.
    """

    kind: ActorKind
    id: str = ""
    name: str = ""

    @classmethod
    def of(cls, principal: Principal) -> Self:
        if principal.person:
            return cls("person", principal.key_id, principal.person)
        return cls("key", principal.key_id) if principal.key_id else cls.of_command()

    @classmethod
    def of_command(cls) -> Self:
        """Return the user of the command line."""
        try:
            return cls("command", "", getpass.getuser())
        except (OSError, KeyError):  # a container may run as a user without a name
            return cls("command", "", "")


SERVER = Actor("server", "", "mavera")


@dataclass(frozen=True, slots=True)
class Entry:
    """
    One change. `action` is a noun and a participle, such as `api_key.rotated`.

    `subject_id` is the id of what was changed and `subject_name` its name at that time.
    """

    workspace_id: str
    action: str
    subject_id: str = ""
    subject_name: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """A stored change. `id` grows with time. `created_at` is in Unix seconds."""

    id: int
    workspace_id: str
    created_at: int
    actor: Actor
    action: str
    subject_id: str
    subject_name: str
    details: dict[str, Any]

    @classmethod
    def from_row(cls, row: Row) -> Self:
        return cls(
            row["id"],
            row["workspace_id"],
            row["created_at"],
            Actor(row["actor_kind"], row["actor_id"], row["actor_name"]),
            row["action"],
            row["subject_id"],
            row["subject_name"],
            json.loads(row["details"]),
        )


def describe_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return `{name: {"before", "after"}}` for the members that differ."""
    return {
        name: {"before": before.get(name), "after": value}
        for name, value in after.items()
        if before.get(name) != value
    }


async def record(db: Queries, actor: Actor, entry: Entry, *, now: int) -> None:
    """Add an entry. Give it the transaction of the change."""
    await db.execute(
        """
        INSERT INTO audit_log (workspace_id, created_at, actor_kind, actor_id, actor_name, action,
                               subject_id, subject_name, details)
        VALUES (:workspace_id, :now, :kind, :id,
                COALESCE(NULLIF(:name, ''), (SELECT name FROM api_keys WHERE id = :id), ''),
                :action, :subject_id, :subject_name, :details)
        """,
        workspace_id=entry.workspace_id,
        now=now,
        kind=actor.kind,
        id=actor.id,
        name=clean_text(actor.name)[:_NAME_MAX],
        action=entry.action,
        subject_id=entry.subject_id,
        subject_name=clean_text(entry.subject_name)[:_NAME_MAX],
        details=json.dumps(entry.details, separators=(",", ":")),
    )


@dataclass(frozen=True, slots=True)
class Search:
    """
    The entries to list. Empty members match all.

    `before` is the id of the last entry of the page before. `action` may be the beginning of one, up to its
    dot: `api_key` finds every change of keys.
    """

    workspace_id: str
    before: int | None = None
    action: str = ""
    subject_id: str = ""
    limit: int = 50


# A page of a search looks at no more entries than this. The next page goes on where it stopped.
MOST_SEARCHED = 5_000


async def list_entries(db: Queries, search: Search) -> tuple[list[AuditEntry], int | None]:
    """
    Return a page of entries, newest first, and the `before` of the next page, None at the end.

    A search for something rare may return a page that is not full, and even an empty one, before the end.
    """
    rows = await db.fetch_all(
        """
        SELECT id, workspace_id, created_at, actor_kind, actor_id, actor_name, action, subject_id,
               subject_name, details, matches, place
          FROM (SELECT id, workspace_id, created_at, actor_kind, actor_id, actor_name, action, subject_id,
                       subject_name, details,
                       CASE WHEN (:action = '' OR action = :action OR action LIKE :beginning)
                               AND (:subject_id = '' OR subject_id = :subject_id)
                          THEN 1 ELSE 0 END AS matches,
                       ROW_NUMBER() OVER (ORDER BY id DESC) AS place
                  FROM (SELECT id, workspace_id, created_at, actor_kind, actor_id, actor_name, action,
                               subject_id, subject_name, details
                          FROM audit_log
                         WHERE workspace_id = :workspace_id AND id < :before
                         ORDER BY id DESC
                         LIMIT :searched) AS newest) AS judged
         WHERE matches = 1 OR place = :searched
         ORDER BY id DESC
         LIMIT :wanted
        """,
        workspace_id=search.workspace_id,
        before=search.before if search.before is not None else 1 << 62,
        action=search.action,
        beginning=f"{search.action}.%",
        subject_id=search.subject_id,
        searched=MOST_SEARCHED,
        wanted=search.limit + 1,
    )
    return _cut_page(rows, search.limit)


def _cut_page(rows: list[Row], limit: int) -> tuple[list[AuditEntry], int | None]:
    """Split rows into the entries of a page and the place where the next one begins."""
    found = [AuditEntry.from_row(row) for row in rows if row["matches"]]
    if len(found) > limit:
        return found[:limit], found[limit - 1].id
    # The last place that was looked at may have more entries below it.
    return found, rows[-1]["id"] if rows and rows[-1]["place"] == MOST_SEARCHED else None
