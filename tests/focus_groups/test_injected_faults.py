"""A tenth of all calls fails, of the model and of the database. No fault is hidden or counted."""

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from mavera.core.events import ModelEvent, RunCompleted, RunStarted, TextDelta
from mavera.core.prompt import Prompt
from mavera.core.usage import Usage
from mavera.errors import APIError, RateLimitExceeded, ServiceUnavailable
from mavera.focus_groups import reports
from mavera.focus_groups.patience import Patience
from mavera.focus_groups.repository import StudyRow
from mavera.focus_groups.service import Record
from mavera.focus_groups.study import Sample
from mavera.storage.database import Database, Queries, Row
from tests.focus_groups.test_program import CELLS, PEOPLE, STUDY, Model, Stage, on_stage
from tests.support.opening import Open

SHARE = 0.1
PEOPLE_EACH = STUDY.sample.size // len(PEOPLE)
# The neutral lists of two and of three places, if they all failed before.
PRIOR_READS = 24 + 36
SEEDS = (1, 2, 3, 4, 5, 6)


class FaultyModel(Model):
    """Breaks one call of ten: it fails, times out, is refused as one too many, or gets nonsense."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.chance = random.Random(seed)
        self.share = SHARE
        self.broken = 0

    async def stream(self, prompt: Prompt) -> AsyncGenerator[ModelEvent, None]:
        if self.chance.random() >= self.share:
            async for event in super().stream(prompt):
                yield event
            return
        match self.chance.randrange(4):
            case 0:
                self.broken += 1
                raise APIError("The model broke.")
            case 1:
                raise ServiceUnavailable("The model's server did not answer in time.")
            case 2:
                raise RateLimitExceeded("Too many.", retry_after=1)
            case _:
                self.broken += 1
                yield RunStarted()
                yield TextDelta("")
                yield RunCompleted("stop", Usage())


class BusyQueries:
    """A database that is busy for a tenth of its statements, or answers that it was after it ran them."""

    def __init__(self, database: Queries, chance: random.Random) -> None:
        self._database = database
        self._chance = chance

    async def _call(self, call: Any, *args: Any, **values: Any) -> Any:
        if self._chance.random() < SHARE / 2:
            raise ServiceUnavailable("The database is busy.")
        found = await call(*args, **values)
        if self._chance.random() < SHARE / 2:
            raise ServiceUnavailable("The connection to the database broke.")
        return found

    async def fetch_one(self, sql: str, /, **values: Any) -> Row | None:
        found: Row | None = await self._call(self._database.fetch_one, sql, **values)
        return found

    async def fetch_all(self, sql: str, /, **values: Any) -> list[Row]:
        found: list[Row] = await self._call(self._database.fetch_all, sql, **values)
        return found

    async def execute(self, sql: str, /, **values: Any) -> int:
        changed: int = await self._call(self._database.execute, sql, **values)
        return changed

    async def execute_many(self, sql: str, rows: Sequence[Row], /) -> None:
        await self._call(self._database.execute_many, sql, rows)


class BusyDatabase(BusyQueries):
    """`transaction` fails as a whole, as it does when its connection breaks before the commit."""

    def __init__(self, database: Database, chance: random.Random) -> None:
        super().__init__(database, chance)
        self._whole = database
        self.is_file = database.is_file

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Queries]:
        async with self._whole.transaction() as transaction:
            yield BusyQueries(transaction, self._chance)


def count_statuses(record: Record) -> dict[str, int]:
    found: dict[str, int] = {}
    for row in record.rows:
        found[row.status] = found.get(row.status, 0) + 1
    return found


async def check_honesty(here: Stage, done: StudyRow) -> int:
    """Check that no failed cell is hidden or counted, and return the number of failed cells."""
    record = await here.service.read(done)
    statuses = count_statuses(record)
    assert statuses.keys() <= {"answered", "failed"}
    failed = statuses.get("failed", 0)
    assert all(row.error for row in record.rows if row.status == "failed")
    assert len(record.book) == CELLS - failed
    assert record.failures.keys().isdisjoint(record.book)
    assert len(record.failures) == failed
    if done.status == "COMPLETED":
        assert any(f"{failed} of {CELLS} cells failed" in one for one in done.notices) == (failed > 0)
        assert done.credits_charged == done.price * (CELLS - failed) // CELLS
        for question in reports.compute_results(record)["results"]:
            lost = {one.persona for one in record.failures if one.question == question["question_id"]}
            assert question["failed"] == PEOPLE_EACH * len(lost - {None})
            assert question["base"] == PEOPLE_EACH * len(PEOPLE)
    else:
        assert (done.status, done.credits_charged) == ("FAILED", 0)
        assert done.error is not None
    await here.bank.check_books()
    return failed


@pytest.mark.parametrize("seed", SEEDS)
def test_a_tenth_of_all_calls_fails_and_every_cell_says_how_it_ended(opened: Open, seed: int) -> None:
    model = FaultyModel(seed)

    async def scene(here: Stage) -> None:
        busy = BusyDatabase(here.bank.database, random.Random(seed))
        patient = Patience(seconds=30.0, first_wait_seconds=0.001)
        study = replace(STUDY, sample=Sample(size=60, seed=seed))
        row = await here.service.create(here.principal, study)
        program = here.program(database=busy, patience=patient)  # type: ignore[arg-type]
        taken = None
        while taken is None:
            try:
                taken = await program.take(row.id)
            except ServiceUnavailable:
                continue
        await program.run(taken)
        await here.program().settle_all()
        done = await here.service.get(here.principal, row.id)
        failed = await check_honesty(here, done)

        model.share = 0.0
        asked = len(model.prompts)
        if failed:
            done = await here.run(await here.service.retry(here.principal, row.id))
            reads = len(model.prompts) - asked
            assert failed * 2 <= reads <= failed * 2 + PRIOR_READS
        assert (done.status, done.credits_charged) == ("COMPLETED", done.price)
        assert await check_honesty(here, done) == 0
        fresh = await here.run(await here.service.create(here.principal, study))
        assert await results(here, done) == await results(here, fresh)

    on_stage(scene, opened, model)


async def results(here: Stage, row: StudyRow) -> bytes:
    record = await here.service.read(row)
    found = reports.compute_results(record)
    return msgspec.json.encode({**found, "id": "", "created_at": 0, "usage": None, "notices": None})


def test_a_model_that_is_away_for_longer_than_the_study_waits_fails_its_cells_and_says_so(
    opened: Open,
) -> None:
    async def scene(here: Stage) -> None:
        here.model.fails = lambda _: ServiceUnavailable("The model's server could not be reached.")
        row = await here.service.create(here.principal, STUDY)
        done = await here.run(row, here.program(patience=Patience(seconds=0.05, first_wait_seconds=0.01)))
        assert (done.status, done.credits_charged) == ("FAILED", 0)
        record = await here.service.read(done)
        assert set(record.failures.values()) == {"The model's server could not be reached."}

        # It is away again, and comes back while the study waits: ten minutes there, half a second here.
        away = True
        here.model.fails = lambda _: ServiceUnavailable("Away.") if away else None
        again = await here.service.retry(here.principal, row.id)
        running = asyncio.create_task(here.run(again, here.program()))
        await asyncio.sleep(0.5)
        assert not running.done()
        assert count_statuses(await here.service.read(again)) == {"pending": CELLS}
        away = False
        done = await running
        assert (done.status, done.credits_charged) == ("COMPLETED", done.price)
        await here.bank.check_books()

    on_stage(scene, opened)
