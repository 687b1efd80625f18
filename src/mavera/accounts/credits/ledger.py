"""
The ledger's statements: hold, charge and refund credits for many runs in one transaction.

    Reserve  balance −held            add a row to reservations and one to the ledger, or refuse
    End      balance +held −charge    delete the reservation, add a row to ledger and usage
    Expire   balance +held            the same, for a run whose lease has run out
    Release  balance +held            delete the reservation, for a caller cancelled before admission ended
    Draw     block −charge            add a row to usage, for a run that a block of credits pays for
    TrimBlock, CloseBlock             give back what is free in a block, or the rest of it

Exactly one of several processes deletes a reservation, so no run is settled or refunded twice. The row of a
workspace is always changed before those of its keys, and workspaces in the order of their ids, so two
processes do not wait for each other. A charge above the held credits is taken only if the balance and the
budgets allow it, so neither is ever exceeded.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Literal

import msgspec
from msgspec.structs import asdict

from mavera.accounts.credits.days import UTC, DayBook, UsedRun
from mavera.accounts.plans import month_of
from mavera.core.text import format_count
from mavera.errors import APIError, BudgetExceeded, CreditsExhausted
from mavera.storage.database import Row, Statements

ALERT_PERCENTS = (50, 75, 90)
MOST_ANCESTORS_KNOWN = 10_000

OwnerKind = Literal["run", "study", "block"]
# The expiry of a reservation whose owner outlives every process. Servers of releases without owners leave
# it alone, too.
NEVER = 1 << 62


class Hold(msgspec.Struct, frozen=True):
    """
    The owner of a reservation. A `run` and a `block` die with their process. A `study` is a row of its own.

    The reservations of runs and blocks have a lease that runs out.
    """

    owner_kind: OwnerKind
    owner_id: str

    @property
    def ends_with_process(self) -> bool:
        return self.owner_kind == "run"

    @property
    def has_lease(self) -> bool:
        return self.owner_kind != "study"


class Reserve(msgspec.Struct, frozen=True):
    """
    A request to hold credits. Without a `hold`, the run itself is the owner.

    It is refused unless the balance and the budgets leave `margin` credits beyond these.
    """

    run_id: str
    workspace_id: str
    key_id: str
    credits: int
    hold: Hold | None = None
    margin: int = 0

    @property
    def owner(self) -> Hold:
        return self.hold or Hold("run", self.run_id)

    @property
    def ends_with_process(self) -> bool:
        return self.hold is None or self.hold.ends_with_process


class End(msgspec.Struct, frozen=True):
    """
    The end of a run. `credits` is its price, 0 if it failed. A run that `reserved` nothing is only recorded.

    `persona_version` is None for a persona of the library. `personas` is JSON, if several answered.
    `upstream_nanos` is what the model's server charged, in billionths of `upstream_currency`, if known.
    """

    run_id: str
    workspace_id: str
    key_id: str
    status: Literal["completed", "cancelled", "failed"]
    credits: int = 0
    persona_id: str | None = None
    persona_version: int | None = None
    personas: str | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    milliseconds: int = 0
    operation: str | None = None
    model: str | None = None
    upstream_nanos: int | None = None
    upstream_currency: str | None = None
    end_user_digest: str | None = None
    request_id: str | None = None
    error_code: str | None = None
    reserved: bool = True


class Expire(msgspec.Struct, frozen=True):
    run_id: str
    workspace_id: str
    key_id: str


class Release(msgspec.Struct, frozen=True):
    run_id: str
    workspace_id: str
    key_id: str


class Draw(msgspec.Struct, frozen=True):
    """The end of a run that held credits of a block, which pays `from_block` of its price."""

    end: End
    block_id: str
    from_block: int

    @property
    def run_id(self) -> str:
        return self.end.run_id

    @property
    def workspace_id(self) -> str:
        return self.end.workspace_id


class TrimBlock(msgspec.Struct, frozen=True):
    """Return `credits` of a block that another process has called back."""

    run_id: str
    workspace_id: str
    key_id: str
    credits: int


class CloseBlock(msgspec.Struct, frozen=True):
    """Return the rest of a block, `expired` only if its lease has run out."""

    run_id: str
    workspace_id: str
    key_id: str
    expired: bool = False


class Alert(msgspec.Struct, frozen=True):
    """More than `percent` of a budget is spent. `subject_id` is a workspace or a key."""

    subject_id: str
    percent: int
    budget: int
    spent: int


class Charged(msgspec.Struct, frozen=True):
    """`is_refused` is true if the block that had to pay was gone."""

    credits: int
    alerts: tuple[Alert, ...] = ()
    is_refused: bool = False


Step = Reserve | End | Expire | Release | Draw | TrimBlock | CloseBlock


class Lease(msgspec.Struct, frozen=True):
    """The lease that a process gives its reservations. `moment_sql` is the time that measures it."""

    process_id: str
    seconds: int
    moment_sql: str = "CAST(:now AS BIGINT)"


def apply_steps(
    statements: Statements,
    steps: Sequence[Step],
    *,
    now: int,
    lease: Lease,
    ancestors: dict[str, tuple[str, ...]] | None = None,
) -> list[Charged | APIError]:
    """
    Do `steps` and return for each its charge, or the error that refuses it.

    `ancestors` caches, for each key, the keys whose budgets it spends beside its own.
    """
    book = _Book(statements, now, lease, {} if ancestors is None else ancestors)
    numbered: dict[str, list[tuple[int, Step]]] = defaultdict(list)
    for number, step in enumerate(steps):
        numbered[step.workspace_id].append((number, step))
    for workspace_id in sorted(numbered):
        mine = numbered[workspace_id]
        book.end(workspace_id, [(n, step) for n, step in mine if isinstance(step, End)])
        book.end(workspace_id, [(n, step) for n, step in mine if isinstance(step, Expire)])
        book.end(workspace_id, [(n, step) for n, step in mine if isinstance(step, Release)])
        book.draw(workspace_id, [(n, step) for n, step in mine if isinstance(step, Draw)])
        book.return_blocks(workspace_id, [(n, s) for n, s in mine if isinstance(s, TrimBlock | CloseBlock)])
        book.reserve(workspace_id, [(n, s) for n, s in mine if isinstance(s, Reserve) and not s.margin])
        for number, step in mine:
            if isinstance(step, Reserve) and step.margin:
                book.reserve(workspace_id, [(number, step)])
    book.write()
    return [book.outcomes[number] for number in range(len(steps))]


class _Ended(msgspec.Struct, frozen=True):
    """A run that has ended, the credits that it held, and the month in which they were held."""

    number: int
    step: End | Expire | Release
    held: int
    month: int

    @property
    def price(self) -> int:
        return self.step.credits if isinstance(self.step, End) else 0


@dataclass
class _Book:
    """One batch. Balances change at once, and other rows are collected and written at the end."""

    statements: Statements
    now: int
    lease: Lease
    ancestors: dict[str, tuple[str, ...]]
    outcomes: dict[int, Charged | APIError] = field(default_factory=dict)
    reservations: list[tuple[str | int | None, ...]] = field(default_factory=list)
    ledger: list[tuple[str | int | None, ...]] = field(default_factory=list)
    usage: list[tuple[str | int | None, ...]] = field(default_factory=list)
    zones: dict[str, str] = field(default_factory=dict)
    used: list[UsedRun] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.month = month_of(self.now)

    def reserve(self, workspace_id: str, steps: list[tuple[int, Reserve]]) -> None:
        """Hold credits for all steps, or, if there is not enough, for each one that the rest allows."""
        if not steps:
            return
        by_key: dict[str, int] = defaultdict(int)
        for _, step in steps:
            by_key[step.key_id] += step.credits
        margin = sum(step.margin for _, step in steps)
        taken = self.take(workspace_id, sum(by_key.values()), by_key, margin=margin)
        refusal = taken if isinstance(taken, APIError) else None
        if refusal is not None and len(steps) > 1:
            for alone in steps:
                self.reserve(workspace_id, [alone])
            return
        for number, step in steps:
            self.outcomes[number] = refusal or Charged(step.credits)
            if not isinstance(taken, APIError):
                self._note_reserved(step, taken[0]["moment"])

    def end(self, workspace_id: str, steps: Sequence[tuple[int, End | Expire | Release]]) -> None:
        """Charge or refund the runs. A run without a reservation has ended before."""
        if not steps:
            return
        held = self._release([step.run_id for _, step in steps], expired=isinstance(steps[0][1], Expire))
        charged: list[_Ended] = []
        for number, step in steps:
            # The row is removed, so that a run that ends twice in one batch is charged once.
            row = held.pop(step.run_id, None)
            if row is not None:
                charged.append(_Ended(number, step, row["credits"], row["month"]))
                continue
            self.outcomes[number] = Charged(0)
            if isinstance(step, End) and not step.reserved:
                self.note_usage(step, 0)
        self._charge(workspace_id, charged)

    def draw(self, workspace_id: str, draws: list[tuple[int, Draw]]) -> None:
        """
        Charge runs to their blocks. A block that is gone pays nothing, and the charge is refused.

        The block's credits were taken from the balance, and counted as spent, when the block was made.
        """
        by_block: dict[str, int] = defaultdict(int)
        for _, draw in draws:
            by_block[draw.block_id] += draw.from_block
        paying = {block_id for block_id in sorted(by_block) if self._draw_from(block_id, by_block[block_id])}
        for number, draw in draws:
            pays = draw.block_id in paying
            charge = draw.from_block + self._take_rest(draw) if pays else 0
            self.note_usage(draw.end, charge)
            self.outcomes[number] = Charged(charge, is_refused=not pays)
        keys = sorted({draw.end.key_id for _, draw in draws if draw.block_id in paying})
        if keys:
            alerts = self.record_alerts(workspace_id, self._read_budgets(workspace_id, keys))
            last = max(number for number, draw in draws if draw.block_id in paying)
            charged = self.outcomes[last]
            assert isinstance(charged, Charged)  # noqa: S101 - it was set above
            self.outcomes[last] = Charged(charged.credits, alerts)

    def _draw_from(self, block_id: str, credits: int) -> bool:
        """Take credits out of a block of this process. Returns whether there is such a block."""
        values = {"id": block_id, "credits": credits, "process_id": self.lease.process_id}
        return bool(self.statements.fetch_all(_DRAW, values))

    def _take_rest(self, draw: Draw) -> int:
        """Take from the balance what the block did not have. Returns 0 if that is not allowed."""
        end, rest = draw.end, draw.end.credits - draw.from_block
        if rest <= 0 or isinstance(self.take(end.workspace_id, rest, {end.key_id: rest}), APIError):
            return 0
        self.note(end.workspace_id, end.key_id, "settle", end.run_id, -rest, "beyond its block")
        return rest

    def _read_budgets(self, workspace_id: str, key_ids: list[str]) -> list[Row]:
        """Return the budgets of a workspace and its keys. What is free in blocks does not count as spent."""
        spenders = sorted(self.with_ancestors(dict.fromkeys(key_ids, 0)))
        names = [f"key{number}" for number in range(len(spenders))]
        values: dict[str, str | int] = {"id": workspace_id, "month": self.month}
        found = self.statements.fetch_all(_BUDGET_OF_WORKSPACE, values)
        self.zones |= {row["id"]: row["reporting_zone"] for row in found}  # the sums of days need not ask
        budgets = [row for row in found if row["budget"] is not None]
        in_names = ", ".join(f":{name}" for name in names)
        values.update(zip(names, spenders, strict=True))
        budgets += self.statements.fetch_all(_BUDGETS_OF_KEYS.replace(":names", in_names), values)
        if not budgets:
            return []
        blocks = self.statements.fetch_all(_BLOCKS, {"id": workspace_id, "month": self.month})
        free: dict[str, int] = defaultdict(int)
        for block in blocks:
            credits = int(block["credits"])
            free[workspace_id] += credits
            for spender in self.with_ancestors({block["key_id"]: 0}):
                free[spender] += credits
        return [{**row, "spent": row["spent"] - free[row["id"]]} for row in budgets]

    def return_blocks(self, workspace_id: str, steps: list[tuple[int, TrimBlock | CloseBlock]]) -> None:
        """Give credits of blocks back to the workspace, each once."""
        for number, step in steps:
            self.outcomes[number] = Charged(0)
            if isinstance(step, TrimBlock):
                values = {"id": step.run_id, "credits": step.credits, "process_id": self.lease.process_id}
                rows = self.statements.fetch_all(_TRIM, values)
                credits, reference, note = step.credits, f"{step.run_id}:recalled", "block called back"
            else:
                only = f" AND expires_at <= {self.lease.moment_sql}" if step.expired else ""
                sql = f"""
                    DELETE FROM reservations
                     WHERE run_id = :id AND owner_kind = 'block'{only}
                    RETURNING credits, month
                    """  # noqa: S608 - the clock is ours
                rows = self.statements.fetch_all(sql, {"id": step.run_id, "now": self.now})
                credits = int(rows[0]["credits"]) if rows else 0
                reference, note = step.run_id, "block expired" if step.expired else "block closed"
            if not rows or not credits:
                continue
            spent = credits if rows[0]["month"] == self.month else 0
            self.take(workspace_id, -credits, {step.key_id: -spent})
            self.note(workspace_id, step.key_id, "refund", reference, credits, note)

    def write(self) -> None:
        self.statements.insert(_RESERVATIONS, self.reservations)
        self.statements.insert(_LEDGER, self.ledger)
        self.statements.insert(_USAGE, self.usage)
        self._write_days()

    def _write_days(self) -> None:
        """Add the runs that have ended to the sums of their days, in the zones of their workspaces."""
        if not self.used:
            return
        missing = sorted({run.workspace_id for run in self.used} - self.zones.keys())
        if missing:
            names = [f"id{number}" for number in range(len(missing))]
            places = ", ".join(f":{name}" for name in names)
            sql = f"SELECT id, reporting_zone FROM workspaces WHERE id IN ({places})"  # noqa: S608
            rows = self.statements.fetch_all(sql, dict(zip(names, missing, strict=True)))
            self.zones.update({row["id"]: row["reporting_zone"] for row in rows})
        book = DayBook()
        for run in self.used:
            book.add(run, self.zones.get(run.workspace_id, UTC))
        book.write(self.statements)

    def _release(self, run_ids: list[str], *, expired: bool) -> dict[str, Row]:
        names = [f"run{number}" for number in range(len(run_ids))]
        # Only an expired lease may be refunded: the run may have renewed it since the sweep saw it.
        only = f" AND owner_kind = 'run' AND expires_at <= {self.lease.moment_sql}" if expired else ""
        sql = f"""
            DELETE FROM reservations
             WHERE run_id IN ({", ".join(f":{name}" for name in names)}){only}
            RETURNING run_id, credits, month
            """  # noqa: S608 - the names are ours, the values are parameters
        rows = self.statements.fetch_all(sql, {**dict(zip(names, run_ids, strict=True)), "now": self.now})
        return {row["run_id"]: row for row in rows}

    def _charge(self, workspace_id: str, ended: list[_Ended]) -> None:
        """
        Charge each run its price: all at once if there is credit for all, otherwise one by one.

        A run that alone exceeds the balance or a budget is charged at most the credits that were held for
        it. Those are taken already, so that is never refused.
        """
        if not ended or self._try_charge(workspace_id, [(end, end.price) for end in ended]):
            return
        for end in ended:
            if len(ended) == 1 or not self._try_charge(workspace_id, [(end, end.price)]):
                self._try_charge(workspace_id, [(end, min(end.price, end.held))])

    def _try_charge(self, workspace_id: str, charges: list[tuple[_Ended, int]]) -> bool:
        """Charge all of these runs so much each, or none if the balance or a budget falls short."""
        by_key: dict[str, int] = defaultdict(int)
        for end, charge in charges:
            # Credits that were held in an earlier month were counted as spent in that one.
            spent = charge - end.held
            by_key[end.step.key_id] += spent if end.month == self.month else max(0, spent)
        taken = sum(charge - end.held for end, charge in charges)
        budgets = self.take(workspace_id, taken, by_key)
        if isinstance(budgets, APIError):
            return False
        alerts = self.record_alerts(workspace_id, budgets)
        for end, charge in charges:
            self.outcomes[end.number] = Charged(charge, alerts)
            self._note_ended(end.step, end.held - charge, charge)
            alerts = ()
        return True

    def take(
        self, workspace_id: str, credits: int, by_key: dict[str, int], *, margin: int = 0
    ) -> list[Row] | APIError:
        """
        Take credits and count them as spent. Return the new budgets, or the error if nothing was taken.

        Nothing is taken unless `margin` credits more would be left.
        """
        spent = sum(by_key.values())
        values = {
            "id": workspace_id,
            "credits": credits,
            "needed": credits + margin,
            "spent": spent,
            "needed_spent": spent + margin,
            "month": self.month,
            "now": self.now,
        }
        budgets = self.statements.fetch_all(_take_from_workspace(self.lease.moment_sql), values)
        if not budgets:
            return self._explain_refusal(workspace_id, credits, spent)
        self.zones[workspace_id] = budgets[0]["reporting_zone"]
        done: dict[str, int] = {}
        by_spender = self.with_ancestors(by_key)
        for key_id in sorted(by_spender):
            spent_by_key = by_spender[key_id]
            values = {
                "id": key_id,
                "spent": spent_by_key,
                "needed_spent": spent_by_key + margin,
                "month": self.month,
            }
            rows = self.statements.fetch_all(_SPEND_BY_KEY, values)
            if not rows:
                self._undo(workspace_id, credits, spent, done)
                whose = "This API key" if key_id in by_key else "A key that this API key was made with"
                return BudgetExceeded(
                    f"{whose} has no budget left for this month. It begins anew with the next month (UTC)."
                )
            budgets += rows
            done[key_id] = by_spender[key_id]
        return budgets

    def with_ancestors(self, by_key: dict[str, int]) -> dict[str, int]:
        """Return the spending of each key, including that of the keys that it has made."""
        self._look_up([key_id for key_id in by_key if key_id not in self.ancestors])
        by_spender: dict[str, int] = defaultdict(int)
        for key_id, spent in by_key.items():
            for spender in (key_id, *self.ancestors[key_id]):
                by_spender[spender] += spent
        return by_spender

    def _look_up(self, key_ids: list[str]) -> None:
        """Cache the ancestors of new keys. They never change."""
        if not key_ids:
            return
        names = [f"key{number}" for number in range(len(key_ids))]
        sql = f"SELECT id, ancestors FROM api_keys WHERE id IN ({', '.join(f':{name}' for name in names)})"  # noqa: S608
        rows = self.statements.fetch_all(sql, dict(zip(names, key_ids, strict=True)))
        found = {row["id"]: tuple(row["ancestors"].split()) for row in rows}
        if len(self.ancestors) >= MOST_ANCESTORS_KNOWN:
            self.ancestors.clear()
        self.ancestors.update({key_id: found.get(key_id, ()) for key_id in key_ids})

    def _undo(self, workspace_id: str, credits: int, spent: int, by_key: dict[str, int]) -> None:
        values = {"id": workspace_id, "credits": credits, "spent": spent}
        self.statements.execute(
            "UPDATE workspaces SET balance = balance + :credits, spent = spent - :spent WHERE id = :id",
            values,
        )
        rows = [{"id": key_id, "spent": spent} for key_id, spent in by_key.items()]
        self.statements.execute_many("UPDATE api_keys SET spent = spent - :spent WHERE id = :id", rows)

    def _explain_refusal(self, workspace_id: str, credits: int, spent: int) -> APIError:
        rows = self.statements.fetch_all(_REFUSED_BY, {"id": workspace_id, "month": self.month})
        if rows and rows[0]["budget"] is not None and rows[0]["spent"] + spent > rows[0]["budget"]:
            return BudgetExceeded(
                "This workspace has no budget left for this month. It begins anew with the next month (UTC)."
            )
        left = rows[0]["balance"] if rows else 0
        return CreditsExhausted(
            f"This request needs {format_count(credits, 'credit')}, and the workspace has {left:,} left."
        )

    def record_alerts(self, workspace_id: str, budgets: Sequence[Row]) -> tuple[Alert, ...]:
        alerts: list[Alert] = []
        for row in budgets:
            if row["budget"]:
                alerts += self._find_alerts(row)
        for alert in alerts:
            table = "workspaces" if alert.subject_id == workspace_id else "api_keys"
            values = {"percent": alert.percent, "id": alert.subject_id}
            sql = f"UPDATE {table} SET alerted_percent = :percent WHERE id = :id"  # noqa: S608
            self.statements.execute(sql, values)
        same = {"month": self.month, "workspace_id": workspace_id, "now": self.now}
        self.statements.execute_many(_INSERT_ALERT, [{**asdict(alert), **same} for alert in alerts])
        return tuple(alerts)

    def _find_alerts(self, row: Row) -> list[Alert]:
        return [
            Alert(row["id"], percent, row["budget"], row["spent"])
            for percent in ALERT_PERCENTS
            if row["alerted_percent"] < percent and row["spent"] * 100 >= percent * row["budget"]
        ]

    def _note_reserved(self, step: Reserve, moment: int) -> None:
        owner = step.owner
        leased = owner.has_lease
        self.reservations.append(
            (
                step.run_id,
                step.workspace_id,
                step.key_id,
                step.credits,
                self.month,
                moment + self.lease.seconds if leased else NEVER,
                moment,
                owner.owner_kind,
                owner.owner_id,
                self.lease.process_id if leased else None,
            )
        )
        self._note(step, "reserve", -step.credits)

    def _note_ended(self, step: End | Expire | Release, back: int, charge: int) -> None:
        if isinstance(step, Release):  # there was no run, so there is no usage
            self._note(step, "refund", back, "client left before admission")
            return
        refunded = isinstance(step, Expire) or step.status == "failed"
        note = "lease expired" if isinstance(step, Expire) else None
        self._note(step, "refund" if refunded else "settle", back, note)
        if isinstance(step, Expire):
            step = End(step.run_id, step.workspace_id, step.key_id, "failed")
        self.note_usage(step, charge)

    def note(
        self, workspace_id: str, key_id: str, kind: str, reference: str, credits: int, note: str
    ) -> None:
        """Add an entry to the ledger."""
        self.ledger.append((workspace_id, kind, reference, credits, key_id, note, self.now))

    def _note(
        self, step: Reserve | End | Expire | Release, kind: str, credits: int, note: str | None = None
    ) -> None:
        self.ledger.append((step.workspace_id, kind, step.run_id, credits, step.key_id, note, self.now))

    def note_usage(self, step: End, charge: int) -> None:
        self.usage.append(
            (
                step.run_id,
                step.workspace_id,
                step.key_id,
                step.persona_id,
                step.persona_version,
                step.personas,
                step.status,
                step.input_tokens,
                step.output_tokens,
                charge,
                step.milliseconds,
                self.now,
                step.operation,
                step.model,
                step.upstream_nanos,
                step.end_user_digest,
                step.upstream_currency,
                step.request_id,
                step.error_code,
                1,
            )
        )
        self.used.append(
            UsedRun(
                step.workspace_id,
                self.now,
                step.key_id,
                step.persona_id or "",
                step.operation or "",
                step.model or "",
                step.upstream_currency or "",
                step.status == "failed",
                step.input_tokens,
                step.output_tokens,
                charge,
                step.milliseconds,
                step.upstream_nanos or 0,
            )
        )


# A clock that steps back does not begin a month again that was over for the last writer.
_SPENT = "CASE WHEN spent_month >= :month THEN spent ELSE 0 END"
_SET_SPENT = f"""
       spent = {_SPENT} + :spent,
       alerted_percent = CASE WHEN spent_month >= :month THEN alerted_percent ELSE 0 END,
       spent_month = CASE WHEN spent_month > :month THEN spent_month ELSE :month END"""


# A refund always succeeds. Taking credits fails if the balance or the budget falls short.
@cache
def _take_from_workspace(moment_sql: str) -> str:
    return f"""
UPDATE workspaces
   SET balance = balance - :credits,{_SET_SPENT}
 WHERE id = :id
   AND (:credits <= 0 OR unlimited = 1 OR balance >= :needed)
   AND (:spent <= 0 OR budget IS NULL OR {_SPENT} + :needed_spent <= budget)
RETURNING id, budget, spent, alerted_percent, reporting_zone, {moment_sql} AS moment
"""  # noqa: S608


_REFUSED_BY = f"""
SELECT balance, budget, {_SPENT} AS spent
  FROM workspaces
 WHERE id = :id
"""  # noqa: S608

_SPEND_BY_KEY = f"""
UPDATE api_keys
   SET {_SET_SPENT}
 WHERE id = :id
   AND (:spent <= 0 OR budget IS NULL OR {_SPENT} + :needed_spent <= budget)
RETURNING id, budget, spent, alerted_percent
"""  # noqa: S608

_RESERVATIONS = """
reservations (run_id, workspace_id, key_id, credits, month, expires_at,
              created_at, owner_kind, owner_id, process_id)"""
_LEDGER = "ledger (workspace_id, kind, reference, credits, key_id, note, created_at)"
_USAGE = """
usage (run_id, workspace_id, key_id, persona_id, persona_version, personas, status,
       input_tokens, output_tokens, credits, milliseconds, created_at,
       operation, model, upstream_nanos, end_user_digest, upstream_currency,
       request_id, error_code, rolled)"""

_DRAW = """
UPDATE reservations
   SET credits = credits - :credits
 WHERE run_id = :id AND owner_kind = 'block' AND process_id = :process_id AND credits >= :credits
RETURNING run_id
"""
_TRIM = """
UPDATE reservations
   SET credits = credits - :credits, recall = 2
 WHERE run_id = :id AND owner_kind = 'block' AND process_id = :process_id AND credits >= :credits
RETURNING month
"""
_BLOCKS = """
SELECT key_id, credits
  FROM reservations
 WHERE workspace_id = :id AND owner_kind = 'block' AND month = :month
"""
_BUDGET_OF_WORKSPACE = f"""
SELECT id, budget, {_SPENT} AS spent, alerted_percent, reporting_zone
  FROM workspaces
 WHERE id = :id
"""  # noqa: S608
_BUDGETS_OF_KEYS = f"""
SELECT id, budget, {_SPENT} AS spent, alerted_percent
  FROM api_keys
 WHERE id IN (:names) AND budget IS NOT NULL
"""  # noqa: S608

_INSERT_ALERT = """
INSERT INTO alerts (subject_id, month, percent, workspace_id, budget, spent, created_at)
VALUES (:subject_id, :month, :percent, :workspace_id, :budget, :spent, :now)
ON CONFLICT (subject_id, month, percent) DO NOTHING
"""
