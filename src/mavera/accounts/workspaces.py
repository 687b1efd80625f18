"""SQL for workspaces, which pay for runs: their plans, grants, balances and budgets."""

from dataclasses import asdict, dataclass
from typing import Self

from mavera.accounts.credits.days import UTC, find_zone
from mavera.accounts.plans import Limits, Overrides, limits_of, month_of, monthly_credits_of, to_plan_name
from mavera.core.ids import new_cuid
from mavera.core.text import clean_text
from mavera.errors import InvalidRequest, NotFound
from mavera.storage.database import Database, Queries, Row

_LISTED = "GET /api/v1/operator/workspaces lists all workspaces."
NAME_MAX = 100
NOTE_MAX = 500
NO_OVERRIDES = Overrides()
# Credits in the blocks of processes belong to the workspace until a run has used them.
_IN_BLOCKS = """
    CAST(COALESCE((SELECT SUM(held.credits)
                     FROM reservations AS held
                    WHERE held.workspace_id = workspaces.id
                      AND held.owner_kind = 'block'{more}), 0) AS BIGINT)
"""
_COLUMNS = f"""
    id, name, plan, created_at, requests_per_minute, requests_per_day, concurrent_runs, monthly_credits,
    unlimited, balance + {_IN_BLOCKS.format(more="")} AS balance, budget, reporting_zone,
    CASE WHEN spent_month >= :month
         THEN spent - {_IN_BLOCKS.format(more=" AND held.month = workspaces.spent_month")}
         ELSE 0 END AS spent
"""


@dataclass(frozen=True, slots=True)
class Workspace:
    """`balance` is negative only if credit is unlimited. Then it counts the credits that were used."""

    id: str
    name: str
    plan: str
    created_at: int
    overrides: Overrides
    unlimited: bool
    balance: int
    budget: int | None
    spent: int
    reporting_zone: str = UTC

    @property
    def limits(self) -> Limits:
        return limits_of(self.plan, self.overrides)

    @property
    def monthly_credits(self) -> int | None:
        return monthly_credits_of(self.plan, self.overrides)

    @classmethod
    def from_row(cls, row: Row) -> Self:
        names = ("requests_per_minute", "requests_per_day", "concurrent_runs", "monthly_credits")
        return cls(
            id=row["id"],
            name=row["name"],
            plan=row["plan"],
            created_at=row["created_at"],
            overrides=Overrides(*(row[name] for name in names)),
            unlimited=bool(row["unlimited"]),
            balance=row["balance"],
            budget=row["budget"],
            spent=row["spent"],
            reporting_zone=row["reporting_zone"],
        )


@dataclass(frozen=True, slots=True)
class NewWorkspace:
    name: str
    plan: str = "free"
    overrides: Overrides = NO_OVERRIDES
    budget: int | None = None

    def __post_init__(self) -> None:
        check_name(self.name)
        check_overrides(to_plan_name(self.plan), self.overrides)
        check_budget(self.budget)


async def create(db: Queries, new: NewWorkspace, *, now: int) -> str:
    """Return the id of the new workspace. Its first credits are granted when they are first needed."""
    workspace_id = new_cuid()
    await db.execute(
        """
        INSERT INTO workspaces (id, name, plan, created_at, requests_per_minute, requests_per_day,
                                concurrent_runs, monthly_credits, unlimited, budget)
        VALUES (:id, :name, :plan, :now, :requests_per_minute, :requests_per_day,
                :concurrent_runs, :monthly_credits, :unlimited, :budget)
        """,
        id=workspace_id,
        name=clean_text(new.name),
        plan=new.plan,
        now=now,
        requests_per_minute=new.overrides.requests_per_minute,
        requests_per_day=new.overrides.requests_per_day,
        concurrent_runs=new.overrides.concurrent_runs,
        monthly_credits=new.overrides.monthly_credits,
        unlimited=int(monthly_credits_of(new.plan, new.overrides) is None),
        budget=new.budget,
    )
    return workspace_id


async def get(db: Queries, workspace_id: str, *, now: int) -> Workspace:
    """Return the workspace. Raises NotFound if it does not exist."""
    row = await db.fetch_one(
        f"SELECT {_COLUMNS} FROM workspaces WHERE id = :id AND deleted_at IS NULL",  # noqa: S608
        id=workspace_id,
        month=month_of(now),
    )
    if row is None:
        raise NotFound(f"There is no workspace {workspace_id[:60]}. {_LISTED}")
    return Workspace.from_row(row)


async def list_all(db: Queries, *, now: int) -> list[Workspace]:
    """Return every workspace, oldest first."""
    rows = await db.fetch_all(
        f"SELECT {_COLUMNS} FROM workspaces WHERE deleted_at IS NULL ORDER BY created_at, id",  # noqa: S608
        month=month_of(now),
    )
    return [Workspace.from_row(row) for row in rows]


async def list_page(db: Queries, *, after: str, limit: int, now: int) -> list[Workspace]:
    """Return workspaces in the order of their ids, oldest first, from after the id `after`."""
    rows = await db.fetch_all(
        f"""
        SELECT {_COLUMNS} FROM workspaces
         WHERE id > :after AND deleted_at IS NULL
         ORDER BY id LIMIT :limit
        """,  # noqa: S608
        after=after,
        limit=limit,
        month=month_of(now),
    )
    return [Workspace.from_row(row) for row in rows]


async def rename(db: Queries, workspace_id: str, name: str) -> None:
    await db.execute(
        "UPDATE workspaces SET name = :name WHERE id = :id", name=check_name(name), id=workspace_id
    )


async def set_budget(db: Queries, workspace_id: str, budget: int | None) -> None:
    """Set the credits that may be spent in a month, and reset the alerts."""
    await db.execute(
        "UPDATE workspaces SET budget = :budget, alerted_percent = 0 WHERE id = :id",
        budget=check_budget(budget),
        id=workspace_id,
    )


async def set_zone(db: Queries, workspace_id: str, zone: str) -> None:
    """
    Set the time zone of the days of usage, from the next run on. Raises InvalidRequest.

    Days that are over stay days of the zone in which they were counted.
    """
    if find_zone(zone) is None:
        raise InvalidRequest(
            f"There is no time zone '{zone[:60]}'. Give a name such as Europe/Berlin.", param="reporting_zone"
        )
    await db.execute(
        "UPDATE workspaces SET reporting_zone = :zone WHERE id = :id", zone=zone, id=workspace_id
    )


async def change_plan(
    database: Database, workspace_id: str, plan: str, overrides: Overrides, *, now: int
) -> None:
    """
    Put a workspace on a plan, which is in force within a second. Raises InvalidRequest or NotFound.

    If the month's credits have been granted already, the difference to a larger plan is granted now. A
    smaller plan takes nothing away. Credits that were used while credit was unlimited are not owed.
    """
    check_overrides(to_plan_name(plan), overrides)
    async with database.transaction() as transaction:
        before = await get(transaction, workspace_id, now=now)
        await put_on_plan(transaction, before, plan, overrides, now=now)
    await grant_due(database, workspace_id, now=now)


async def put_on_plan(
    transaction: Queries, before: Workspace, plan: str, overrides: Overrides, *, now: int
) -> None:
    """Do what `change_plan` does within a transaction, except for the credits that are due."""
    check_overrides(to_plan_name(plan), overrides)
    included = monthly_credits_of(plan, overrides)
    granted = await transaction.fetch_one(
        """
        UPDATE workspaces
           SET plan = :plan, unlimited = :unlimited, requests_per_minute = :requests_per_minute,
               requests_per_day = :requests_per_day, concurrent_runs = :concurrent_runs,
               monthly_credits = :monthly_credits
         WHERE id = :id
        RETURNING granted_month, balance
        """,
        id=before.id,
        plan=plan,
        unlimited=int(included is None),
        **asdict(overrides),
    )
    assert granted is not None  # noqa: S101 - it was there a statement ago
    missing = 0
    if before.unlimited and included is not None:
        missing = max(0, -granted["balance"])
    elif included and granted["granted_month"] >= month_of(now):
        missing = max(0, included - (before.monthly_credits or 0))
    if missing:
        await transaction.execute(
            "UPDATE workspaces SET balance = balance + :credits WHERE id = :id",
            credits=missing,
            id=before.id,
        )
        note = f"plan {before.plan} to {plan}"
        await _note(transaction, before.id, "grant", new_cuid(), missing, note=note, now=now)


async def grant_due(database: Database, workspace_id: str, *, now: int) -> bool:
    """Grant this month's credits if that has not been done. Return whether this call did it."""
    workspace = await get(database, workspace_id, now=now)
    amount = workspace.monthly_credits
    if workspace.unlimited or not amount:
        return False
    month = month_of(now)
    async with database.transaction() as transaction:
        changed = await transaction.execute(
            """
            UPDATE workspaces
               SET balance = balance + :amount, granted_month = :month
             WHERE id = :id AND granted_month < :month
            """,
            amount=amount,
            month=month,
            id=workspace_id,
        )
        if changed:
            reference = f"{workspace_id}:{month}"
            await _note(transaction, workspace_id, "grant", reference, amount, now=now)
    return bool(changed)


async def grant_all_due(database: Database, *, now: int) -> None:
    """Grant this month's credits to all workspaces that have not had them."""
    rows = await database.fetch_all(
        """
        SELECT id FROM workspaces
         WHERE unlimited = 0 AND granted_month < :month AND deleted_at IS NULL
         ORDER BY id
        """,
        month=month_of(now),
    )
    for row in rows:
        await grant_due(database, row["id"], now=now)


async def top_up(
    db: Database | Queries, workspace_id: str, credits: int, *, note: str | None, now: int
) -> int:
    """Add credits and return the new balance. Raises InvalidRequest or NotFound."""
    if not 0 < credits <= 1_000_000_000:
        raise InvalidRequest("A grant is a whole number of credits from 1 to 1,000,000,000.", param="credits")
    if note is not None and len(note) > NOTE_MAX:
        raise InvalidRequest(f"A note has at most {NOTE_MAX} characters.", param="note")
    if isinstance(db, Database):
        async with db.transaction() as transaction:
            return await top_up(transaction, workspace_id, credits, note=note, now=now)
    row = await db.fetch_one(
        "UPDATE workspaces SET balance = balance + :credits WHERE id = :id RETURNING balance",
        credits=credits,
        id=workspace_id,
    )
    if row is None:
        raise NotFound(f"There is no workspace {workspace_id[:60]}. {_LISTED}")
    await _note(db, workspace_id, "top-up", new_cuid(), credits, note=note, now=now)
    return int(row["balance"])


async def list_ledger(db: Queries, workspace_id: str, *, limit: int, before: int | None = None) -> list[Row]:
    """Return the newest entries of the ledger, newest first, from before the one with the id `before`."""
    return await db.fetch_all(
        """
        SELECT id, kind, reference, credits, key_id, note, created_at
          FROM ledger
         WHERE workspace_id = :id AND id < :before
         ORDER BY id DESC
         LIMIT :limit
        """,
        id=workspace_id,
        before=1 << 62 if before is None else before,
        limit=limit,
    )


async def list_alerts(db: Queries, workspace_id: str, *, month: int) -> list[Row]:
    """Return the parts of budgets that were spent in a month, with the names of keys, newest first."""
    return await db.fetch_all(
        """
        SELECT a.subject_id, a.percent, a.budget, a.spent, a.created_at, COALESCE(k.name, '') AS key_name
          FROM alerts a
          LEFT JOIN api_keys k ON k.id = a.subject_id
         WHERE a.workspace_id = :id AND a.month = :month
         ORDER BY a.created_at DESC, a.percent DESC
         LIMIT 50
        """,
        id=workspace_id,
        month=month,
    )


async def _note(
    db: Queries,
    workspace_id: str,
    kind: str,
    reference: str,
    credits: int,
    *,
    now: int,
    note: str | None = None,
) -> None:
    await db.execute(
        """
        INSERT INTO ledger (workspace_id, kind, reference, credits, note, created_at)
        VALUES (:workspace_id, :kind, :reference, :credits, :note, :now)
        """,
        workspace_id=workspace_id,
        kind=kind,
        reference=reference,
        credits=credits,
        note=note if note is None else clean_text(note),
        now=now,
    )


def check_name(name: str) -> str:
    if not len(name.strip()) >= 1 or len(name) > NAME_MAX:
        raise InvalidRequest(f"A workspace's name has 1 to {NAME_MAX} characters.", param="name")
    return clean_text(name)


def check_budget(budget: int | None) -> int | None:
    if budget is not None and not 0 <= budget <= 1_000_000_000:
        raise InvalidRequest("A budget is a whole number of credits from 0 to 1,000,000,000.", param="budget")
    return budget


def check_overrides(plan: str, overrides: Overrides) -> None:
    if plan != "enterprise" and overrides != NO_OVERRIDES:
        raise InvalidRequest("Only the enterprise plan has limits of its own per workspace.", param="plan")
    least = {"requests_per_minute": 1, "requests_per_day": 1, "concurrent_runs": 1, "monthly_credits": 0}
    for name, lowest in least.items():
        value: int | None = getattr(overrides, name)
        if value is not None and not lowest <= value <= 1_000_000_000:
            raise InvalidRequest(f"'{name}' is a whole number from {lowest} to 1,000,000,000.", param=name)
