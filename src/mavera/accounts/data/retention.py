"""
How long a workspace keeps what, in days by kind, and the pruning of what is older.

    kind        what is removed                                what stays
    usage       the rows of runs and of calls of server tools  the sums of days
    ledger      the entries                                    one entry with their sum, so balances add up
    requests    requests that failed before a run
    answers     kept answers, also of idempotency keys         (they end after their own time as well)
    studies     ended studies, their cells and links
    media       generated images and videos                    (media/store.py removes them, with their files)
    audit       the audit log

The operator sets days for the whole server (MAVERA_RETENTION, and MAVERA_MEDIA_DAYS for media). A workspace
may choose fewer, never more. Rows of a kind without days stay. Each batch is one short transaction.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from mavera.accounts import audit
from mavera.accounts.audit import Actor, Entry
from mavera.errors import ConfigurationError, InvalidRequest
from mavera.settings import Settings
from mavera.storage.database import Database, Queries, Statements

Kind = Literal["usage", "ledger", "requests", "answers", "studies", "media", "audit"]
KINDS: tuple[Kind, ...] = ("usage", "ledger", "requests", "answers", "studies", "media", "audit")
DAYS_MAX = 36_500
REMOVED_AT_ONCE = 500
BATCHES_A_PASS = 20
_DAY_SECONDS = 86_400
CARRIED = "carried"
"""The kind of the one entry of a ledger that stands for those that were removed."""


def read_bounds(settings: Settings) -> dict[Kind, int]:
    """Return the most days that the operator allows, by kind. Raises ConfigurationError."""
    return {**parse_retention(settings.retention), "media": settings.media_days}


def parse_retention(text: str) -> dict[Kind, int]:
    """Return the days of each kind in a setting such as `usage=400, audit=730`. Raises ConfigurationError."""
    days: dict[Kind, int] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, number = part.partition("=")
        if name.strip() == "media":
            raise ConfigurationError("MAVERA_RETENTION names media. Set their days by MAVERA_MEDIA_DAYS.")
        kind = next((known for known in KINDS if known == name.strip()), None)
        number = number.strip()
        if kind is None or not (number.isascii() and number.isdecimal() and 1 <= int(number[:9]) <= DAYS_MAX):
            kinds = ", ".join(kind for kind in KINDS if kind != "media")
            raise ConfigurationError(
                f"MAVERA_RETENTION has '{part[:60]}'. Write kinds with days, such as usage=400, audit=730."
                f" The kinds are {kinds}."
            )
        days[kind] = int(number)
    return days


@dataclass(frozen=True, slots=True)
class Term:
    """How long a workspace keeps a kind. `bound` is the operator's, `chosen` its own; None means for ever."""

    kind: Kind
    bound: int | None
    chosen: int | None

    @property
    def days(self) -> int | None:
        given = [days for days in (self.bound, self.chosen) if days is not None]
        return min(given, default=None)


async def list_terms(db: Queries, workspace_id: str, bounds: Mapping[Kind, int]) -> list[Term]:
    rows = await db.fetch_all("SELECT kind, days FROM retention WHERE workspace_id = :id", id=workspace_id)
    chosen = {row["kind"]: int(row["days"]) for row in rows}
    return [Term(kind, bounds.get(kind), chosen.get(kind)) for kind in KINDS]


async def list_media_ends(db: Queries, *, now: int) -> list[tuple[str, int]]:
    """Return the workspaces that keep media for fewer days or were deleted, each with its earliest moment."""
    rows = await db.fetch_all(
        """
        SELECT workspace_id, :now - days * :day AS earliest FROM retention WHERE kind = 'media'
         UNION ALL
        SELECT id, :now + :day FROM workspaces WHERE deleted_at IS NOT NULL
        """,
        now=now,
        day=_DAY_SECONDS,
    )
    return [(row["workspace_id"], int(row["earliest"])) for row in rows]


async def change_terms(
    database: Database,
    workspace_id: str,
    days: Mapping[Kind, int | None],
    bounds: Mapping[Kind, int],
    actor: Actor,
    *,
    now: int,
) -> None:
    """
    Choose how long a workspace keeps some kinds. None stands for the operator's days.

    Raises InvalidRequest if a number is out of range.
    """
    for kind, number in days.items():
        most = bounds.get(kind, DAYS_MAX)
        if number is not None and not 1 <= number <= most:
            raise InvalidRequest(f"'{kind}' is kept for 1 to {most:,} days.", param=kind)
    async with database.transaction() as transaction:
        before = {term.kind: term.chosen for term in await list_terms(transaction, workspace_id, bounds)}
        for kind, number in days.items():
            await transaction.execute(
                "DELETE FROM retention WHERE workspace_id = :id AND kind = :kind", id=workspace_id, kind=kind
            )
            if number is not None:
                await transaction.execute(
                    "INSERT INTO retention (workspace_id, kind, days) VALUES (:id, :kind, :days)",
                    id=workspace_id,
                    kind=kind,
                    days=number,
                )
        given: dict[str, int | None] = {str(kind): number for kind, number in days.items()}
        details = audit.describe_changes({str(kind): number for kind, number in before.items()}, given)
        if details:
            entry = Entry(workspace_id, "retention.changed", workspace_id, "", details)
            await audit.record(transaction, actor, entry, now=now)


async def prune_workspace(
    database: Database, workspace_id: str, bounds: Mapping[Kind, int], *, now: int
) -> dict[Kind, int]:
    """Remove what a workspace keeps no longer, a bounded number of rows. Return how many of each kind."""
    removed: dict[Kind, int] = {}
    for term in await list_terms(database, workspace_id, bounds):
        if term.days is None or term.kind == "media":
            continue
        before = now - term.days * _DAY_SECONDS
        for _ in range(BATCHES_A_PASS):
            count = await _prune_batch(database, workspace_id, term.kind, before)
            removed[term.kind] = removed.get(term.kind, 0) + count
            if count < REMOVED_AT_ONCE:
                break
    return {kind: count for kind, count in removed.items() if count}


async def _prune_batch(database: Database, workspace_id: str, kind: Kind, before: int) -> int:
    if kind == "ledger":
        return await database.batch(lambda statements: _carry(statements, workspace_id, before))
    removed = 0
    for sql in _PRUNING[kind]:
        values = {"id": workspace_id, "before": before, "most": REMOVED_AT_ONCE}
        removed = max(removed, await database.execute(sql, **values))
    return removed


def _carry(statements: Statements, workspace_id: str, before: int) -> int:
    """Replace the oldest entries of a ledger by one with their sum, in one transaction."""
    values = {"id": workspace_id, "before": before, "most": REMOVED_AT_ONCE, "kind": CARRIED}
    # All writers of a balance change the row of the workspace first.
    statements.execute("UPDATE workspaces SET name = name WHERE id = :id", values)
    rows = statements.fetch_all(
        """
        DELETE FROM ledger
         WHERE id IN (SELECT id FROM ledger
                       WHERE workspace_id = :id AND created_at < :before AND kind <> :kind
                       ORDER BY id
                       LIMIT :most)
        RETURNING credits
        """,
        values,
    )
    if rows:
        statements.execute(
            """
            INSERT INTO ledger (workspace_id, kind, reference, credits, note, created_at)
            VALUES (:id, :kind, :id, :credits, 'older entries', :before)
            ON CONFLICT (reference, kind) DO UPDATE
               SET credits = ledger.credits + excluded.credits, created_at = excluded.created_at
            """,
            {**values, "credits": sum(int(row["credits"]) for row in rows)},
        )
    return len(rows)


def _delete(table: str, key: str, condition: str) -> str:
    return f"DELETE FROM {table} WHERE ({key}) IN (SELECT {key} FROM {table} WHERE {condition} LIMIT :most)"  # noqa: S608


_OLD_STUDIES = "SELECT id FROM focus_groups WHERE workspace_id = :id AND ended_at < :before"
_PRUNING: dict[Kind, tuple[str, ...]] = {
    "usage": (
        _delete(
            "usage",
            "workspace_id, created_at, run_id",
            "workspace_id = :id AND created_at < :before AND rolled = 1",
        ),
        _delete("tool_calls", "id", "workspace_id = :id AND created_at < :before"),
    ),
    "requests": (
        _delete(
            "refused_requests",
            "workspace_id, created_at, request_id",
            "workspace_id = :id AND created_at < :before",
        ),
    ),
    "answers": (
        _delete(
            "kept_answers",
            "workspace_id, purpose, digest",
            "workspace_id = :id AND written_at < :before AND is_claim = 0",
        ),
    ),
    "studies": (
        _delete("focus_group_cells", "study_id, key", f"study_id IN ({_OLD_STUDIES})"),
        f"DELETE FROM focus_group_shares WHERE study_id IN ({_OLD_STUDIES}) AND :most > 0",  # noqa: S608
        _delete("focus_group_images", "study_id, digest", f"study_id IN ({_OLD_STUDIES})"),
        _delete(
            "focus_groups",
            "id",
            "workspace_id = :id AND ended_at < :before AND NOT EXISTS"
            " (SELECT 1 FROM focus_group_cells c WHERE c.study_id = focus_groups.id) AND NOT EXISTS"
            " (SELECT 1 FROM focus_group_images i WHERE i.study_id = focus_groups.id)",
        ),
    ),
    "audit": (_delete("audit_log", "id", "workspace_id = :id AND created_at < :before"),),
}
