"""
Hold the credits of many runs in one reservation of this process: a block.

    reserve   enough is free in a block of the key → held in memory, without the database
    end       the price is taken from the block: one row of usage, written soon, in a batch with others
    close     what no run used goes back to the workspace

A process takes a block only for a key that asks often, and only while the balance and each budget concerned
exceed ten blocks for each living process. Below that, holds are single, so the last credits are given out
exactly. A block that is in the way is called back: another process marks its row, and the owner returns what
no run holds.

A block has a lease. Its owner renews it, and stops using it half a lease after the last renewal by its
monotonic clock. Then another process may give it back, and its owner's late charges change nothing, because
the id of a block is never used again.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import structlog

from mavera.accounts.credits.ledger import (
    Charged,
    CloseBlock,
    Draw,
    End,
    Hold,
    Lease,
    Reserve,
    Step,
    TrimBlock,
)
from mavera.core.ids import new_cuid
from mavera.errors import APIError, ServiceUnavailable
from mavera.storage.database import Database
from mavera.storage.group_commit import GroupCommit
from mavera.storage.moment import Moment

LEAST_CREDITS, MOST_CREDITS = 100, 10_000
# The balance and each budget exceed this many blocks for each living process.
MARGIN_BLOCKS = 10
# A key gets a block after so many single holds within a second.
BUSY_HOLDS = 8
# A block that was used up sooner is followed by one of twice the size.
SHORT_SECONDS = 1.0
IDLE_SECONDS = 5.0
LOOK_SECONDS = 0.5
RETRY_SECONDS = 0.5
# A reader of the usage waits so long for the charges that are due.
MOST_WAIT_SECONDS = 1.0
# A key whose balance or budget was too small for a block asks again after this.
REFUSED_SECONDS = 2.0

log = structlog.get_logger()


@dataclass(slots=True)
class _Block:
    """`free` credits belong to no run. `owed` counts runs that hold some, and charges not written yet."""

    id: str
    workspace_id: str
    key_id: str
    month: int
    free: int
    usable_until: float
    taken_at: float
    used_at: float
    owed: int = 0
    is_recalled: bool = False


@dataclass(slots=True)
class _Demand:
    """How often a key asks, and the size of its next block."""

    since: float = 0.0
    holds: int = 0
    size: int = LEAST_CREDITS
    is_asking: bool = False
    not_before: float = 0.0


class Blocks:
    """`living` returns the number of living processes. `clock` must be monotonic."""

    def __init__(
        self,
        database: Database,
        commits: GroupCommit[Step, Charged],
        lease: Lease,
        *,
        moment: Moment,
        month: Callable[[], int],
        living: Callable[[], int],
        on_charged: Callable[[Charged], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._commits = commits
        self._lease = lease
        self._moment = moment
        self._month = month
        self._living = living
        self._on_charged = on_charged
        self._clock = clock
        self._blocks: dict[str, _Block] = {}
        self._by_key: defaultdict[str, list[_Block]] = defaultdict(list)
        self._demand: defaultdict[str, _Demand] = defaultdict(_Demand)
        self._runs: dict[str, tuple[_Block, int]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.uncharged = 0
        """Finished runs whose charge was refused, because their block was gone."""

    @property
    def run_ids(self) -> set[str]:
        """The runs that hold credits of a block."""
        return set(self._runs)

    def try_hold(self, step: Reserve) -> bool:
        """Hold the credits of a run in a block, if one of its key has enough."""
        now = self._clock()
        month = self._month()
        for block in reversed(self._by_key.get(step.key_id, ())):
            usable = block.usable_until > now and not block.is_recalled and block.month == month
            if usable and block.free >= step.credits and block.workspace_id == step.workspace_id:
                block.free -= step.credits
                block.owed += 1
                block.used_at = now
                self._runs[step.run_id] = (block, step.credits)
                demand = self._demand[step.key_id]
                if block.free < demand.size // 4:
                    self._ask_for_block(step, demand, now)
                return True
        self._note_single_hold(step, now)
        return False

    def owns(self, run_id: str) -> bool:
        return run_id in self._runs

    def release(self, run_id: str) -> None:
        """Forget the hold of a run that did not begin."""
        block, held = self._runs.pop(run_id)
        block.free += held
        self._settle(block)

    async def end(self, step: End) -> Charged:
        """
        Charge a run, and return its price.

        The charge is written soon after. If the price exceeds what the block has, this waits for the
        charge, which takes the rest from the balance only if that allows it.
        """
        block, held = self._runs.pop(step.run_id)
        from_block = min(step.credits, held)
        more = min(step.credits - from_block, block.free)
        block.free += held - from_block - more
        draw = Draw(step, block.id, from_block + more)
        if draw.from_block < step.credits:
            return await self._commit(draw, block)
        self._start(self._commit_patiently(draw, block))
        return Charged(step.credits)

    async def renew(self) -> None:
        """Renew the leases of all blocks. Raises APIError."""
        before = self._clock()
        for block in list(self._blocks.values()):
            renewed = await self._database.execute(
                f"""
                UPDATE reservations SET expires_at = {self._moment.sql} + :seconds
                 WHERE run_id = :run_id AND process_id = :process_id
                """,  # noqa: S608 - the clock is ours
                seconds=self._lease.seconds,
                now=self._moment.now,
                run_id=block.id,
                process_id=self._lease.process_id,
            )
            if renewed:
                block.usable_until = before + self._lease.seconds / 2
            else:
                self._forget(block)

    async def look(self) -> None:
        """Give back the blocks that nobody uses, and what other processes ask for. Raises APIError."""
        now, month = self._clock(), self._month()
        for block in list(self._blocks.values()):
            is_idle = now - block.used_at > IDLE_SECONDS or block.free < LEAST_CREDITS // 10
            if not block.owed and (is_idle or block.is_recalled or block.month != month):
                await self._close(block)
        if not self._blocks:
            return
        rows = await self._database.fetch_all(
            """
            SELECT run_id FROM reservations
             WHERE process_id = :process_id AND owner_kind = 'block' AND recall = 1
            """,
            process_id=self._lease.process_id,
        )
        for row in rows:
            recalled = self._blocks.get(row["run_id"])
            if recalled is not None:
                await self._trim(recalled)

    async def call_back(self, workspace_id: str) -> bool:
        """
        Give back the free credits of this process's blocks, and ask other processes for theirs.

        Returns whether anything was free here. Raises ServiceUnavailable if another process still has to
        give back, and APIError.
        """
        mine = [
            block
            for block in self._blocks.values()
            if block.workspace_id == workspace_id and not block.is_recalled
        ]
        for block in mine:
            await self._trim(block)
        if mine:
            return True
        await self._database.execute(
            """
            UPDATE reservations SET recall = 1
             WHERE workspace_id = :workspace_id AND owner_kind = 'block' AND recall = 0
            """,
            workspace_id=workspace_id,
        )
        row = await self._database.fetch_one(
            """
            SELECT COUNT(*) AS blocks FROM reservations
             WHERE workspace_id = :workspace_id AND owner_kind = 'block' AND recall < 2
            """,
            workspace_id=workspace_id,
        )
        if row is not None and row["blocks"]:
            raise ServiceUnavailable(
                "Credits of this workspace are being called back from another server. Retry in a second.",
                retry_after=1,
            )
        return False

    async def write_due(self) -> None:
        """Write the charges that are due now, so that a reader sees them. It waits a second at most."""
        if self._tasks:
            self._commits.hurry()
            await asyncio.wait(set(self._tasks), timeout=MOST_WAIT_SECONDS)

    async def close(self) -> None:
        """Write the charges that are due, and give all blocks back."""
        while self._tasks:
            await asyncio.wait(set(self._tasks), timeout=5)
            if any(not task.done() for task in self._tasks):
                break  # the database is away, and the leases of the blocks will run out
        for block in list(self._blocks.values()):
            try:
                await self._close(block)
            except APIError as error:
                log.warning("block_left_to_lease", block=block.id, reason=error.message)

    def _note_single_hold(self, step: Reserve, now: float) -> None:
        demand = self._demand[step.key_id]
        if now - demand.since > 1.0:
            demand.since, demand.holds = now, 0
        demand.holds += 1
        if demand.holds >= BUSY_HOLDS:
            self._ask_for_block(step, demand, now)

    def _ask_for_block(self, step: Reserve, demand: _Demand, now: float) -> None:
        if demand.is_asking or now < demand.not_before:
            return
        demand.is_asking = True
        self._start(self._take(step.workspace_id, step.key_id, demand))

    async def _take(self, workspace_id: str, key_id: str, demand: _Demand) -> None:
        now = self._clock()
        latest = self._by_key[key_id][-1] if self._by_key.get(key_id) else None
        if latest is not None and now - latest.taken_at < SHORT_SECONDS:
            demand.size = min(2 * demand.size, MOST_CREDITS)
        size, block_id = demand.size, new_cuid()
        hold = Hold("block", self._lease.process_id)
        margin = size * (MARGIN_BLOCKS * max(1, self._living()) - 1)
        month = self._month()
        try:
            await self._commits.do(Reserve(block_id, workspace_id, key_id, size, hold, margin))
        except APIError:
            demand.size = max(demand.size // 2, LEAST_CREDITS)
            demand.not_before = self._clock() + REFUSED_SECONDS
        else:
            until = now + self._lease.seconds / 2
            block = _Block(block_id, workspace_id, key_id, month, size, until, self._clock(), self._clock())
            self._blocks[block_id] = block
            self._by_key[key_id].append(block)
        finally:
            demand.is_asking = False

    async def _commit_patiently(self, draw: Draw, block: _Block) -> None:
        try:
            await self._commit(draw, block)
        except APIError as error:
            self.uncharged += 1
            log.error("run_left_uncharged", run=draw.end.run_id, reason=error.message)

    async def _commit(self, draw: Draw, block: _Block) -> Charged:
        """Write a charge. While the database is away, try again as long as the block may live."""
        try:
            while True:
                try:
                    charged = await self._commits.do(draw)
                    break
                except ServiceUnavailable:
                    if self._clock() > block.usable_until + self._lease.seconds / 2:
                        raise
                    await asyncio.sleep(RETRY_SECONDS)
        finally:
            self._settle(block)
        self._on_charged(charged)
        if charged.is_refused:
            self.uncharged += 1
            self._forget(block)
            log.error("run_left_uncharged", run=draw.end.run_id, reason="its block of credits was gone")
        return charged

    def _settle(self, block: _Block) -> None:
        block.owed -= 1

    async def _trim(self, block: _Block) -> None:
        """Return what no run holds, and stop using the block."""
        free, block.free, block.is_recalled = block.free, 0, True
        try:
            await self._commits.do(TrimBlock(block.id, block.workspace_id, block.key_id, free))
        except APIError:
            block.free, block.is_recalled = free, False
            raise

    async def _close(self, block: _Block) -> None:
        self._forget(block)
        await self._commits.do(CloseBlock(block.id, block.workspace_id, block.key_id))

    def _forget(self, block: _Block) -> None:
        self._blocks.pop(block.id, None)
        if block in (blocks := self._by_key.get(block.key_id, [])):
            blocks.remove(block)
        block.is_recalled = True

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
