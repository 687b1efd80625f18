"""A study from its creation to its charge, on SQLite and on Postgres, with models that fail in every way."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from msgspec.structs import replace

from mavera.accounts.principal import Principal
from mavera.core.events import ModelEvent
from mavera.core.items import Message
from mavera.core.prompt import Prompt
from mavera.errors import (
    APIError,
    CreditsExhausted,
    InvalidRequest,
    RateLimitExceeded,
    ServiceUnavailable,
    StillRunning,
)
from mavera.focus_groups import repository
from mavera.focus_groups.interviewing import Models
from mavera.focus_groups.load import has_work
from mavera.focus_groups.patience import Patience
from mavera.focus_groups.program import StudyProgram
from mavera.focus_groups.repository import LEASE_SECONDS, StudyRow
from mavera.focus_groups.service import FocusGroups
from mavera.focus_groups.study import (
    Limits,
    MultipleChoice,
    OpenEnded,
    Option,
    PersonaChoice,
    Sample,
    Study,
    YesNo,
)
from mavera.models.config import ModelConfig
from mavera.models.named import NamedModel
from mavera.models.scripted import ScriptedModel
from mavera.personas.builtin import PersonaLibrary
from mavera.personas.catalogue import Personas
from mavera.personas.custom import Sheet
from mavera.storage.database import Database
from mavera.storage.moment import Moment
from tests.support.house import Bank, bank
from tests.support.opening import Open

PATIENCE = Patience(seconds=5.0, first_wait_seconds=0.05)
SQL_CLOCK = "CAST(:now AS BIGINT)"
LIBRARY = PersonaLibrary.load()
PEOPLE = [persona.id for persona in list(LIBRARY)[:3]]
STUDY = Study(
    name="Oat drink",
    personas=tuple(PersonaChoice(id=one) for one in PEOPLE),
    sample=Sample(size=60, seed=7),
    questions=(
        YesNo(id="q1", text="Do you drink oat milk?"),
        MultipleChoice(
            id="q2", text="Which do you buy?", options=tuple(Option(text=text) for text in ("A", "B", "C"))
        ),
        OpenEnded(id="q3", text="Why?", verbatims=2),
    ),
)
CELLS = 4 * 3
PRICE = 33 + 100 + 6


class Model(ScriptedModel):
    """A scripted model that `fails` on the prompts that it is told to, and counts its answers."""

    def __init__(self, fails: Callable[[str], Exception | None] = lambda _: None) -> None:
        super().__init__()
        self.fails = fails

    async def stream(self, prompt: Prompt) -> AsyncGenerator[ModelEvent, None]:
        error = self.fails(_last(prompt))
        if error is not None:
            self.prompts.append(prompt)
            raise error
        async for event in super().stream(prompt):
            yield event


def _last(prompt: Prompt) -> str:
    """Return what the user asked."""
    return [item.text for item in prompt.items if isinstance(item, Message) and item.role == "user"][-1]


@dataclass
class Stage:
    bank: Bank
    service: FocusGroups
    model: Model
    principal: Principal
    ended: list[StudyRow] = field(default_factory=list)

    def program(
        self, worker_id: str = "w1", *, database: Database | None = None, patience: Patience = PATIENCE
    ) -> StudyProgram:
        models = Models(LIBRARY, {"live": self.model, "test": self.model}, _named(self.model))

        async def on_end(row: StudyRow) -> None:
            self.ended.append(row)

        return StudyProgram(
            database or self.bank.database,
            self.bank.credits,
            models.open_interviewer,
            worker_id=worker_id,
            moment=Moment(SQL_CLOCK, self.bank.clock),
            places=2,
            on_end=on_end,
            patience=patience,
        )

    async def run(self, row: StudyRow, program: StudyProgram | None = None) -> StudyRow:
        program = program or self.program()
        taken = await program.take(row.id)
        assert taken is not None
        await program.run(taken)
        return await self.service.get(self.principal, row.id)


def _named(model: Model) -> dict[str, NamedModel]:
    return {"mavera-1": NamedModel("mavera-1", model, "scripted", ModelConfig())}


@asynccontextmanager
async def stage(opened: Open, model: Model | None = None, credits: int = 1000) -> AsyncIterator[Stage]:
    model = model or Model()
    async with bank(opened, credits) as b:
        service = FocusGroups(
            b.database,
            b.credits,
            Personas(LIBRARY, b.database),
            _named(model),
            model_digest="scripted",
            moment=Moment(SQL_CLOCK, b.clock),
        )
        yield Stage(b, service, model, Principal(b.key_id, b.workspace_id, "live", "enterprise"))


def on_stage(scene: Callable[[Stage], Awaitable[None]], opened: Open, model: Model | None = None) -> None:
    async def main() -> None:
        async with stage(opened, model) as here:
            await scene(here)

    asyncio.run(main())


def test_a_study_runs_to_its_end_and_is_charged(opened: Open) -> None:
    async def scene(here: Stage) -> None:
        quote = await here.service.quote(here.principal, STUDY)
        row = await here.service.create(here.principal, STUDY)
        assert (row.status, row.cells_total, row.price) == ("PENDING", CELLS, PRICE)
        await here.bank.check_books(held=PRICE)
        done = await here.run(row)
        assert (done.status, done.credits_charged, quote.credits) == ("COMPLETED", PRICE, PRICE)
        await here.bank.check_books()
        assert await here.bank.balance() == 1000 - PRICE
        assert len(here.model.prompts) == quote.model_reads + quote.prior_reads
        assert [one.id for one in here.ended] == [row.id]
        record = await here.service.read(done)
        assert len(record.book) == CELLS
        assert not record.failures
        again = await here.service.quote(here.principal, STUDY)
        assert again.prior_reads == 0

    on_stage(scene, opened)


def test_a_nonsense_answer_fails_its_cell_and_a_retry_asks_only_for_that(opened: Open) -> None:
    async def scene(here: Stage) -> None:
        row = await here.service.create(here.principal, STUDY)
        here.model.fails = lambda text: APIError("Broken.") if text.startswith("Why?") else None
        done = await here.run(row)
        # Every cell of the open question failed, so the study did.
        assert (done.status, done.credits_charged) == ("FAILED", 0)
        assert done.error is not None
        assert "q3" in done.error
        await here.bank.check_books()
        here.model.fails = lambda _: None
        asked = len(here.model.prompts)
        again = await here.service.retry(here.principal, row.id)
        assert again.status == "PENDING"
        await here.bank.check_books(held=PRICE)
        done = await here.run(again)
        assert (done.status, done.credits_charged, done.attempt) == ("COMPLETED", PRICE, 2)
        assert len(here.model.prompts) - asked == 4 * 2
        await here.bank.check_books()

    on_stage(scene, opened)


def test_a_failed_cell_is_in_no_figure_and_not_paid_for(opened: Open) -> None:
    async def scene(here: Stage) -> None:
        failing = iter([True])
        here.model.fails = lambda text: (
            APIError("Broken.") if text.startswith("Why?") and next(failing, False) else None
        )
        done = await here.run(await here.service.create(here.principal, STUDY))
        assert done.status == "COMPLETED"
        assert done.credits_charged == PRICE * (CELLS - 1) // CELLS
        assert any("1 of 12 cells failed" in notice for notice in done.notices)
        record = await here.service.read(done)
        assert len(record.failures) == 1
        assert record.failures.keys().isdisjoint(record.book)
        await here.bank.check_books()

    on_stage(scene, opened)


def test_a_model_that_is_away_is_waited_for(opened: Open) -> None:
    async def scene(here: Stage) -> None:
        away = iter(range(2))
        here.model.fails = lambda _: ServiceUnavailable("Away.") if next(away, None) is not None else None
        done = await here.run(await here.service.create(here.principal, STUDY))
        assert (done.status, done.credits_charged) == ("COMPLETED", PRICE)

    on_stage(scene, opened)


def test_a_cancelled_study_keeps_and_pays_for_what_it_has(opened: Open) -> None:
    async def scene(here: Stage) -> None:
        row = await here.service.create(here.principal, STUDY)
        program = here.program()
        taken = await program.take(row.id)
        assert taken is not None
        async with program.hold(taken) as work:
            await program.measure_priors(work)
            await program.read_cells(work, (await program.list_pending(work))[:6])
            await here.service.cancel(here.principal, row.id)
            assert await program.read_cells(work, (await program.list_pending(work))[:2]) == 0
            assert await program.finish(work) == "CANCELLED"
        done = await here.service.get(here.principal, row.id)
        assert (done.status, done.credits_charged) == ("CANCELLED", PRICE * 6 // CELLS)
        await here.bank.check_books()
        again = await here.service.retry(here.principal, row.id)
        done = await here.run(again)
        assert (done.status, done.credits_charged) == ("COMPLETED", PRICE)
        await here.bank.check_books()

    on_stage(scene, opened)


def test_a_step_that_runs_again_asks_for_no_cell_that_has_its_answer(opened: Open) -> None:
    async def scene(here: Stage) -> None:
        row = await here.service.create(here.principal, STUDY)
        program = here.program()
        taken = await program.take(row.id)
        assert taken is not None
        async with program.hold(taken) as work:
            await program.measure_priors(work)
            keys = (await program.list_pending(work))[:3]
            assert await program.read_cells(work, keys) == 3
            asked = len(here.model.prompts)
            assert await program.read_cells(work, keys) == 0
            assert len(here.model.prompts) == asked

    on_stage(scene, opened)


def test_a_limit_stops_a_study_cleanly(opened: Open) -> None:
    async def scene(here: Stage) -> None:
        limited = replace(STUDY, limits=Limits(model_reads=8))
        done = await here.run(await here.service.create(here.principal, limited))
        assert (done.status, done.limit_reached) == ("CANCELLED", "model_reads")
        assert 0 < done.credits_charged < PRICE
        with pytest.raises(InvalidRequest, match=r"limits\.credits"):
            await here.service.create(here.principal, replace(STUDY, limits=Limits(credits=10)))
        await here.bank.check_books()

    on_stage(scene, opened)


def test_a_copy_asks_only_for_what_changed_and_pays_for_that(opened: Open) -> None:
    async def scene(here: Stage) -> None:
        done = await here.run(await here.service.create(here.principal, STUDY))
        asked = len(here.model.prompts)
        more = replace(STUDY, sample=Sample(size=120, seed=7))
        copy = await here.service.copy(here.principal, done, more)
        assert copy.cells_reused == CELLS
        assert copy.price == 33 + 200 + 6 - PRICE
        copied = await here.run(copy)
        assert (copied.status, copied.credits_charged) == ("COMPLETED", 100)
        assert len(here.model.prompts) == asked
        changed = replace(
            STUDY, questions=(*STUDY.questions[:2], OpenEnded(id="q3", text="Why so?", verbatims=2))
        )
        copy = await here.service.copy(here.principal, done, changed)
        assert copy.cells_reused == 8
        assert (await here.run(copy)).status == "COMPLETED"
        assert len(here.model.prompts) == asked + 4 * 2
        await here.bank.check_books()

    on_stage(scene, opened)


def test_cells_that_an_earlier_version_asked_differently_are_left_out_and_named(opened: Open) -> None:
    async def scene(here: Stage) -> None:
        done = await here.run(await here.service.create(here.principal, STUDY))
        await here.bank.database.execute("UPDATE focus_group_cells SET key = 'old' WHERE place = 0")
        record = await here.service.read(done)
        assert len(record.book) == CELLS - 1
        assert any("asked 1 cell in another way" in one for one in record.row.notices)

    on_stage(scene, opened)


def test_a_release_with_other_prompts_keeps_the_answers_of_a_study_and_asks_those_of_its_copy_again(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene(here: Stage) -> None:
        done = await here.run(await here.service.create(here.principal, STUDY))
        before = await here.service.read(done)
        monkeypatch.setattr("mavera.focus_groups.panel.build_prefix", lambda persona: [persona.id])
        after = await here.service.read(done)
        assert after.book.keys() == before.book.keys()
        assert len(after.book) == CELLS
        assert not after.row.notices
        copy = await here.service.copy(here.principal, done, STUDY)
        # Only the baseline has no persona's prompt.
        assert 0 < copy.cells_reused < CELLS / 2

    on_stage(scene, opened)


def test_a_worker_that_never_comes_back_is_replaced_and_its_late_writes_change_nothing(opened: Open) -> None:
    async def scene(here: Stage) -> None:
        row = await here.service.create(here.principal, STUDY)
        first, second = here.program("w1"), here.program("w2")
        taken = await first.take(row.id)
        assert taken is not None
        assert await second.take(row.id) is None
        async with first.hold(taken) as dead:
            await first.measure_priors(dead)
            pending = await first.list_pending(dead)
            await first.read_cells(dead, pending[:4])
            asked = len(here.model.prompts)
            here.bank.clock.seconds += LEASE_SECONDS + 1
            assert row.id in await second.list_work()
            adopted = await second.take(row.id)
            assert adopted is not None
            # The first worker is slow and not dead: it answers a cell that the second has not asked yet.
            assert await first.read_cells(dead, pending[4:6]) == 0
            assert len(await second.list_pending(dead)) == CELLS - 4
            asked = len(here.model.prompts)
            await second.run(adopted)
            done = await here.service.get(here.principal, row.id)
            assert done.status == "COMPLETED"
            # Two reads for each closed cell and each open one; nothing was asked twice.
            assert len(here.model.prompts) - asked == (CELLS - 4) * 2
            asked = len(here.model.prompts)
            assert await first.read_cells(dead, pending[4:6]) == 0
            assert await first.finish(dead) is None
        assert len(here.ended) == 1
        await here.bank.check_books()
        assert await here.bank.balance() == 1000 - PRICE

    on_stage(scene, opened)


def test_a_cancelled_study_whose_worker_is_gone_ends_without_another_question(opened: Open) -> None:
    async def scene(here: Stage) -> None:
        row = await here.service.create(here.principal, STUDY)
        first, second = here.program("w1"), here.program("w2")
        taken = await first.take(row.id)
        assert taken is not None
        await here.service.cancel(here.principal, row.id)
        here.bank.clock.seconds += LEASE_SECONDS + 1
        adopted = await second.take(row.id)
        assert adopted is not None
        await second.run(adopted)

        done = await here.service.get(here.principal, row.id)
        assert (done.status, done.credits_charged) == ("CANCELLED", 0)
        assert here.model.prompts == []
        await here.bank.check_books()

    on_stage(scene, opened)


def test_a_study_of_another_format_waits_for_a_worker_that_knows_it(opened: Open) -> None:
    async def scene(here: Stage) -> None:
        row = await here.service.create(here.principal, STUDY)
        await here.bank.database.execute("UPDATE focus_groups SET program = program + 1")
        program = here.program()
        assert await program.list_work() == []
        assert await program.take(row.id) is None
        await here.bank.database.execute("UPDATE focus_groups SET program = program - 1")
        assert await program.list_work() == [row.id]

    on_stage(scene, opened)


def test_two_workers_with_one_name_do_not_write_the_same_study(opened: Open) -> None:
    async def scene(here: Stage) -> None:
        row = await here.service.create(here.principal, STUDY)
        one, other = here.program("same"), here.program("same")
        taken = await one.take(row.id)
        assert taken is not None
        assert await other.list_work() == [], "a living study is listed for nobody"
        async with one.hold(taken) as work:
            await one.measure_priors(work)
            pending = await one.list_pending(work)
            adopted = await other.take(row.id)  # as after a restart under the same name
            assert adopted is not None
            assert await one.read_cells(work, pending[:2]) == 0
            await other.run(adopted)
            assert await one.finish(work) is None
        await here.bank.check_books()
        assert await here.bank.balance() == 1000 - PRICE

    on_stage(scene, opened)


def test_a_study_that_kills_five_workers_is_given_up_and_given_back(opened: Open) -> None:
    async def scene(here: Stage) -> None:
        row = await here.service.create(here.principal, STUDY)
        program = here.program()
        for _ in range(5):
            assert await program.take(row.id) is not None
            here.bank.clock.seconds += LEASE_SECONDS + 1
        assert await program.take(row.id) is None
        done = await here.service.get(here.principal, row.id)
        assert (done.status, done.credits_charged) == ("FAILED", 0)
        await here.bank.check_books()

    on_stage(scene, opened)


def test_a_study_that_gets_answers_is_adopted_as_often_as_it_needs(opened: Open) -> None:
    async def scene(here: Stage) -> None:
        row = await here.service.create(here.principal, STUDY)
        program = here.program()
        for _ in range(7):
            taken = await program.take(row.id)
            assert taken is not None
            async with program.hold(taken) as work:
                assert await program.read_cells(work, (await program.list_pending(work))[:1]) == 1
            here.bank.clock.seconds += LEASE_SECONDS + 1
        for _ in range(5):
            assert await program.take(row.id) is not None
            here.bank.clock.seconds += LEASE_SECONDS + 1
        assert await program.take(row.id) is None, "five workers got no answer"

    on_stage(scene, opened)


def test_a_charge_that_its_worker_did_not_live_to_make_is_made_later(opened: Open) -> None:
    async def scene(here: Stage) -> None:
        row = await here.service.create(here.principal, STUDY)
        program = here.program()
        taken = await program.take(row.id)
        assert taken is not None
        async with program.hold(taken) as work:
            await program.measure_priors(work)
            await program.read_cells(work, await program.list_pending(work))
            await repository.finish(
                here.bank.database, taken, "COMPLETED", moment=program.moment, credits=PRICE
            )
        await here.bank.check_books(held=PRICE)
        assert await has_work(here.bank.database, program.moment)
        with pytest.raises(StillRunning):
            await here.service.retry(here.principal, row.id)
        await here.program("w2").settle_all()
        await here.program("w3").settle_all()
        assert not await has_work(here.bank.database, program.moment)
        assert (await here.service.get(here.principal, row.id)).lease_until == repository.NEVER
        await here.bank.check_books()
        assert len(here.ended) == 1
        assert await here.bank.balance() == 1000 - PRICE

    on_stage(scene, opened)


def test_deleting_a_running_study_stops_it_and_gives_its_credits_back(opened: Open) -> None:
    async def scene(here: Stage) -> None:
        row = await here.service.create(here.principal, STUDY)
        program = here.program()
        taken = await program.take(row.id)
        assert taken is not None
        async with program.hold(taken) as work:
            await program.measure_priors(work)
            pending = await program.list_pending(work)
            await program.read_cells(work, pending[:2])
            await here.service.delete(here.principal, row.id)
            assert await program.read_cells(work, pending[2:4]) == 0
            assert await program.finish(work) is None
        assert await here.bank.balance() == 1000
        await here.bank.check_books()
        left = await here.bank.one("SELECT COUNT(*) AS n FROM focus_group_cells")
        assert left["n"] == 0

    on_stage(scene, opened)


def test_a_key_has_five_running_studies_at_most(opened: Open) -> None:
    async def scene(here: Stage) -> None:
        for _ in range(5):
            await here.service.create(here.principal, STUDY)
        with pytest.raises(RateLimitExceeded):
            await here.service.create(here.principal, STUDY)
        await here.bank.check_books(held=5 * PRICE)

    on_stage(scene, opened)


def test_credits_that_run_out_start_nothing(opened: Open) -> None:
    async def main() -> None:
        async with stage(opened, credits=PRICE - 1) as here:
            with pytest.raises(CreditsExhausted):
                await here.service.create(here.principal, STUDY)
            await here.bank.check_books()
            assert await here.service.list_page(here.principal, 10, None) == ([], None)

    asyncio.run(main())


def test_a_persona_that_is_edited_meanwhile_answers_as_it_was(opened: Open) -> None:
    async def scene(here: Stage) -> None:
        personas = Personas(LIBRARY, here.bank.database)
        sheet = Sheet.from_members(
            pipeline_type="advanced", name="Night nurse", description="Works nights.", category="Lifestyle"
        )
        nurse = await personas.create(here.principal, sheet)
        study = replace(STUDY, personas=(*STUDY.personas[:2], PersonaChoice(id=nurse.id)))
        row = await here.service.create(here.principal, study)
        await personas.update(here.principal, nurse.id, lambda old: replace(old, name="Day nurse"))
        done = await here.run(row)
        assert done.status == "COMPLETED"
        texts = [text_of(prompt) for prompt in here.model.prompts]
        assert any("Night nurse" in text for text in texts)
        assert not any("Day nurse" in text for text in texts)

    on_stage(scene, opened)


def text_of(prompt: Prompt) -> str:
    return "\n".join(item.text for item in prompt.items if isinstance(item, Message))
