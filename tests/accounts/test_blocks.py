"""Credits in blocks: fewer writes, and exactly the same credits."""

import asyncio
import functools
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from mavera.accounts import workspaces
from mavera.accounts.credits.blocks import LEAST_CREDITS, MARGIN_BLOCKS
from mavera.accounts.credits.holds import Credits
from mavera.accounts.credits.ledger import Alert
from mavera.errors import BudgetExceeded, CreditsExhausted, ServiceUnavailable
from mavera.storage import group_commit
from mavera.storage.database import Database
from tests.support.house import Bank, admitted, bank, outcomes
from tests.support.opening import Open

PLENTY = 100 * LEAST_CREDITS * MARGIN_BLOCKS


def on_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    @functools.wraps(test)
    def run(*given: Any, **named: Any) -> None:
        asyncio.run(test(*given, **named))

    return run


@dataclass
class Processes:
    """Processes on one database, each with blocks, and the bank to look at it."""

    bank: Bank
    credits: list[Credits]
    databases: list[Database]

    async def count_blocks(self) -> int:
        row = await self.bank.one("SELECT COUNT(*) AS n FROM reservations WHERE owner_kind = 'block'")
        return int(row["n"])

    async def give_block(self, number: int = 0) -> None:
        """Let a process hold so much at once that it takes a block."""
        blocks = self.credits[number]._blocks
        assert blocks is not None
        for _ in range(20):
            held = [self.bank.reserve() for _ in range(20)]
            await asyncio.gather(*(self.credits[number].reserve(one) for one in held))
            await asyncio.gather(*(self.credits[number].end(self.bank.end(one)) for one in held))
            while blocks._tasks:
                await asyncio.wait(set(blocks._tasks))
            if blocks._blocks:
                return
        pytest.fail("no block was taken")


@asynccontextmanager
async def processes(opened: Open, credits: int, number: int = 2, **new: Any) -> AsyncIterator[Processes]:
    async with bank(opened, credits, **new) as b, AsyncExitStack() as stack:
        databases = [await stack.enter_async_context(opened()) for _ in range(number)]
        services = [
            await stack.enter_async_context(Credits(database, clock=b.clock, living=lambda: number))
            for database in databases
        ]
        yield Processes(b, services, databases)


@on_loop
async def test_most_holds_of_a_busy_key_need_no_write(opened: Open) -> None:
    async with processes(opened, PLENTY, 1) as p:
        await p.give_block()
        rows_before = (await p.bank.one("SELECT COUNT(*) AS n FROM ledger"))["n"]
        held = [p.bank.reserve() for _ in range(20)]
        for one in held:
            await p.credits[0].reserve(one)
            assert await p.credits[0].end(p.bank.end(one, 2)) == 2
        assert (await p.bank.one("SELECT COUNT(*) AS n FROM ledger"))["n"] == rows_before
    # After the end of the process, every run has its row, and the books add up.


@on_loop
async def test_a_reader_of_the_usage_finds_every_run_that_ended(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with processes(opened, PLENTY, 1) as p:
        await p.give_block()
        before = (await p.bank.one("SELECT COUNT(*) AS n FROM usage"))["n"]
        monkeypatch.setattr(group_commit, "LINGER_SECONDS", 60)
        held = [p.bank.reserve() for _ in range(5)]
        for one in held:
            await p.credits[0].reserve(one)
            await p.credits[0].end(p.bank.end(one, 2))
        await p.credits[0].write_due()
        assert (await p.bank.one("SELECT COUNT(*) AS n FROM usage"))["n"] == before + 5


@on_loop
async def test_each_run_has_its_row_of_usage_and_the_books_add_up(opened: Open) -> None:
    async with bank(opened, PLENTY) as b:
        async with Credits(b.database, clock=b.clock, living=lambda: 1) as credits:
            runs = [b.reserve(credits=2) for _ in range(300)]
            for start in range(0, 300, 20):
                some = runs[start : start + 20]
                await asyncio.gather(*(credits.reserve(one) for one in some))
                prices = [n % 4 for n in range(20)]  # a failed run costs nothing, a dear one more than held
                charged = await asyncio.gather(
                    *(credits.end(b.end(one, price)) for one, price in zip(some, prices, strict=True))
                )
                assert charged == prices
            assert await b.one("SELECT 1 AS x FROM reservations WHERE owner_kind = 'block'")
        used = await b.one("SELECT COUNT(*) AS n, SUM(credits) AS s FROM usage")
        assert (used["n"], int(used["s"])) == (300, 15 * 30)
        assert await b.balance() == PLENTY - 15 * 30
        await b.check_books()


@on_loop
async def test_two_hundred_at_once_against_credit_for_ten_admit_exactly_ten(opened: Open) -> None:
    async with processes(opened, 10, 2) as p:
        results = await outcomes(*(p.credits[n % 2].reserve(p.bank.reserve()) for n in range(200)))
        assert admitted(results) == 10
        assert all(isinstance(one, CreditsExhausted) for one in results if one is not None)
        assert await p.count_blocks() == 0


@on_loop
async def test_credits_in_blocks_are_given_out_to_the_last_one(opened: Open) -> None:
    """Two processes with blocks spend a whole balance: as much as it has, and not one credit more."""
    credit = 2 * LEAST_CREDITS * MARGIN_BLOCKS + 3 * LEAST_CREDITS
    async with processes(opened, credit, 2) as p:
        spent = busy = 0
        await p.give_block(0)
        spent += int((await p.bank.one("SELECT COUNT(*) AS n FROM usage"))["n"])
        refused = 0
        while refused < 20:
            held = [p.bank.reserve() for _ in range(40)]
            results = await outcomes(*(p.credits[n % 2].reserve(one) for n, one in enumerate(held)))
            for number, (one, result) in enumerate(zip(held, results, strict=True)):
                if result is None:
                    spent += await p.credits[number % 2].end(p.bank.end(one))
                elif isinstance(result, ServiceUnavailable):
                    assert result.retry_after is not None
                    assert result.retry_after <= 2
                    busy += 1
                else:
                    refused += 1
            for credits in p.credits:
                assert credits._blocks is not None
                await credits._blocks.look()
        for credits in p.credits:
            assert credits._blocks is not None
            await credits._blocks.close()
        assert await p.bank.balance() == credit - spent == 0
        await p.bank.check_books()


@on_loop
async def test_a_block_of_another_process_is_called_back_before_a_402(opened: Open) -> None:
    credit = 2 * LEAST_CREDITS * MARGIN_BLOCKS + LEAST_CREDITS
    async with processes(opened, credit, 2) as p:
        await p.give_block(0)
        rest = (await p.bank.one("SELECT balance AS n FROM workspaces"))["n"]
        big = p.bank.reserve(credits=rest + 1)
        with pytest.raises(ServiceUnavailable) as busy:
            await p.credits[1].reserve(big)
        assert busy.value.retry_after == 1

        owner = p.credits[0]._blocks
        assert owner is not None
        await owner.look()
        await p.credits[1].reserve(big)
        with pytest.raises(CreditsExhausted):
            await p.credits[1].reserve(p.bank.reserve(credits=credit))
        await p.credits[1].end(p.bank.end(big, 0, status="failed"))


@on_loop
async def test_no_block_is_taken_below_ten_blocks_for_each_process(opened: Open) -> None:
    async with processes(opened, LEAST_CREDITS * MARGIN_BLOCKS * 2 - 1, 2) as p:
        for _ in range(5):
            held = [p.bank.reserve() for _ in range(20)]
            await asyncio.gather(*(p.credits[0].reserve(one) for one in held))
            await asyncio.sleep(0.05)
            await asyncio.gather(*(p.credits[0].end(p.bank.end(one, 0, status="failed")) for one in held))
        assert await p.count_blocks() == 0


@on_loop
async def test_a_budget_near_its_end_allows_no_block(opened: Open) -> None:
    async with processes(opened, PLENTY, 1, budget=LEAST_CREDITS) as p:
        results = await outcomes(*(p.credits[0].reserve(p.bank.reserve()) for _ in range(200)))
        assert admitted(results) == LEAST_CREDITS
        assert all(isinstance(one, BudgetExceeded) for one in results if one is not None)
        assert await p.count_blocks() == 0


@on_loop
async def test_a_late_charge_against_a_block_that_was_given_back_is_refused(opened: Open) -> None:
    """A process that was stopped for longer than its lease charges nothing, and takes nothing twice."""
    async with bank(opened, PLENTY) as b, opened() as elsewhere:
        async with Credits(b.database, clock=b.clock, living=lambda: 1) as stopped:
            blocks = stopped._blocks
            assert blocks is not None
            p = Processes(b, [stopped], [b.database])
            await p.give_block()
            late = b.reserve()
            await stopped.reserve(late)
            assert blocks.owns(late.run_id)
            before = int((await b.one("SELECT SUM(credits) AS s FROM usage"))["s"])
            b.clock.seconds += 120
            other = Credits(elsewhere, clock=b.clock)
            await other.sweep()
            await other.close()
            assert await p.count_blocks() == 0

            await stopped.end(b.end(late))
            while blocks._tasks:
                await asyncio.wait(set(blocks._tasks))

        assert blocks.uncharged == 1
        assert await b.balance() == PLENTY - before
        await b.check_books()


@on_loop
async def test_a_killed_process_loses_its_block_to_the_workspace(opened: Open) -> None:
    async with bank(opened, PLENTY) as b, opened() as elsewhere:
        dead = Credits(b.database, clock=b.clock, living=lambda: 1)
        p = Processes(b, [dead], [b.database])
        await p.give_block()
        await dead.reserve(b.reserve())
        used = int((await b.one("SELECT SUM(credits) AS s FROM usage"))["s"])
        b.clock.seconds += 120
        other = Credits(elsewhere, clock=b.clock)
        await other.sweep()
        await other.close()

        assert await b.balance() == PLENTY - used
        await b.check_books()


@on_loop
async def test_the_shown_balance_and_spending_count_blocks_as_the_workspaces(opened: Open) -> None:
    async with processes(opened, PLENTY, 1, budget=PLENTY) as p:
        await p.give_block()
        used = int((await p.bank.one("SELECT SUM(credits) AS s FROM usage"))["s"])
        shown = await workspaces.get(p.bank.database, p.bank.workspace_id, now=int(p.bank.clock.seconds))
        assert await p.count_blocks() == 1
        assert (shown.balance, shown.spent) == (PLENTY - used, used)


@on_loop
async def test_a_budget_alert_counts_what_was_used_and_not_what_a_block_holds(opened: Open) -> None:
    budget = 4 * LEAST_CREDITS * MARGIN_BLOCKS
    async with (
        bank(opened, PLENTY, budget=budget) as b,
        Credits(b.database, clock=b.clock, living=lambda: 1) as credits,
    ):
        p = Processes(b, [credits], [b.database])
        await p.give_block()
        blocks = credits._blocks
        assert blocks is not None
        seen: list[Alert] = []
        blocks._on_charged = lambda charged: seen.extend(charged.alerts)
        used = int((await b.one("SELECT SUM(credits) AS s FROM usage"))["s"])
        while used < budget // 2:
            assert not seen
            one = b.reserve(credits=10)
            await credits.reserve(one)
            used += await credits.end(b.end(one, 10))
            while blocks._tasks:
                await asyncio.wait(set(blocks._tasks))
        row = await b.one("SELECT COUNT(*) AS n FROM alerts")
        assert row["n"] == 1
