"""
Hold credits before a run, charge them when it has ended, and refund them if it failed.

    reserve → run → end (completed, cancelled: the price · failed: nothing)
       │         ↘ the process dies → its lease runs out → any process refunds it
       ↘ the caller is cancelled → the reservation is released at once

A process renews the lease for as long as the run lives in it, so a lease can be short. Steps that arrive at
the same time are committed together, and each call returns once its step is durable.

Every reservation has a living owner. `look` checks that: it compares this process's reservations in the
database with the runs that live here.
"""

import asyncio
import contextlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Self

import structlog

from mavera.accounts import workspaces
from mavera.accounts.credits.blocks import LOOK_SECONDS, Blocks
from mavera.accounts.credits.days import FOLDED_AT_ONCE, fold_usage
from mavera.accounts.credits.ledger import (
    Charged,
    CloseBlock,
    Draw,
    End,
    Expire,
    Lease,
    Release,
    Reserve,
    Step,
    apply_steps,
)
from mavera.accounts.plans import month_of
from mavera.core.background import stop
from mavera.core.ids import new_cuid
from mavera.errors import APIError, BudgetExceeded, CreditsExhausted
from mavera.storage.database import Conflict, Database, Row, Statements
from mavera.storage.group_commit import GroupCommit
from mavera.storage.moment import Clock, moment_of

LEASE_SECONDS = 60
SWEEPS_PER_LEASE = 6
_EXPIRED_AT_ONCE = 500
_FOLDS_A_SWEEP = 20

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Holdings:
    """
    The state of the reservations, as of one look at the database.

    `ownerless` counts reservations of this process that none of its runs owns. `expired` counts those of
    any process whose lease has run out. `oldest_seconds` is the age of the oldest run's reservation.
    """

    ownerless: int = 0
    expired: int = 0
    oldest_seconds: int = 0


class Credits:
    """
    `clock` returns Unix seconds. Without it, leases on Postgres go by the database's clock.

    `on_look` is called with each new count of the reservations, a few times in each lease.
    With `living`, which returns the number of living processes, keys that ask often get blocks of credits.
    """

    def __init__(
        self,
        database: Database,
        *,
        lease_seconds: int = LEASE_SECONDS,
        clock: Clock | None = None,
        on_look: Callable[[Holdings], None] = lambda _: None,
        living: Callable[[], int] | None = None,
        process_id: str | None = None,
    ) -> None:
        self._database = database
        self._moment = moment_of(database, clock)
        self._lease = Lease(process_id or new_cuid(), lease_seconds, self._moment.sql)
        self._commits = GroupCommit[Step, Charged](
            database, self._apply, must_last=_must_last, undo=_undo, may_linger=_may_linger
        )
        self._blocks: Blocks | None = None
        if living is not None:
            self._blocks = Blocks(
                database,
                self._commits,
                self._lease,
                moment=self._moment,
                month=lambda: month_of(self._moment.now),
                living=living,
                on_charged=self._log_alerts,
            )
        self._block_looker: asyncio.Task[None] | None = None
        self._held: set[str] = set()
        self._ancestors: dict[str, tuple[str, ...]] = {}
        self._owners: Collection[str] | None = None
        self._on_look = on_look
        self._sweeper: asyncio.Task[None] | None = None

    def watch(self, owners: Collection[str]) -> None:
        """Renew only the leases of `owners`, the ids of the runs that live here."""
        self._owners = owners

    async def __aenter__(self) -> Self:
        self._sweeper = asyncio.create_task(self._sweep_for_ever())
        if self._blocks is not None:
            self._block_looker = asyncio.create_task(self._look_at_blocks(self._blocks))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Stop sweeping, and wait for the commits that are under way."""
        try:
            for task in (self._sweeper, self._block_looker):
                await stop(task)
            if self._blocks is not None:
                await self._blocks.close()
        finally:
            await self._commits.close()

    async def reserve(self, step: Reserve) -> None:
        """
        Hold credits for a run. A second call for the same run changes nothing.

        Raises CreditsExhausted or BudgetExceeded. If it raises anything, or is cancelled, nothing is held.
        A commit that comes after the cancellation is reversed. Give each try its own `run_id`.
        """
        if self._blocks is not None and step.hold is None and self._blocks.try_hold(step):
            return
        if step.ends_with_process:
            self._held.add(step.run_id)
        try:
            await self._reserve(step)
        except BaseException:
            self._held.discard(step.run_id)
            raise

    async def end(self, step: End) -> int:
        """
        Charge a run, or refund one that failed, and return its price.

        Only the first end of a run counts. Every other one returns 0 and changes nothing.
        """
        self._held.discard(step.run_id)
        if self._blocks is not None and self._blocks.owns(step.run_id):
            return (await self._blocks.end(step)).credits
        charged = await self._commits.do(step)
        self._log_alerts(charged)
        return charged.credits

    async def write_due(self) -> None:
        """Write the charges of this process that are due, so that whoever reads the usage finds them."""
        if self._blocks is not None:
            await self._blocks.write_due()

    def _log_alerts(self, charged: Charged) -> None:
        for alert in charged.alerts:
            log.warning(
                "budget_alert",
                subject=alert.subject_id,
                percent=alert.percent,
                budget=alert.budget,
                spent=alert.spent,
            )

    async def sweep(self) -> int:
        """
        Renew the leases of living runs, refund expired leases of all processes, and grant due credits.

        Also add runs of earlier releases to the sums of their days.
        """
        await self._renew()
        if self._blocks is not None:
            await self._blocks.renew()
        expired = await self._database.fetch_all(
            f"""
            SELECT run_id, workspace_id, key_id, owner_kind
              FROM reservations
             WHERE owner_kind IN ('run', 'block') AND expires_at <= {self._moment.sql}
             ORDER BY run_id
             LIMIT :most
            """,  # noqa: S608 - the clock is ours
            now=self._moment.now,
            most=_EXPIRED_AT_ONCE,
        )
        await asyncio.gather(*(self._commits.do(_make_expiry(row)) for row in expired))
        if expired:
            log.warning("leases_expired", runs=len(expired))
        await workspaces.grant_all_due(self._database, now=self._moment.now)
        for _ in range(_FOLDS_A_SWEEP):
            if await fold_usage(self._database) < FOLDED_AT_ONCE:
                break
        await self.look()
        return len(expired)

    async def look(self) -> Holdings:
        """Count the reservations, and log an error if some have no owner."""
        # A run whose end is being written still has its row. It may move between these places meanwhile,
        # so the living are listed before and after the query.
        known = self._list_living()
        rows = await self._database.fetch_all(
            f"""
            SELECT run_id, process_id, expires_at, {self._moment.sql} AS moment
              FROM reservations
             WHERE owner_kind = 'run'
               AND (process_id = :process_id OR expires_at <= {self._moment.sql})
            """,  # noqa: S608
            now=self._moment.now,
            process_id=self._lease.process_id,
        )
        known |= self._list_living()
        oldest = await self._database.fetch_one(
            f"""
            SELECT {self._moment.sql} - MIN(created_at) AS age
              FROM reservations
             WHERE owner_kind = 'run'
            """,  # noqa: S608
            now=self._moment.now,
        )
        mine = [row["run_id"] for row in rows if row["process_id"] == self._lease.process_id]
        holdings = Holdings(
            ownerless=sum(run_id not in known for run_id in mine),
            expired=sum(row["expires_at"] <= row["moment"] and row["run_id"] not in mine for row in rows),
            oldest_seconds=max(0, (oldest and oldest["age"]) or 0),
        )
        if holdings.ownerless:
            log.error("reservations_without_owner", number=holdings.ownerless)
        self._on_look(holdings)
        return holdings

    def _list_living(self) -> set[str]:
        """Return the runs that own a reservation here, or whose end is not written yet."""
        owners = self._held if self._owners is None else self._owners
        return {*owners, *(step.run_id for step in self._commits.iterate_unfinished())}

    async def _renew(self) -> None:
        owners = self._held if self._owners is None else self._owners
        renewed = [
            {"run_id": run_id, "seconds": self._lease.seconds, "now": self._moment.now}
            for run_id in sorted(self._held.intersection(owners))
        ]
        await self._database.execute_many(
            f"UPDATE reservations SET expires_at = {self._moment.sql} + :seconds WHERE run_id = :run_id",  # noqa: S608
            renewed,
        )

    async def _reserve(self, step: Reserve) -> None:
        try:
            await self._commits.do(step)
        except Conflict:
            return  # the ledger already has the reservation of this run
        except (CreditsExhausted, BudgetExceeded) as refusal:
            if isinstance(refusal, CreditsExhausted) and await self._has_after_all(step):
                with contextlib.suppress(CreditsExhausted):  # the credits may be in blocks
                    await self._commits.do(step)
                    return
            if not await self._call_back(step):
                raise
            await self._commits.do(step)

    async def _call_back(self, step: Reserve) -> bool:
        """Return whether blocks of this process had credits, which the workspace has again."""
        return self._blocks is not None and await self._blocks.call_back(step.workspace_id)

    async def _has_after_all(self, step: Reserve) -> bool:
        """Grant the month's credits if that has not been done, and check the balance again."""
        now = self._moment.now
        await workspaces.grant_due(self._database, step.workspace_id, now=now)
        workspace = await workspaces.get(self._database, step.workspace_id, now=now)
        return workspace.balance >= step.credits

    def _apply(self, statements: Statements, steps: Sequence[Step]) -> list[Charged | APIError]:
        return apply_steps(
            statements, steps, now=self._moment.now, lease=self._lease, ancestors=self._ancestors
        )

    async def _look_at_blocks(self, blocks: Blocks) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await blocks.look()
            except APIError as error:
                log.warning("blocks_not_looked_at", reason=error.message)
            except Exception as error:
                log.exception("blocks_not_looked_at", error=type(error).__name__)

    async def _sweep_for_ever(self) -> None:
        while True:
            try:
                await self.sweep()
            except APIError as error:
                log.warning("sweep_failed", reason=error.message)
            except Exception as error:
                # Without the next sweep, every run here would lose its lease.
                log.exception("sweep_failed", error=type(error).__name__)
            await asyncio.sleep(self._lease.seconds / SWEEPS_PER_LEASE)


def _make_expiry(row: Row) -> Expire | CloseBlock:
    """Return the step that gives back what a process held that is gone."""
    place = (row["run_id"], row["workspace_id"], row["key_id"])
    return CloseBlock(*place, expired=True) if row["owner_kind"] == "block" else Expire(*place)


def _must_last(step: Step) -> bool:
    """
    A charge has to survive a power cut. A reservation ends with its run.

    Charges of a block are answered before they are written, so they may be lost in any case.
    """
    return not isinstance(step, Reserve | Draw)


def _may_linger(step: Step) -> bool:
    """Nobody waits for the charges of a block."""
    return isinstance(step, Draw)


def _undo(step: Step) -> Step | None:
    """Release the reservation of a caller that was cancelled. A charge is due in any case."""
    if isinstance(step, Reserve):
        return Release(step.run_id, step.workspace_id, step.key_id)
    return None
