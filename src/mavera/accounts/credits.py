"""
Credits: held before a run, charged when it has ended, given back where it did not.

    reserve → run → end (completed, cancelled: the price · failed: nothing)
                 ↘ the process dies → its lease runs out → any process refunds it

A lease is renewed for as long as the run lives here, so it may be short. What is done
at the same time is committed together; each call returns once its part is durable.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from typing import Self

import structlog

from mavera.accounts import workspaces
from mavera.accounts.ledger import Charged, End, Expire, Reserve, Step, apply_steps
from mavera.errors import APIError, CreditsExhausted
from mavera.storage.database import Conflict, Database, Statements
from mavera.storage.group_commit import GroupCommit

LEASE_SECONDS = 60
SWEEPS_PER_LEASE = 6
_EXPIRED_AT_ONCE = 500

log = structlog.get_logger()


class Credits:
    """`clock` tells Unix seconds."""

    def __init__(
        self,
        database: Database,
        *,
        lease_seconds: int = LEASE_SECONDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._lease_seconds = lease_seconds
        self._clock = clock
        self._commits = GroupCommit[Step, Charged](database, self._apply, must_last=_must_last)
        self._held: set[str] = set()
        self._ancestors: dict[str, tuple[str, ...]] = {}
        self._sweeper: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._sweeper = asyncio.create_task(self._sweep_for_ever())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._sweeper is not None:
            self._sweeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._sweeper
        await self._commits.close()

    async def reserve(self, step: Reserve) -> None:
        """
        Hold credits for a run; a second time for the same run changes nothing.

        Raises CreditsExhausted or BudgetExceeded, and then nothing is held.
        """
        self._held.add(step.run_id)
        try:
            await self._reserve(step)
        except APIError:
            self._held.discard(step.run_id)
            raise

    async def end(self, step: End) -> int:
        """
        Charge a run, or refund one that failed, and return what it cost.

        The first end of a run counts, every other one returns 0 and changes nothing.
        """
        self._held.discard(step.run_id)
        charged = await self._commits.do(step)
        for alert in charged.alerts:
            log.warning(
                "budget_alert",
                subject=alert.subject_id,
                percent=alert.percent,
                budget=alert.budget,
                spent=alert.spent,
            )
        return charged.credits

    async def sweep(self) -> int:
        """Renew the leases of the runs in here, refund those that ran out anywhere, and grant what is due."""
        now = int(self._clock())
        renewed = [{"run_id": run_id, "until": now + self._lease_seconds} for run_id in sorted(self._held)]
        await self._database.execute_many(
            "UPDATE reservations SET expires_at = :until WHERE run_id = :run_id", renewed
        )
        expired = await self._database.fetch_all(
            """
            SELECT run_id, workspace_id, key_id
              FROM reservations
             WHERE expires_at <= :now
             ORDER BY run_id
             LIMIT :most
            """,
            now=now,
            most=_EXPIRED_AT_ONCE,
        )
        await asyncio.gather(*(self._commits.do(Expire(**row)) for row in expired))
        if expired:
            log.warning("leases_expired", runs=len(expired))
        await workspaces.grant_all_due(self._database, now=now)
        return len(expired)

    async def _reserve(self, step: Reserve) -> None:
        try:
            await self._commits.do(step)
        except Conflict:
            return  # The ledger has it: this run holds its credits already.
        except CreditsExhausted:
            if not await self._has_after_all(step):
                raise
            await self._commits.do(step)

    async def _has_after_all(self, step: Reserve) -> bool:
        """Say whether the month's credits, which come with the first need of them, are enough."""
        now = int(self._clock())
        await workspaces.grant_due(self._database, step.workspace_id, now=now)
        workspace = await workspaces.get(self._database, step.workspace_id, now=now)
        return workspace.balance >= step.credits

    def _apply(self, statements: Statements, steps: Sequence[Step]) -> list[Charged | APIError]:
        return apply_steps(
            statements,
            steps,
            now=int(self._clock()),
            lease_seconds=self._lease_seconds,
            ancestors=self._ancestors,
        )

    async def _sweep_for_ever(self) -> None:
        while True:
            try:
                await self.sweep()
            except APIError as error:
                log.warning("sweep_failed", reason=error.message)
            await asyncio.sleep(self._lease_seconds / SWEEPS_PER_LEASE)


def _must_last(step: Step) -> bool:
    """A charge has to outlive a power cut; what is held dies with the run that holds it."""
    return not isinstance(step, Reserve)
