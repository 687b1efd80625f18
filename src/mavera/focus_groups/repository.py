"""
Run the SQL for focus groups: a row for each study and one for each of its cells.

    PENDING → PROCESSING → COMPLETED | FAILED | CANCELLED

Every statement for a caller names the workspace and the mode of the key. A worker's statements name the
fence that it got when it took the study. If another worker has taken over the study, the fence is old, and
writes with it change nothing.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
from msgspec.structs import replace

from mavera.accounts.principal import Principal
from mavera.errors import NotFound
from mavera.focus_groups.readings import PositionPrior, Reading
from mavera.focus_groups.study import Study
from mavera.personas.custom import CustomPersona
from mavera.storage.database import Database, Queries, Row
from mavera.storage.moment import Moment

Status = Literal["PENDING", "PROCESSING", "COMPLETED", "FAILED", "CANCELLED"]
CellStatus = Literal["pending", "answered", "failed"]
UNFINISHED: tuple[Status, ...] = ("PENDING", "PROCESSING")
# The version of the study program. A worker takes only studies of its own version.
PROGRAM = 1
MOST_ADOPTIONS = 5
# A worker renews its lease three times in this period.
LEASE_SECONDS = 45
# The end of a charged study's lease. An ended one has 0 until then, so the index of leases finds it.
NEVER = 1 << 62


class Method(msgspec.Struct, frozen=True, kw_only=True):
    """
    How a study is elicited. `read` names the reading method, `record` the model in usage rows.

    `rated` has the ids of the questions that are also rated by similarity, and `unrated` says why there are
    none.
    """

    read: Literal["letters", "shares"]
    elicitation: str
    model_digest: str
    record: str
    notices: tuple[str, ...] = ()
    rated: tuple[str, ...] = ()
    unrated: str = ""


class Personas(msgspec.Struct, frozen=True, kw_only=True):
    """
    The personas as they were when the study was made. Those of the library are named by id only.

    `prompts` has the digest of each one's prompt, by id. Studies of an earlier release have none.
    """

    ids: tuple[str, ...]
    custom: tuple[dict[str, Any], ...] = ()
    prompts: dict[str, str] = {}


class StudyRow(msgspec.Struct, frozen=True, kw_only=True):
    """A study as it is stored. Times are Unix seconds."""

    id: str
    workspace_id: str
    mode: Literal["live", "test"]
    key_id: str
    name: str
    status: Status
    program: int
    study: Study
    panel: Personas
    model: str
    method: Method
    source_id: str | None
    webhook: str | None
    human: str | None
    notices: tuple[str, ...]
    error: str | None
    limit_reached: str | None
    cells_total: int
    cells_reused: int
    price: int
    credits_charged: int
    credits_due: int
    hold_id: str | None
    attempt: int
    adoptions: int
    worker_id: str | None
    fence: int
    lease_until: int
    created_at: int
    started_at: int | None
    ended_at: int | None
    cancelled_at: int | None
    settled_at: int | None = None
    done_at_take: int = 0
    """The cells that had ended when a worker last took the study."""
    webhook_due_at: int | None = None
    """The time of the next call of the webhook. None if no call is owed."""
    webhook_tries: int = 0

    @property
    def is_finished(self) -> bool:
        return self.status not in UNFINISHED

    @property
    def is_unsettled(self) -> bool:
        """Whether the study has ended, and its charge and its webhook are still due."""
        return self.is_finished and self.settled_at is None


class CellRow(msgspec.Struct, frozen=True, kw_only=True):
    """A cell as it is stored. `reading` is None until the model has answered."""

    key: str
    place: int
    status: CellStatus
    reading: Reading | None = None
    error: str | None = None
    reused: bool = False
    answered_at: int | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """The cells of a study by status."""

    total: int
    answered: int
    failed: int

    @property
    def done(self) -> int:
        return self.answered + self.failed


_COLUMNS = ", ".join(StudyRow.__struct_fields__)
_JSON: dict[str, Any] = {"study": Study, "panel": Personas, "method": Method, "notices": tuple[str, ...]}


async def insert(db: Queries, row: StudyRow, cells: Iterable[CellRow]) -> None:
    """Store a study and all its cells. Call it in a transaction."""
    values = {name: getattr(row, name) for name in StudyRow.__struct_fields__}
    encoded = {name: msgspec.json.encode(values[name]).decode() for name in _JSON}
    names = ", ".join(f":{name}" for name in values)
    await db.execute(f"INSERT INTO focus_groups ({_COLUMNS}) VALUES ({names})", **{**values, **encoded})  # noqa: S608
    await db.execute_many(
        """
        INSERT INTO focus_group_cells (study_id, key, place, status, body, error, reused, answered_at)
        VALUES (:study_id, :key, :place, :status, :body, :error, :reused, :answered_at)
        """,
        [_cell_values(row.id, cell) for cell in cells],
    )


def _cell_values(study_id: str, cell: CellRow) -> Row:
    body = None if cell.reading is None else msgspec.json.encode(cell.reading).decode()
    return {
        "study_id": study_id,
        "key": cell.key,
        "place": cell.place,
        "status": cell.status,
        "body": body,
        "error": cell.error,
        "reused": int(cell.reused),
        "answered_at": cell.answered_at,
    }


async def get(db: Queries, principal: Principal, study_id: str) -> StudyRow:
    """Return a study of the caller's workspace. Raises NotFound."""
    row = await db.fetch_one(
        f"""
        SELECT {_COLUMNS} FROM focus_groups
         WHERE id = :id AND workspace_id = :workspace_id AND mode = :mode
        """,  # noqa: S608
        id=study_id,
        workspace_id=principal.workspace_id,
        mode=principal.mode,
    )
    if row is None:
        raise NotFound("This workspace has no such focus group. GET /api/v1/focus-groups lists them.")
    return _from_row(row)


async def find(db: Queries, study_id: str) -> StudyRow | None:
    """Return a study of any workspace, for a worker."""
    row = await db.fetch_one(f"SELECT {_COLUMNS} FROM focus_groups WHERE id = :id", id=study_id)  # noqa: S608
    return _from_row(row) if row else None


async def list_page(
    db: Queries, principal: Principal, *, limit: int, before: tuple[int, str] | None
) -> list[StudyRow]:
    """Return up to `limit` studies, newest first, from the one after `before` (its time and id)."""
    created_at, study_id = before or (1 << 62, "")
    rows = await db.fetch_all(
        f"""
        SELECT {_COLUMNS} FROM focus_groups
         WHERE workspace_id = :workspace_id AND mode = :mode
           AND (created_at < :created_at OR (created_at = :created_at AND id < :id))
         ORDER BY created_at DESC, id DESC
         LIMIT :limit
        """,  # noqa: S608
        workspace_id=principal.workspace_id,
        mode=principal.mode,
        created_at=created_at,
        id=study_id,
        limit=limit,
    )
    return [_from_row(row) for row in rows]


def _from_row(row: Row) -> StudyRow:
    decoded = {name: msgspec.json.decode(row[name], type=kind) for name, kind in _JSON.items()}
    return msgspec.convert({**row, **decoded}, StudyRow)


async def find_unfinished(db: Queries, principal: Principal, study: Study, model: str) -> StudyRow | None:
    """Return the newest unfinished study with exactly this content, or None."""
    row = await db.fetch_one(
        f"""
        SELECT {_COLUMNS} FROM focus_groups
         WHERE workspace_id = :workspace_id AND mode = :mode AND study = :study AND model = :model
           AND status IN ('PENDING', 'PROCESSING')
         ORDER BY created_at DESC LIMIT 1
        """,  # noqa: S608
        workspace_id=principal.workspace_id,
        mode=principal.mode,
        study=msgspec.json.encode(study).decode(),
        model=model,
    )
    return _from_row(row) if row else None


async def count_running(db: Queries, key_id: str) -> int:
    row = await db.fetch_one(
        "SELECT COUNT(*) AS number FROM focus_groups"
        " WHERE key_id = :key_id AND status IN ('PENDING', 'PROCESSING')",
        key_id=key_id,
    )
    return int(row["number"]) if row else 0


async def read_cells(db: Queries, study_id: str) -> list[CellRow]:
    """Return all cells of a study with their readings, in their order."""
    rows = await db.fetch_all(
        """
        SELECT key, place, status, body, error, reused, answered_at FROM focus_group_cells
         WHERE study_id = :study_id ORDER BY place
        """,
        study_id=study_id,
    )
    return [_cell_from_row(row) for row in rows]


async def find_cell(db: Queries, study_id: str, key: str) -> CellRow | None:
    row = await db.fetch_one(
        """
        SELECT key, place, status, body, error, reused, answered_at FROM focus_group_cells
         WHERE study_id = :study_id AND key = :key
        """,
        study_id=study_id,
        key=key,
    )
    return None if row is None else _cell_from_row(row)


async def find_answered(db: Queries, study_id: str, keys: Sequence[str]) -> dict[str, CellRow]:
    """Return the answered cells of a study that have one of `keys`."""
    wanted = set(keys)
    return {
        cell.key: cell
        for cell in await read_cells(db, study_id)
        if cell.key in wanted and cell.status == "answered"
    }


def _cell_from_row(row: Row) -> CellRow:
    reading = None if row["body"] is None else msgspec.json.decode(row["body"], type=Reading)
    return CellRow(
        key=row["key"],
        place=row["place"],
        status=row["status"],
        reading=reading,
        error=row["error"],
        reused=bool(row["reused"]),
        answered_at=row["answered_at"],
    )


async def count_cells(db: Queries, study_id: str) -> Progress:
    rows = await db.fetch_all(
        "SELECT status, COUNT(*) AS number FROM focus_group_cells WHERE study_id = :id GROUP BY status",
        id=study_id,
    )
    numbers = {row["status"]: int(row["number"]) for row in rows}
    return Progress(sum(numbers.values()), numbers.get("answered", 0), numbers.get("failed", 0))


async def count_cells_of(db: Queries, study_ids: Sequence[str]) -> dict[str, Progress]:
    """Return the counts of `count_cells` for several studies, by their ids."""
    if not study_ids:
        return {}
    names = {f"id{at}": one for at, one in enumerate(study_ids)}
    rows = await db.fetch_all(
        f"""
        SELECT study_id, status, COUNT(*) AS number FROM focus_group_cells
         WHERE study_id IN ({", ".join(f":{name}" for name in names)}) GROUP BY study_id, status
        """,  # noqa: S608
        **names,
    )
    numbers: dict[str, dict[str, int]] = {one: {} for one in study_ids}
    for row in rows:
        numbers[row["study_id"]][row["status"]] = int(row["number"])
    return {
        one: Progress(sum(found.values()), found.get("answered", 0), found.get("failed", 0))
        for one, found in numbers.items()
    }


async def list_pending(db: Queries, study_id: str) -> list[str]:
    """Return the keys of the cells that wait for an answer, in their order."""
    rows = await db.fetch_all(
        "SELECT key FROM focus_group_cells WHERE study_id = :id AND status = 'pending' ORDER BY place",
        id=study_id,
    )
    return [row["key"] for row in rows]


async def list_work(db: Queries, moment: Moment) -> list[str]:
    """Return the studies that a worker may take: new studies, and studies whose worker is dead."""
    rows = await db.fetch_all(
        f"""
        SELECT id FROM focus_groups
         WHERE status IN ('PENDING', 'PROCESSING') AND program = :program AND lease_until <= {moment.sql}
         ORDER BY created_at, id
        """,  # noqa: S608
        program=PROGRAM,
        now=moment.now,
    )
    return [row["id"] for row in rows]


_DONE = "(SELECT COUNT(*) FROM focus_group_cells WHERE study_id = :id AND status <> 'pending')"


async def take(
    db: Database, study_id: str, worker_id: str, *, lease_seconds: int, moment: Moment
) -> StudyRow | None:
    """
    Take a study for a worker. Returns None if another worker has it, or if it is finished.

    `adoptions` counts the takes in a row from a worker that had not ended a single cell.
    """
    async with db.transaction() as transaction:
        changed = await transaction.execute(
            f"""
            UPDATE focus_groups
               SET worker_id = :worker_id, fence = fence + 1, lease_until = {moment.sql} + :seconds,
                   adoptions = CASE WHEN status <> 'PROCESSING' THEN adoptions
                                    WHEN {_DONE} > done_at_take THEN 0 ELSE adoptions + 1 END,
                   done_at_take = {_DONE},
                   status = 'PROCESSING', started_at = COALESCE(started_at, {moment.sql})
             WHERE id = :id AND status IN ('PENDING', 'PROCESSING') AND program = :program
               AND (lease_until <= {moment.sql} OR worker_id = :worker_id)
            """,  # noqa: S608
            id=study_id,
            program=PROGRAM,
            worker_id=worker_id,
            seconds=lease_seconds,
            now=moment.now,
        )
        return await find(transaction, study_id) if changed else None


async def renew(db: Queries, row: StudyRow, *, lease_seconds: int, moment: Moment) -> bool:
    """Renew the lease of a study. Returns False if another worker has taken the study."""
    changed = await db.execute(
        f"""
        UPDATE focus_groups SET lease_until = {moment.sql} + :seconds
         WHERE id = :id AND fence = :fence AND status = 'PROCESSING'
        """,  # noqa: S608
        id=row.id,
        fence=row.fence,
        seconds=lease_seconds,
        now=moment.now,
    )
    return changed == 1


async def release(db: Queries, row: StudyRow) -> None:
    """Give up the lease, so that any worker can take the study at once. For a worker that shuts down."""
    await db.execute(
        """
        UPDATE focus_groups SET lease_until = 0, adoptions = adoptions - 1
         WHERE id = :id AND fence = :fence AND status = 'PROCESSING'
        """,
        id=row.id,
        fence=row.fence,
    )


async def is_cancelled(db: Queries, study_id: str) -> bool:
    """Return whether the study was cancelled or deleted."""
    row = await db.fetch_one("SELECT cancelled_at FROM focus_groups WHERE id = :id", id=study_id)
    return row is None or row["cancelled_at"] is not None


async def is_due(db: Queries, study_id: str, key: str) -> bool:
    """Return whether a cell waits for an answer, in a study that was neither cancelled nor deleted."""
    row = await db.fetch_one(
        """
        SELECT 1 AS found FROM focus_group_cells
         WHERE study_id = :study_id AND key = :key AND status = 'pending'
           AND EXISTS (SELECT 1 FROM focus_groups WHERE id = :study_id AND cancelled_at IS NULL)
        """,
        study_id=study_id,
        key=key,
    )
    return row is not None


async def keep_cell(db: Queries, study: StudyRow, cell: CellRow) -> bool:
    """Store the outcome of a cell. Returns False if it has one, or if the study has another worker."""
    values = _cell_values(study.id, cell)
    changed = await db.execute(
        """
        UPDATE focus_group_cells
           SET status = :status, body = :body, error = :error, answered_at = :answered_at
         WHERE study_id = :study_id AND key = :key AND status = 'pending'
           AND EXISTS (SELECT 1 FROM focus_groups WHERE id = :study_id AND fence = :fence)
        """,
        **{name: value for name, value in values.items() if name not in ("place", "reused")},
        fence=study.fence,
    )
    return changed == 1


async def finish(
    db: Queries,
    study: StudyRow,
    status: Status,
    *,
    moment: Moment,
    credits: int,
    error: str | None = None,
    limit_reached: str | None = None,
    notices: tuple[str, ...] = (),
) -> bool:
    """End a study. Returns False if it has ended, or has another worker."""
    changed = await db.execute(
        f"""
        UPDATE focus_groups
           SET status = :status, ended_at = {moment.sql}, error = :error, limit_reached = :limit_reached,
               notices = :notices, credits_due = :credits, settled_at = NULL, lease_until = 0
         WHERE id = :id AND fence = :fence AND status IN ('PENDING', 'PROCESSING')
        """,  # noqa: S608
        id=study.id,
        fence=study.fence,
        status=status,
        error=error,
        limit_reached=limit_reached,
        notices=msgspec.json.encode(notices).decode(),
        credits=credits,
        now=moment.now,
    )
    return changed == 1


async def list_unsettled(db: Queries) -> list[str]:
    """Return the ended studies that are not charged yet."""
    rows = await db.fetch_all(
        "SELECT id FROM focus_groups WHERE lease_until = 0 AND settled_at IS NULL"
        " AND status IN ('COMPLETED', 'FAILED', 'CANCELLED') ORDER BY id"
    )
    return [row["id"] for row in rows]


async def mark_settled(db: Queries, study: StudyRow) -> bool:
    """Mark a study as charged, and its webhook as due. Returns False if it was marked before."""
    changed = await db.execute(
        """
        UPDATE focus_groups
           SET settled_at = ended_at, credits_charged = credits_charged + credits_due, credits_due = 0,
               hold_id = NULL, lease_until = :never, webhook_tries = 0,
               webhook_due_at = CASE WHEN webhook IS NULL THEN NULL ELSE ended_at END
         WHERE id = :id AND attempt = :attempt AND settled_at IS NULL
           AND status IN ('COMPLETED', 'FAILED', 'CANCELLED')
        """,
        id=study.id,
        attempt=study.attempt,
        never=NEVER,
    )
    return changed == 1


async def list_due_webhooks(db: Queries, moment: Moment, *, limit: int) -> list[StudyRow]:
    """Return studies whose webhook is to be called now, those that have waited longest first."""
    rows = await db.fetch_all(
        f"""
        SELECT {_COLUMNS} FROM focus_groups
         WHERE webhook_due_at IS NOT NULL AND webhook_due_at <= {moment.sql}
         ORDER BY webhook_due_at LIMIT :limit
        """,  # noqa: S608
        now=moment.now,
        limit=limit,
    )
    return [_from_row(row) for row in rows]


async def claim_webhook(db: Queries, study: StudyRow, *, seconds: int, moment: Moment) -> StudyRow | None:
    """
    Record a try of a webhook before it is made, and return the study with it.

    The call is due again after `seconds`, unless `end_webhook` or `delay_webhook` says how it ended. Returns
    None if another process has the call.
    """
    changed = await db.execute(
        f"""
        UPDATE focus_groups SET webhook_due_at = {moment.sql} + :seconds, webhook_tries = webhook_tries + 1
         WHERE id = :id AND attempt = :attempt AND webhook_tries = :tries AND webhook_due_at = :due
        """,  # noqa: S608
        id=study.id,
        attempt=study.attempt,
        tries=study.webhook_tries,
        due=study.webhook_due_at,
        seconds=seconds,
        now=moment.now,
    )
    return replace(study, webhook_tries=study.webhook_tries + 1) if changed else None


async def delay_webhook(db: Queries, study: StudyRow, *, seconds: int, moment: Moment) -> None:
    """Make the next call of a webhook due in `seconds`."""
    await db.execute(
        f"""
        UPDATE focus_groups SET webhook_due_at = {moment.sql} + :seconds
         WHERE id = :id AND attempt = :attempt AND webhook_tries = :tries AND webhook_due_at IS NOT NULL
        """,  # noqa: S608
        id=study.id,
        attempt=study.attempt,
        tries=study.webhook_tries,
        seconds=seconds,
        now=moment.now,
    )


async def end_webhook(db: Queries, study: StudyRow) -> None:
    """Owe no further call of the webhook: it was received, or it is given up."""
    await db.execute(
        """
        UPDATE focus_groups SET webhook_due_at = NULL
         WHERE id = :id AND attempt = :attempt AND webhook_tries = :tries
        """,
        id=study.id,
        attempt=study.attempt,
        tries=study.webhook_tries,
    )


async def ask_to_cancel(db: Queries, study: StudyRow, *, moment: Moment) -> None:
    await db.execute(
        f"""
        UPDATE focus_groups SET cancelled_at = {moment.sql}
         WHERE id = :id AND cancelled_at IS NULL AND status IN ('PENDING', 'PROCESSING')
        """,  # noqa: S608
        id=study.id,
        now=moment.now,
    )


async def reopen(db: Database, study: StudyRow, hold_id: str | None, statuses: Sequence[str]) -> int:
    """Make cells with one of `statuses` pending again. Returns their number, or 0 if the study runs."""
    async with db.transaction() as transaction:
        changed = await transaction.execute(
            """
            UPDATE focus_groups
               SET status = 'PENDING', attempt = attempt + 1, adoptions = 0, hold_id = :hold_id,
                   ended_at = NULL, settled_at = NULL, cancelled_at = NULL, error = NULL,
                   limit_reached = NULL, lease_until = 0, webhook_due_at = NULL, webhook_tries = 0
             WHERE id = :id AND attempt = :attempt AND settled_at IS NOT NULL
            """,
            id=study.id,
            attempt=study.attempt,
            hold_id=hold_id,
        )
        if not changed:
            return 0
        number = 0
        for status in statuses:
            number += await transaction.execute(
                """
                UPDATE focus_group_cells SET status = 'pending', error = NULL
                 WHERE study_id = :id AND status = :status
                """,
                id=study.id,
                status=status,
            )
        return number


async def keep_human(db: Queries, study_id: str, human: str) -> None:
    await db.execute("UPDATE focus_groups SET human = :human WHERE id = :id", id=study_id, human=human)


async def delete(db: Database, study_id: str) -> None:
    async with db.transaction() as transaction:
        await transaction.execute("DELETE FROM focus_group_shares WHERE study_id = :id", id=study_id)
        await transaction.execute("DELETE FROM focus_group_images WHERE study_id = :id", id=study_id)
        await transaction.execute("DELETE FROM focus_group_cells WHERE study_id = :id", id=study_id)
        await transaction.execute("DELETE FROM focus_groups WHERE id = :id", id=study_id)


async def read_priors(db: Queries, model: str, language: str) -> dict[int, PositionPrior]:
    """Return the priors of a model by their number of places."""
    rows = await db.fetch_all(
        "SELECT places, body FROM focus_group_priors WHERE model = :model AND language = :language",
        model=model,
        language=language,
    )
    return {row["places"]: msgspec.json.decode(row["body"], type=PositionPrior) for row in rows}


async def keep_prior(db: Queries, prior: PositionPrior) -> None:
    await db.execute(
        """
        INSERT INTO focus_group_priors (model, language, places, body)
        VALUES (:model, :language, :places, :body)
        ON CONFLICT (model, language, places) DO NOTHING
        """,
        model=prior.model,
        language=prior.language,
        places=prior.places,
        body=msgspec.json.encode(prior).decode(),
    )


def snapshot(personas: Iterable[Any], prompts: dict[str, str]) -> Personas:
    """Return the stored form of a study's personas, with the digests of their prompts."""
    everyone = tuple(personas)
    custom = tuple(msgspec.to_builtins(one) for one in everyone if isinstance(one, CustomPersona))
    return Personas(ids=tuple(one.id for one in everyone), custom=custom, prompts=prompts)


def restore(personas: Personas) -> tuple[CustomPersona, ...]:
    """Return the custom personas of a study as they were at its start."""
    return tuple(msgspec.convert(one, CustomPersona) for one in personas.custom)
