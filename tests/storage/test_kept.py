"""Answers are kept encrypted, within bounds, and found again by whoever has the secret."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from mavera.storage.database import Database
from mavera.storage.kept import Claim, KeptAnswers, Purpose
from mavera.storage.sealing import Secrets
from tests.support.opening import Open

OLD, NEW = b"the secret of last year, 32 bytes", b"the secret of this year, 32 bytes"
ANSWERS = Purpose("answers", most_rows=4, most_bytes=4_000)
OTHERS = Purpose("others", most_rows=4, most_bytes=4_000)
WIDE = Purpose("wide", most_rows=10_000, most_bytes=100_000_000)
MARK = b"what nobody may read"


class Clock:
    seconds = 1_000_000.0

    def __call__(self) -> float:
        return self.seconds


@asynccontextmanager
async def keeping(
    opened: Open, secrets: Secrets | None = None
) -> AsyncIterator[tuple[KeptAnswers, Database, Clock]]:
    clock = Clock()
    async with opened() as database:
        yield KeptAnswers(database, secrets or Secrets(NEW), clock=clock), database, clock


async def count(database: Database) -> int:
    row = await database.fetch_one("SELECT COUNT(*) AS n FROM kept_answers")
    assert row is not None
    return int(row["n"])


def test_what_is_kept_is_found_until_it_is_forgotten_or_its_time_is_over(opened: Open) -> None:
    async def main() -> None:
        async with keeping(opened) as (kept, database, clock):
            assert await kept.find("w", ANSWERS, "one") is None
            assert await kept.keep("w", ANSWERS, "one", b"first", seconds=60)
            await kept.keep("w", ANSWERS, "one", b"second", seconds=60)
            assert await kept.find("w", ANSWERS, "one") == b"second"
            assert await kept.find("v", ANSWERS, "one") is None
            assert await kept.find("w", OTHERS, "one") is None
            await kept.forget("w", ANSWERS, "one")
            assert await kept.find("w", ANSWERS, "one") is None

            await kept.keep("w", ANSWERS, "two", b"second", seconds=60)
            clock.seconds += 60
            assert await kept.find("w", ANSWERS, "two") is None
            assert await count(database) == 1
            await kept.sweep()
            assert await count(database) == 0

    asyncio.run(main())


def test_neither_the_key_nor_the_value_is_in_a_row(opened: Open) -> None:
    async def main() -> None:
        async with keeping(opened) as (kept, database, _):
            key = MARK.decode()
            await kept.keep("w", WIDE, key, MARK, seconds=60)
            await kept.keep("w", WIDE, key + "!", MARK * 50_000, seconds=60)
            await kept.claim("w", WIDE, key + "?", MARK, seconds=60)
            rows = await database.fetch_all("SELECT * FROM kept_answers")
            assert len(rows) == 3
            for row in rows:
                assert MARK not in b" ".join(
                    bytes(value) if isinstance(value, bytes | memoryview) else str(value).encode()
                    for value in row.values()
                )
            assert await kept.find("w", WIDE, key + "!") == MARK * 50_000

    asyncio.run(main())


def test_after_a_rotation_what_was_kept_before_is_still_found(opened: Open) -> None:
    async def main() -> None:
        async with keeping(opened, Secrets(OLD)) as (kept, _, __):
            await kept.keep("w", ANSWERS, "one", b"old", seconds=60)
            await kept.keep("w", ANSWERS, "two", b"old", seconds=60)
            running = await kept.claim("w", ANSWERS, "three", b"running", seconds=60)
            assert isinstance(running, Claim)
        async with keeping(opened, Secrets(NEW, (OLD,))) as (kept, database, _):
            assert await kept.find("w", ANSWERS, "one") == b"old"
            assert await kept.claim("w", ANSWERS, "one", b"again", seconds=60) == b"old"
            assert await kept.claim("w", ANSWERS, "three", b"again", seconds=60) == b"running"
            await kept.keep("w", ANSWERS, "one", b"new", seconds=60)
            assert await kept.find("w", ANSWERS, "one") == b"new"
            await kept.forget("w", ANSWERS, "one")
            assert await kept.find("w", ANSWERS, "one") is None
            assert await count(database) == 2
        async with keeping(opened, Secrets(NEW)) as (kept, _, __):
            assert await kept.find("w", ANSWERS, "two") is None
            assert isinstance(await kept.claim("w", ANSWERS, "two", b"again", seconds=60), Claim)

    asyncio.run(main())


@pytest.mark.parametrize("damage", [b"", b"short", b"x" * 200])
def test_a_damaged_answer_counts_as_expired(opened: Open, damage: bytes) -> None:
    async def main() -> None:
        async with keeping(opened) as (kept, database, _):
            await kept.keep("w", ANSWERS, "one", b"value", seconds=60)
            await database.execute("UPDATE kept_answers SET sealed = :damage", damage=damage)
            assert await kept.find("w", ANSWERS, "one") is None
            claim = await kept.claim("w", ANSWERS, "one", b"running", seconds=60)
            assert isinstance(claim, Claim)
            assert await kept.fill(claim, b"anew", seconds=60)
            assert await kept.find("w", ANSWERS, "one") == b"anew"

    asyncio.run(main())


def test_a_row_that_is_moved_to_another_place_does_not_open(opened: Open) -> None:
    async def main() -> None:
        async with keeping(opened) as (kept, database, _):
            places = [
                ("w", ANSWERS, "one"),
                ("v", ANSWERS, "one"),
                ("w", OTHERS, "one"),
                ("w", ANSWERS, "two"),
            ]
            for place in places:
                await kept.keep(*place, str(place).encode(), seconds=60)
            await database.execute(
                """
                UPDATE kept_answers
                   SET sealed = (SELECT sealed FROM kept_answers AS first
                                  WHERE workspace_id = 'w' AND purpose = 'answers'
                                  ORDER BY written_at, digest LIMIT 1)
                """
            )
            opened_places = [place for place in places if await kept.find(*place) is not None]
            assert len(opened_places) == 1, "only the row whose value it is"
            assert await kept.find(*opened_places[0]) == str(opened_places[0]).encode()

    asyncio.run(main())


def test_of_many_who_claim_a_place_one_gets_it(opened: Open) -> None:
    async def main() -> None:
        async with keeping(opened) as (one, _, __), keeping(opened) as (two, _, __):
            claims = await asyncio.gather(
                *(kept.claim("w", WIDE, "one", b"running", seconds=60) for kept in (one, two) * 20)
            )
            won = [claim for claim in claims if isinstance(claim, Claim)]
            assert len(won) == 1
            assert [claim for claim in claims if claim != won[0]] == [b"running"] * 39
            assert await one.find("w", WIDE, "one") is None, "a claim is no answer"
            assert await two.fill(won[0], b"answer", seconds=60)
            assert await one.claim("w", WIDE, "one", b"running", seconds=60) == b"answer"

    asyncio.run(main())


def test_a_claim_that_ran_out_fills_nothing(opened: Open) -> None:
    async def main() -> None:
        async with keeping(opened) as (kept, database, clock):
            late = await kept.claim("w", WIDE, "one", b"running", seconds=60)
            assert isinstance(late, Claim)
            clock.seconds += 59
            await kept.renew([late], seconds=60)
            clock.seconds += 59
            assert await kept.claim("w", WIDE, "one", b"running", seconds=60) == b"running"
            clock.seconds += 1
            claim = await kept.claim("w", WIDE, "one", b"running", seconds=60)
            assert isinstance(claim, Claim)
            assert not await kept.fill(late, b"too late", seconds=60)
            await kept.release(late)
            await kept.renew([late], seconds=600)
            assert await kept.fill(claim, b"answer", seconds=60)
            await kept.release(claim)
            assert await kept.find("w", WIDE, "one") == b"answer"
            assert await count(database) == 1

    asyncio.run(main())


def test_the_oldest_answers_beyond_the_bounds_are_removed_and_no_claim_is(opened: Open) -> None:
    async def main() -> None:
        async with keeping(opened) as (kept, _, clock):

            async def fill_up(workspace_id: str, size: int) -> list[int]:
                for number in range(12):
                    clock.seconds += 1
                    await kept.keep(workspace_id, ANSWERS, str(number), b"x" * size, seconds=600)
                found = [await kept.find(workspace_id, ANSWERS, str(number)) for number in range(12)]
                return [number for number, value in enumerate(found) if value is not None]

            claims = [await kept.claim("w", ANSWERS, f"c{n}", b"running", seconds=600) for n in range(9)]
            assert await fill_up("other", 10) == [8, 9, 10, 11]
            assert await fill_up("w", 10) == [8, 9, 10, 11], "four rows at most"
            assert await fill_up("w", 1_500) == [10, 11], "4,000 bytes at most"
            assert await fill_up("w", 5_000) == []
            assert await kept.find("other", ANSWERS, "8") == b"x" * 10
            assert all(
                [await kept.fill(claim, b"", seconds=60) for claim in claims if isinstance(claim, Claim)]
            )

    asyncio.run(main())


def test_a_sweep_removes_what_others_wrote_and_many_at_a_time(opened: Open) -> None:
    async def main() -> None:
        async with keeping(opened) as (kept, database, clock), keeping(opened) as (other, _, __):
            for number in range(3):
                await kept.keep("w", WIDE, str(number), b"value", seconds=60)
            await database.execute(
                """
                INSERT INTO kept_answers
                SELECT workspace_id, purpose, CAST(a.n AS TEXT) || '/' || digest, stamp, is_claim,
                       written_at, expires_at, size, sealed
                  FROM kept_answers, (SELECT ROW_NUMBER() OVER () AS n FROM usage_numbers) AS a
                """.replace("usage_numbers", "(VALUES " + ", ".join(["(1)"] * 400) + ") AS numbers")
            )
            assert await count(database) == 1_203
            await kept.keep("w", WIDE, "last", b"value", seconds=90)
            clock.seconds += 60
            await other.sweep()
            assert await count(database) == 1_204, "its own clock says that nothing has expired"
            await kept.sweep()
            assert await count(database) == 1

    asyncio.run(main())


def test_without_a_shared_secret_only_what_does_not_need_one_is_kept(opened: Open) -> None:
    async def main() -> None:
        alone = Purpose("alone", 4, 4_000, needs_shared_secret=False)
        async with keeping(opened, Secrets(NEW, is_shared=False)) as (kept, database, _):
            assert not await kept.keep("w", ANSWERS, "one", b"value", seconds=60)
            assert await kept.find("w", ANSWERS, "one") is None
            assert await count(database) == 0
            assert await kept.keep("w", alone, "one", b"value", seconds=60)
            assert await kept.find("w", alone, "one") == b"value"

    asyncio.run(main())


def test_several_are_kept_at_once_and_found_within_a_bound(opened: Open) -> None:
    async def main() -> None:
        async with keeping(opened) as (kept, database, clock):
            values = {f"key {n}": b"%d" % n * 100 for n in range(3)}
            assert await kept.keep_all("w", WIDE, values, seconds=60)

            keys = [f"key {n}" for n in range(40)]
            assert await kept.find_all("w", WIDE, keys, most_bytes=10_000) == values
            assert await kept.find_all("w", WIDE, keys, most_bytes=200) is None
            assert await kept.find_all("v", WIDE, keys, most_bytes=10_000) == {}
            clock.seconds += 60
            assert await kept.find_all("w", WIDE, keys, most_bytes=10_000) == {}
            assert await count(database) == 3

    asyncio.run(main())
