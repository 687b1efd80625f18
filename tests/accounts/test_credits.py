"""Credits under load and after failures: the ledger adds up, nobody spends the same credit twice."""

import asyncio
import random

import pytest

from mavera.accounts import workspaces
from mavera.accounts.credits.holds import LEASE_SECONDS, Credits
from mavera.accounts.credits.ledger import End
from mavera.accounts.keys.delegation import KeyTerms
from mavera.accounts.keys.keyring import Keyring
from mavera.accounts.plans import Overrides
from mavera.errors import APIError, BudgetExceeded, CreditsExhausted, InvalidRequest, ServiceUnavailable
from mavera.settings import Settings
from mavera.storage.database import Database
from tests.support import servers
from tests.support.house import admitted, bank, outcomes
from tests.support.opening import Open
from tests.support.tables import make_tables


def test_two_hundred_at_once_against_credit_for_ten_admit_ten(opened: Open) -> None:
    async def main() -> None:
        async with bank(opened, 30) as b, opened() as elsewhere, Credits(elsewhere, clock=b.clock) as other:
            asked = [b.reserve(credits=3) for _ in range(200)]
            turns = zip([b.credits, other] * 100, asked, strict=True)
            results = await outcomes(*(service.reserve(step) for service, step in turns))
            assert admitted(results) == 10
            assert {type(error) for error in results if error} == {CreditsExhausted}
            assert await b.balance() == 0
            await b.check_books(held=30)
            held = [step for step, result in zip(asked, results, strict=True) if result is None]
            assert await asyncio.gather(*(other.end(b.end(step, 2)) for step in held)) == [2] * 10
            assert await b.balance() == 10
            await b.check_books()

    asyncio.run(main())


def test_a_run_is_charged_once_however_often_it_ends(opened: Open) -> None:
    async def main() -> None:
        async with bank(opened, 10) as b:
            held = b.reserve(credits=3)
            await b.credits.reserve(held)
            charged = await asyncio.gather(*(b.credits.end(b.end(held, 2)) for _ in range(20)))
            assert sorted(charged) == [0] * 19 + [2]
            assert await b.credits.end(b.end(held, status="failed", credits=0)) == 0
            assert await b.balance() == 8
            assert (await b.one("SELECT COUNT(*) AS n FROM usage"))["n"] == 1
            await b.check_books()

    asyncio.run(main())


def test_to_reserve_again_for_the_same_run_changes_nothing(opened: Open) -> None:
    async def main() -> None:
        async with bank(opened, 10) as b:
            held = b.reserve(credits=3)
            await asyncio.gather(*(b.credits.reserve(held) for _ in range(5)))
            others = [b.reserve(credits=1) for _ in range(3)]
            await asyncio.gather(*(b.credits.reserve(step) for step in (*others, held)))
            assert await b.balance() == 4
            await b.check_books(held=6)

    asyncio.run(main())


def test_a_failed_run_costs_nothing(opened: Open) -> None:
    async def main() -> None:
        async with bank(opened, 10) as b:
            held = b.reserve(credits=3)
            await b.credits.reserve(held)
            assert await b.credits.end(b.end(held, status="failed", credits=0)) == 0
            assert await b.balance() == 10
            kinds = await b.database.fetch_all("SELECT kind, credits FROM ledger ORDER BY id")
            assert [tuple(row.values()) for row in kinds] == [("top-up", 10), ("reserve", -3), ("refund", 3)]
            await b.check_books()

    asyncio.run(main())


def test_what_a_dead_process_held_is_refunded_when_its_lease_ends(opened: Open) -> None:
    async def main() -> None:
        async with bank(opened, 10) as b:
            held = b.reserve(credits=3)
            dead = Credits(b.database, clock=b.clock)
            await dead.reserve(held)
            assert await b.credits.sweep() == 0
            b.clock.seconds += LEASE_SECONDS
            async with opened() as elsewhere:
                third = Credits(elsewhere, clock=b.clock)
                assert sorted(await asyncio.gather(b.credits.sweep(), third.sweep())) in ([0, 1], [1, 1])
            assert await b.balance() == 10
            assert await dead.end(b.end(held, 2)) == 0, "an end that comes too late charges nothing"
            await b.check_books()
            row = await b.one("SELECT status, credits FROM usage")
            assert dict(row) == {"status": "failed", "credits": 0}

    asyncio.run(main())


def test_the_lease_of_a_run_that_goes_on_is_renewed(opened: Open) -> None:
    async def main() -> None:
        async with bank(opened, 10) as b, opened() as elsewhere:
            held = b.reserve(credits=3)
            await b.credits.reserve(held)
            other = Credits(elsewhere, clock=b.clock)
            for _ in range(5):
                b.clock.seconds += LEASE_SECONDS - 1
                await b.credits.sweep()
                assert await other.sweep() == 0
            assert await b.credits.end(b.end(held, 2)) == 2
            await b.check_books()

    asyncio.run(main())


def test_a_price_above_what_was_held_takes_no_more_than_there_is(opened: Open) -> None:
    async def main() -> None:
        async with bank(opened, 10) as b:
            held = [b.reserve(credits=1) for _ in range(8)]
            await asyncio.gather(*(b.credits.reserve(step) for step in held))
            charged = await asyncio.gather(*(b.credits.end(b.end(step, 3)) for step in held))
            assert sum(charged) == 10
            assert all(1 <= charge <= 3 for charge in charged)
            assert await b.balance() == 0
            await b.check_books()

    asyncio.run(main())


def test_a_budget_is_never_passed_and_is_told_of_on_the_way(opened: Open) -> None:
    async def main() -> None:
        async with bank(opened, 1_000, budget=20) as b:
            asked = [b.reserve(credits=1) for _ in range(40)]
            results = await outcomes(*(b.credits.reserve(step) for step in asked))
            assert admitted(results) == 20
            assert {type(error) for error in results if error} == {BudgetExceeded}
            held = [step for step, result in zip(asked, results, strict=True) if result is None]
            for step in held:
                await b.credits.end(b.end(step, 1))
            rows = await b.database.fetch_all("SELECT subject_id, percent FROM alerts ORDER BY percent")
            assert [row["percent"] for row in rows] == [50, 75, 90]
            assert {row["subject_id"] for row in rows} == {b.workspace_id}
            b.clock.seconds += 31 * 86_400
            await b.credits.reserve(b.reserve(credits=20))
            assert await b.balance() == 1_000 - 40

    asyncio.run(main())


@pytest.mark.parametrize("others", [0, 3])
def test_a_run_that_ends_in_another_month_is_charged_even_if_its_budget_is_spent(
    opened: Open, others: int
) -> None:
    async def main() -> None:
        async with bank(opened, 1_000, budget=20) as b:
            late = [b.reserve(credits=6), *(b.reserve(credits=2) for _ in range(others))]
            for step in late:
                await b.credits.reserve(step)
            b.clock.seconds += 31 * 86_400
            await b.credits.reserve(b.reserve(credits=20))
            charged = await asyncio.gather(*(b.credits.end(b.end(step, step.credits + 1)) for step in late))
            assert charged == [step.credits for step in late], "what was held, and no more than the budget"
            spent = await b.one("SELECT spent FROM workspaces")
            assert spent["spent"] == 20
            await b.check_books(held=20)

    asyncio.run(main())


def test_a_key_has_a_budget_of_its_own(opened: Open) -> None:
    async def main() -> None:
        async with bank(opened, 100) as b:
            async with Keyring(b.database, clock=b.clock) as keyring:
                capped = await keyring.make(b.workspace_id, KeyTerms("capped", budget=5))
            asked = [b.reserve(credits=2, key_id=key) for key in (capped.key.id, b.key_id) for _ in range(10)]
            results = await outcomes(*(b.credits.reserve(step) for step in asked))
            assert admitted(results[:10]) == 2
            assert admitted(results[10:]) == 10
            assert await b.balance() == 100 - 24
            await b.check_books(held=24)

    asyncio.run(main())


def test_a_months_credits_come_once_a_month_by_whoever_looks_first(opened: Open) -> None:
    async def main() -> None:
        async with bank(opened, plan="free", overrides=Overrides()) as b, opened() as elsewhere:
            other = Credits(elsewhere, clock=b.clock)
            asked = [b.reserve(credits=1) for _ in range(20)]
            await asyncio.gather(
                *(service.reserve(s) for service, s in zip([b.credits, other] * 10, asked, strict=True))
            )
            assert await b.balance() == 480
            b.clock.seconds += 31 * 86_400
            await asyncio.gather(b.credits.sweep(), other.sweep())
            grants = await b.one("SELECT COUNT(*) AS n FROM ledger WHERE kind = 'grant'")
            assert grants["n"] == 2
            assert int((await b.one("SELECT SUM(credits) AS s FROM ledger"))["s"]) == await b.balance()

    asyncio.run(main())


def test_unlimited_credit_is_charged_and_never_refused(opened: Open) -> None:
    async def main() -> None:
        async with bank(opened, plan="enterprise", overrides=Overrides()) as b:
            held = b.reserve(credits=5)
            await b.credits.reserve(held)
            assert await b.credits.end(b.end(held, 4)) == 4
            assert await b.balance() == -4
            await b.check_books()

    asyncio.run(main())


def test_a_run_without_a_reservation_is_noted_and_free(opened: Open) -> None:
    async def main() -> None:
        async with bank(opened, 10) as b:
            test_run = End("free", b.workspace_id, b.key_id, "completed", input_tokens=4, reserved=False)
            assert await b.credits.end(test_run) == 0
            assert dict(await b.one("SELECT run_id, credits, input_tokens FROM usage")) == {
                "run_id": "free",
                "credits": 0,
                "input_tokens": 4,
            }
            await b.check_books()

    asyncio.run(main())


def test_only_a_positive_number_of_credits_can_be_granted(opened: Open) -> None:
    async def main() -> None:
        async with bank(opened) as b:
            for credits in (0, -5, 2_000_000_000):
                with pytest.raises(InvalidRequest):
                    await workspaces.top_up(b.database, b.workspace_id, credits, note=None, now=1)
            assert await b.balance() == 0

    asyncio.run(main())


def test_another_plan_brings_its_limits_and_the_difference_in_credits(opened: Open) -> None:
    async def main() -> None:
        async with bank(opened, plan="free", overrides=Overrides()) as b:
            now = int(b.clock.seconds)
            await workspaces.grant_due(b.database, b.workspace_id, now=now)

            async def put_on(plan: str, overrides: Overrides = Overrides()) -> workspaces.Workspace:  # noqa: B008
                await workspaces.change_plan(b.database, b.workspace_id, plan, overrides, now=now)
                await b.check_books()
                return await workspaces.get(b.database, b.workspace_id, now=now)

            found = await put_on("pro")
            assert (found.balance, found.limits.requests_per_minute) == (5_000, 60)
            assert (await put_on("free")).balance == 5_000
            with pytest.raises(InvalidRequest):
                await put_on("free", Overrides(requests_per_minute=5))
            with pytest.raises(InvalidRequest):
                await put_on("gold")
            assert (await put_on("enterprise")).unlimited
            held = b.reserve(credits=5)
            await b.credits.reserve(held)
            await b.credits.end(b.end(held, 5))
            assert (await put_on("business")).balance == 4_995

    asyncio.run(main())


def test_used_unlimited_credit_is_not_owed_on_a_plan_with_credits(opened: Open) -> None:
    async def main() -> None:
        async with bank(opened, overrides=Overrides()) as b:
            held = b.reserve(credits=5)
            await b.credits.reserve(held)
            await b.credits.end(b.end(held, 5))
            assert await b.balance() == -5
            now = int(b.clock.seconds)
            await workspaces.change_plan(b.database, b.workspace_id, "pro", Overrides(), now=now)
            assert await b.balance() == 5_000
            await b.check_books()

    asyncio.run(main())


def test_a_clock_that_steps_back_grants_nothing_twice_and_begins_no_budget_anew(opened: Open) -> None:
    async def main() -> None:
        month = 31 * 86_400
        async with bank(opened, plan="free", overrides=Overrides(), budget=10) as b:
            for step in (0, month, -month, month, -2 * month):
                b.clock.seconds += step
                await workspaces.grant_all_due(b.database, now=int(b.clock.seconds))
            assert await b.balance() == 1_000
            b.clock.seconds += 2 * month
            for seconds in (0, -month):
                b.clock.seconds += seconds
                held = b.reserve(credits=5)
                await b.credits.reserve(held)
                b.clock.seconds -= 3_600
                assert await b.credits.end(b.end(held, 5)) == 5
            with pytest.raises(BudgetExceeded):
                await b.credits.reserve(b.reserve())
            await b.check_books()

            lost = b.reserve(credits=0)
            await b.credits.reserve(lost)
            b.credits._held.clear()
            b.clock.seconds -= 100
            assert await b.credits.sweep() == 0
            b.clock.seconds += 100 + LEASE_SECONDS
            assert await b.credits.sweep() == 1
            await b.check_books()

    asyncio.run(main())


def test_the_books_hold_after_any_mixture(opened: Open) -> None:
    async def main() -> None:
        chance = random.Random(4)
        async with bank(opened, 60, budget=200) as b, opened() as elsewhere:
            services = (b.credits, Credits(elsewhere, clock=b.clock))

            async def live(number: int) -> None:
                step = b.reserve(f"mixed{number}", credits=chance.randint(1, 5))
                try:
                    await services[number % 2].reserve(step)
                except APIError:
                    return
                await asyncio.sleep(chance.random() / 50)
                if chance.random() < 0.2:
                    return  # its process died
                status = chance.choice(("completed", "failed", "cancelled"))
                price = 0 if status == "failed" else chance.randint(1, 5)
                for _ in range(chance.randint(1, 3)):
                    await services[chance.randint(0, 1)].end(b.end(step, price, status=status))

            await asyncio.gather(*(live(number) for number in range(150)))
            assert await b.balance() >= 0
            for service in services:
                service._held.clear()
            b.clock.seconds += LEASE_SECONDS
            await b.credits.sweep()
            await b.check_books()

    asyncio.run(main())


@pytest.mark.sqlite
def test_a_locked_database_refuses_and_serves_again_when_it_is_free(opened: Open) -> None:
    async def main() -> None:
        async with bank(opened, 10) as b, opened() as holder:
            async with holder.transaction():
                with pytest.raises(ServiceUnavailable):
                    await b.credits.reserve(b.reserve())
            await b.credits.reserve(b.reserve())
            await b.check_books(held=1)

    asyncio.run(main())


@pytest.mark.sqlite
def test_a_full_disk_refuses_and_leaves_the_books_in_order(opened: Open) -> None:
    async def main() -> None:
        async with bank(opened, 1_000_000) as b:
            pages = (await b.one("PRAGMA page_count"))["page_count"]
            await b.credits.reserve(b.reserve())
            limit = f"PRAGMA max_page_count = {pages}"
            await b.database.batch(lambda statements: statements.execute(limit, {}))  # of this connection
            results = await outcomes(*(b.credits.reserve(b.reserve()) for _ in range(400)))
            assert {type(result) for result in results} >= {ServiceUnavailable}
            await b.credits.reserve(b.reserve())  # a new connection, without the limit
            held = (await b.one("SELECT COUNT(*) AS n FROM reservations"))["n"]
            await b.check_books(held=held)

    asyncio.run(main())


@pytest.mark.postgres
def test_a_database_that_goes_away_refuses_and_is_found_again(opened: Open, postgres_url: str) -> None:
    async def main() -> None:
        async with bank(opened, 10) as b:
            name = (await b.one("SELECT current_database() AS name"))["name"]
            away = f"UPDATE pg_database SET datallowconn = false WHERE datname = '{name}'"
            kill = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
            await servers.on_postgres(postgres_url, away, kill)
            for _ in range(3):
                with pytest.raises(ServiceUnavailable):
                    await b.credits.reserve(b.reserve())
            await servers.on_postgres(postgres_url, away.replace("= false", "= true"))
            await b.credits.reserve(b.reserve())
            await b.check_books(held=1)

    asyncio.run(main())


def test_a_cancelled_caller_leaves_its_step_to_be_done(opened: Open) -> None:
    async def main() -> None:
        async with bank(opened, 10) as b:
            held = b.reserve(credits=3)
            await b.credits.reserve(held)
            ending = asyncio.create_task(b.credits.end(b.end(held, 2)))
            await asyncio.sleep(0)
            ending.cancel()
            await asyncio.wait([ending])
            await b.credits._commits.close()
            assert await b.balance() == 8
            await b.check_books()

    asyncio.run(main())


def test_old_workspaces_and_keys_come_through_the_migration(settings: Settings, database_url: str) -> None:
    async def fill() -> None:
        async with Database.open(settings) as database:
            await database.execute(
                "INSERT INTO workspaces (id, name, plan, created_at) VALUES ('w', 'Old', 'enterprise', 1)"
            )
            await database.execute(
                """
                INSERT INTO api_keys (id, workspace_id, name, digest, mode, last_four, created_at)
                VALUES ('k', 'w', 'Old', 'd', 'live', 'abcd', 1)
                """
            )

    async def check() -> None:
        async with Database.open(settings) as database:
            found = await workspaces.get(database, "w", now=1)
            assert (found.unlimited, found.balance, found.budget) == (True, 0, None)
            async with Keyring(database) as keyring:
                [key] = await keyring.list("w")
            assert "responses" in key.scopes
            assert "admin" not in key.scopes

    make_tables(database_url, up_to="0001_workspaces_and_keys")
    asyncio.run(fill())
    make_tables(database_url)
    asyncio.run(check())
