"""Every reservation has a living owner, whenever its caller is cancelled and whatever its clock says."""

import asyncio
from typing import Any

import pytest

from mavera.accounts.credits.holds import LEASE_SECONDS, Credits, Holdings
from mavera.accounts.credits.ledger import Hold, Reserve
from mavera.accounts.idempotency import Claim, FirstResponses
from mavera.errors import StillRunning
from mavera.storage.group_commit import MAX_BATCH, GroupCommit
from mavera.storage.kept import KeptAnswers
from mavera.storage.sealing import Secrets
from tests.support.house import Bank, bank, outcomes
from tests.support.opening import Open

SECRETS = Secrets(b"a secret of thirty-two bytes here")


async def cancelled_after(steps: int, work: Any) -> None:
    """Cancel `work` when the loop has gone round `steps` times."""
    task = asyncio.ensure_future(work)
    for _ in range(steps):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task})


async def settled(b: Bank) -> None:
    await b.credits._commits.close()


@pytest.mark.parametrize("milliseconds", [None, 0, 1, 3, 10])
def test_a_cancelled_reserve_holds_nothing(opened: Open, milliseconds: int | None) -> None:
    async def main() -> None:
        async with bank(opened, 1_000) as b:
            tasks = [asyncio.ensure_future(b.credits.reserve(b.reserve(credits=2))) for _ in range(60)]
            await asyncio.sleep(0)
            if milliseconds is not None:
                await asyncio.sleep(milliseconds / 1000)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            await settled(b)
            admitted = sum(not task.cancelled() for task in tasks)
            await b.check_books(held=2 * admitted)
            assert await b.balance() == 1_000 - 2 * admitted
            assert len(b.credits._held) == admitted
            assert (await b.one("SELECT COUNT(*) AS n FROM usage"))["n"] == 0

    asyncio.run(main())


def test_a_reserve_cancelled_at_any_step_of_the_loop_holds_nothing(opened: Open) -> None:
    async def main() -> None:
        async with bank(opened, 1_000) as b:
            for steps in range(40):
                reserving = asyncio.ensure_future(b.credits.reserve(b.reserve(credits=3)))
                await cancelled_after(steps, reserving)
                await settled(b)
                if not reserving.cancelled():
                    break
                await b.check_books(held=0)
            assert await b.balance() == (1_000 if reserving.cancelled() else 997)

    asyncio.run(main())


def test_a_caller_cancelled_between_the_commit_and_its_answer_holds_nothing(opened: Open) -> None:
    async def main() -> None:
        async with bank(opened, 10) as b:
            step = b.reserve(credits=3)
            reserving = asyncio.ensure_future(b.credits.reserve(step))
            await asyncio.sleep(0)
            [(_, answer)] = b.credits._commits._waiting
            while not answer.done():  # noqa: ASYNC110 - to be at the very step after it
                await asyncio.sleep(0)
            assert not reserving.done()
            reserving.cancel()
            await asyncio.wait({reserving})
            assert reserving.cancelled()
            await settled(b)
            assert await b.balance() == 10
            await b.check_books()

    asyncio.run(main())


def test_the_end_of_a_server_waits_for_what_it_gives_back(opened: Open) -> None:
    async def main() -> None:
        async with bank(opened, 10) as b:
            async with Credits(b.database, clock=b.clock) as other:
                await cancelled_after(2, other.reserve(b.reserve(credits=3)))
            assert await b.balance() == 10
            await b.check_books()

    asyncio.run(main())


def test_a_reservation_that_no_run_owns_is_counted_and_given_back(opened: Open) -> None:
    async def main() -> None:
        async with bank(opened, 10) as b:
            owners: set[str] = set()
            b.credits.watch(owners)
            step, lost = b.reserve(credits=2), b.reserve(credits=3)
            owners.add(step.run_id)
            await b.credits.reserve(step)
            await b.credits.reserve(lost)
            b.clock.seconds += 7
            assert await b.credits.look() == Holdings(ownerless=1, oldest_seconds=7)
            b.clock.seconds += LEASE_SECONDS
            await b.credits.sweep()
            assert await b.credits.look() == Holdings(oldest_seconds=7 + LEASE_SECONDS)
            assert await b.balance() == 8
            await b.check_books(held=2)

    asyncio.run(main())


def test_an_end_that_is_being_written_is_no_reservation_without_an_owner(opened: Open) -> None:
    async def main() -> None:
        async with bank(opened, 100) as b:
            steps = [b.reserve() for _ in range(20)]
            await asyncio.gather(*(b.credits.reserve(step) for step in steps))
            ends = [asyncio.ensure_future(b.credits.end(b.end(step))) for step in steps]
            await asyncio.sleep(0)
            while not all(end.done() for end in ends):
                assert (await b.credits.look()).ownerless == 0
            await b.check_books()

    asyncio.run(main())


@pytest.mark.parametrize("kind", ["study"])
def test_what_outlives_a_process_is_not_taken_back_with_it(opened: Open, kind: Any) -> None:
    async def main() -> None:
        async with bank(opened, 100) as b:
            async with Credits(b.database, clock=b.clock) as gone:
                hold = Hold(kind, "fg_1")
                await gone.reserve(Reserve("hold1", b.workspace_id, b.key_id, 40, hold))
                await gone.reserve(b.reserve("run1", credits=5))
            b.clock.seconds += 100 * LEASE_SECONDS
            assert await b.credits.sweep() == 1, "the run's reservation expires, the other does not"
            assert await b.credits.look() == Holdings()
            await b.check_books(held=40)
            row = await b.one("SELECT owner_kind, owner_id, process_id, created_at FROM reservations")
            expected = (kind, "fg_1", None, 1_700_000_000)
            assert tuple(row.values()) == expected
            assert await b.credits.end(b.end(b.reserve("hold1"), 30)) == 30
            assert await b.balance() == 70
            await b.check_books()

    asyncio.run(main())


def test_a_reservation_of_a_server_that_knows_no_owners_expires_as_before(opened: Open) -> None:
    async def main() -> None:
        async with bank(opened, 10) as b:
            await b.credits.reserve(b.reserve("new", credits=1))
            await b.database.execute(
                """
                INSERT INTO reservations (run_id, workspace_id, key_id, credits, month, expires_at)
                SELECT 'old', workspace_id, key_id, 0, month, expires_at FROM reservations
                """
            )
            assert (await b.credits.look()).ownerless == 0
            b.clock.seconds += LEASE_SECONDS
            assert await b.credits.sweep() == 1
            await b.check_books(held=1)

    asyncio.run(main())


@pytest.mark.postgres
def test_a_server_whose_clock_is_ahead_leaves_the_runs_and_claims_of_others_alone(opened: Open) -> None:
    async def main() -> None:
        async with bank(opened, 10) as b, opened() as elsewhere:
            here, ahead = Credits(b.database), Credits(elsewhere)
            # The clock of its machine; leases have to go by the database's.
            object.__setattr__(ahead._moment, "clock", lambda: here._moment.clock() + 10 * LEASE_SECONDS)
            await here.reserve(b.reserve("here", credits=3))
            await ahead.reserve(b.reserve("ahead", credits=3))
            assert await ahead.sweep() == 0
            rows = await b.database.fetch_all("SELECT expires_at FROM reservations ORDER BY run_id")
            assert abs(rows[0]["expires_at"] - rows[1]["expires_at"]) <= 2
            await b.check_books(held=6)

            claim = Claim("workspace", "key", "once", "digest")
            kept, kept_ahead = KeptAnswers(b.database, SECRETS), KeptAnswers(elsewhere, SECRETS)
            object.__setattr__(kept_ahead._moment, "clock", ahead._moment.clock)
            assert await FirstResponses(b.database, kept).claim(claim) is None
            await kept_ahead.sweep()
            assert (await b.one("SELECT COUNT(*) AS n FROM kept_answers"))["n"] == 1
            with pytest.raises(StillRunning):
                await FirstResponses(elsewhere, kept_ahead).claim(claim)

    asyncio.run(main())


def test_a_cancelled_claim_claims_nothing(opened: Open) -> None:
    async def main() -> None:
        async with opened() as database:
            answers = FirstResponses(database, KeptAnswers(database, SECRETS))
            for steps in range(40):
                claiming = asyncio.ensure_future(
                    answers.claim(Claim("workspace", "key", f"name{steps}", "digest"))
                )
                await cancelled_after(steps, claiming)
                assert len(answers._open) == (0 if claiming.cancelled() else 1)
                row = await database.fetch_one("SELECT COUNT(*) AS n FROM kept_answers")
                assert row is not None
                assert row["n"] == len(answers._open)
                if not claiming.cancelled():
                    break

    asyncio.run(main())


@pytest.mark.parametrize("steps", [3, 6, 9, 12])
def test_a_connection_whose_task_is_cancelled_twice_has_no_transaction_open(opened: Open, steps: int) -> None:
    async def main() -> None:
        async with opened() as database:

            async def write() -> None:
                async with database.transaction() as transaction:
                    await transaction.execute("INSERT INTO milestones (name, reached_at) VALUES ('x', 1)")
                    await asyncio.sleep(60)

            for _ in range(6):  # more than the pool keeps
                task = asyncio.ensure_future(write())
                await asyncio.sleep(0.05)
                task.cancel()
                for _ in range(steps):
                    await asyncio.sleep(0)
                task.cancel()
                await asyncio.wait({task})
            async with database.transaction() as transaction:  # would say that one has begun already
                row = await transaction.fetch_one("SELECT COUNT(*) AS n FROM milestones WHERE name = 'x'")
            assert row is not None
            assert row["n"] == 0

    asyncio.run(main())


def test_one_bad_step_takes_no_other_of_its_batch_down(opened: Open) -> None:
    async def main() -> None:
        async with bank(opened, 10_000) as b:
            steps = [b.reserve() for _ in range(MAX_BATCH)]
            await asyncio.gather(*(b.credits.reserve(step) for step in steps))
            absurd = {7: 10**30, 70: -(10**19), 71: 1 << 63}
            ends = [b.end(step, input_tokens=absurd.get(n, 5)) for n, step in enumerate(steps)]
            results = await outcomes(*(b.credits.end(end) for end in ends))
            failed = {n for n, result in enumerate(results) if isinstance(result, Exception)}
            assert failed == set(absurd)
            assert all(result == 1 for n, result in enumerate(results) if n not in absurd)
            assert await b.balance() == 10_000 - MAX_BATCH

    asyncio.run(main())


def test_a_writer_that_is_cancelled_leaves_nobody_waiting(opened: Open) -> None:
    async def main() -> None:
        async with opened() as database:
            commits = GroupCommit[int, int](database, lambda _, steps: steps, must_last=lambda _: False)
            waiting = asyncio.ensure_future(commits.do(1))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert commits._writer is not None
            commits._writer.cancel()
            done, _ = await asyncio.wait({waiting}, timeout=10)
            assert done
            assert waiting.exception() is not None or waiting.result() == 1
            assert await commits.do(2) == 2

    asyncio.run(main())
