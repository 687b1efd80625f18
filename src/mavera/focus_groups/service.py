"""
Make, change and read studies for a caller. A worker runs them.

    quote    the exact price of a study, and an estimate of its time; nothing is started
    create   check → price → credits held by the study's row → rows of the study and its cells
    copy     a new study that keeps the unchanged cells of its source
    cancel, retry, delete, add_human
    read     the record: study, panel, cells, and the distributions that estimates come from
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec

from msgspec.structs import replace

from mavera.accounts import audit
from mavera.accounts.audit import Actor, Entry
from mavera.accounts.credits.holds import Credits
from mavera.accounts.credits.ledger import End, Hold, Reserve
from mavera.accounts.principal import Principal
from mavera.core.finish import finish
from mavera.core.ids import new_cuid, new_id
from mavera.core.text import format_count
from mavera.errors import (
    InvalidRequest,
    PersonaNotFound,
    RateLimitExceeded,
    ServiceUnavailable,
    StillRunning,
    ValidationFailed,
)
from mavera.focus_groups import repository
from mavera.focus_groups.calibration import Correction, correct_book, find_correction
from mavera.focus_groups.cells import Cell, count_reads, list_places, plan_cells
from mavera.focus_groups.discussion import Departure, Statement, keep_whole_discussions, list_turns
from mavera.focus_groups.elicited import Book, CellId, Elicited, Failures
from mavera.focus_groups.faults import StudyError
from mavera.focus_groups.images import StudyImage, fetch_images, find_images, insert_images, list_urls
from mavera.focus_groups.interviewing import make_fetch
from mavera.focus_groups.load import measure_speed
from mavera.focus_groups.panel import Panel, build_panel
from mavera.focus_groups.panel_checks import check_panel
from mavera.focus_groups.phrases import LANGUAGES
from mavera.focus_groups.positions import count_prior_reads
from mavera.focus_groups.prices import price_copy, price_study
from mavera.focus_groups.readings import ELICITATION, PositionPrior
from mavera.focus_groups.repository import LEASE_SECONDS, PROGRAM, CellRow, Method, Progress, StudyRow
from mavera.focus_groups.resolve import merge_wordings, mix_rating, resolve
from mavera.focus_groups.shipped_priors import find_shipped_priors
from mavera.focus_groups.similarity import choose_rated
from mavera.focus_groups.study import Study, question_of
from mavera.models.config import DEFAULT_NAME
from mavera.models.named import SCRIPTED, NamedModels, check_model_name
from mavera.personas.catalogue import AnyPersona, Personas
from mavera.runs.images import ImageStep
from mavera.storage.database import Database
from mavera.storage.moment import Moment, moment_of

MOST_RUNNING = 5
# The time of a read if nothing was measured: a short prompt on a fast server, and a cold one on a laptop.
_SECONDS_A_READ = (0.05, 4.0)
_TOKENS_A_READ = 900
_EARLIER_CELLS = (
    "An earlier version of mavera asked {cells} in another way. No figure includes their answers. "
    "Copy the study to ask them again."
)


@dataclass(frozen=True, slots=True)
class Quote:
    """
    The cost of a study. `model_reads` counts the reads of its own cells. `prior_reads` counts the reads that
    measure the model's preference for places, once for each model. `seconds` is a range.
    """

    credits: int
    model_reads: int
    prior_reads: int
    reused_cells: int
    tokens: int
    seconds: tuple[float, float]


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    """
    All data of a study.

    `book` has the distributions of the cells of round 1 that have an answer. `statements` and `departures`
    belong to its discussions and include round 1. `correction` was learned from a past survey, and `book` is
    corrected by it.
    """

    row: StudyRow
    panel: Panel
    cells: Mapping[str, Cell]
    rows: Sequence[CellRow]
    book: Book
    failures: Failures
    priors: Mapping[int, PositionPrior]
    statements: tuple[Statement, ...] = ()
    departures: tuple[Departure, ...] = ()
    correction: Correction | None = None

    @property
    def progress(self) -> Progress:
        answered = sum(row.status == "answered" for row in self.rows)
        failed = sum(row.status == "failed" for row in self.rows)
        return Progress(len(self.rows), answered, failed)


def _choose_rated(study: Study) -> tuple[tuple[str, ...], str]:
    """Return what a study rates by similarity. Raises ServiceUnavailable if it asks for it in vain."""
    rated, unrated = choose_rated(study)
    if rated and find_spec("onnxruntime") is None:
        if study.ssr == "on":
            raise ServiceUnavailable(
                "This server has no sentence encoder, so it cannot rate by similarity. Write 'ssr: auto'."
            )
        return (), "the sentence encoder is not installed"
    return rated, unrated


@dataclass(frozen=True, slots=True)
class _Plan:
    """A checked study that is ready to be stored."""

    study: Study
    people: tuple[AnyPersona, ...]
    panel: Panel
    method: Method
    cells: tuple[Cell, ...]
    price: int
    reused: Mapping[str, CellRow]

    @property
    def own_cells(self) -> list[Cell]:
        return [cell for cell in self.cells if cell.key not in self.reused]


def _refuse_misfit(study: Study, panel: Panel) -> None:
    """Raise ValidationFailed if the weights, quotas or banner of a study do not fit its panel."""
    try:
        check_panel(study, panel)
    except StudyError as error:
        raise ValidationFailed(str(error), param=error.faults[0].path or None) from error


class FocusGroups:
    """The studies of all workspaces. `digest_of` names the file or server behind a model's name."""

    def __init__(
        self,
        database: Database,
        credits: Credits,
        personas: Personas,
        named_models: NamedModels,
        *,
        model_digest: str,
        images: ImageStep | None = None,
        moment: Moment | None = None,
    ) -> None:
        self._images = images
        self._database = database
        self._credits = credits
        self._personas = personas
        self._named_models = named_models
        self._model_digest = model_digest
        self._moment = moment or moment_of(database, None)

    async def quote(self, principal: Principal, study: Study, source: StudyRow | None = None) -> Quote:
        """Return the cost of `study`. Raises the same errors as `create` if the study cannot be made."""
        plan = await self._plan(principal, study, source)
        reads = sum(count_reads(cell, plan.method.read) for cell in plan.own_cells)
        places = await self._find_unknown_places(plan)
        low, high = await self._seconds_a_read(plan)
        prior_reads = sum(map(count_prior_reads, places))
        total = reads + prior_reads
        return Quote(
            credits=plan.price if principal.mode == "live" else 0,
            model_reads=reads,
            prior_reads=prior_reads,
            reused_cells=len(plan.reused),
            tokens=total * _TOKENS_A_READ,
            seconds=(round(total * low, 1), round(total * high + 5, 1)),
        )

    async def create(
        self,
        principal: Principal,
        study: Study,
        *,
        webhook: str | None = None,
        source: StudyRow | None = None,
        worker_id: str | None = None,
    ) -> StudyRow:
        """
        Store a study for a worker to run, and hold its credits. With `worker_id`, this worker has it at once.

        Raises PersonaNotFound, ValidationFailed for an unknown model, a sample or banner that does not fit
        the personas, or an image that is none, InvalidRequest if an image cannot be fetched or the study
        costs more than its own limit, RateLimitExceeded if the key has five running studies, and
        CreditsExhausted or BudgetExceeded.
        """
        plan = await self._plan(principal, study, source)
        limit = plan.study.limits.credits
        if limit is not None and plan.price > limit:
            raise InvalidRequest(
                f"This study costs {format_count(plan.price, 'credit')}, and its limits.credits is {limit}. "
                "Raise the limit, or ask fewer respondents or questions.",
                param="limits.credits",
            )
        if await repository.count_running(self._database, principal.key_id) >= MOST_RUNNING:
            raise RateLimitExceeded(
                f"This API key has {MOST_RUNNING} running focus groups, which is the limit. "
                "Wait for one to end, or cancel one.",
                retry_after=30,
            )
        images = await self._fetch_images(principal, plan.study, source)
        row = self._make_row(principal, plan, webhook, source)
        if worker_id is not None:
            lease = self._moment.now + LEASE_SECONDS
            row = replace(
                row,
                status="PROCESSING",
                worker_id=worker_id,
                fence=1,
                lease_until=lease,
                started_at=row.created_at,
            )
        return await self._store(principal, row, plan, images)

    async def copy(
        self, principal: Principal, source: StudyRow, study: Study, *, webhook: str | None = None
    ) -> StudyRow:
        """Make a study from `source` with changes. Unchanged cells keep their answers."""
        return await self.create(principal, study, webhook=webhook, source=source)

    async def get(self, principal: Principal, study_id: str) -> StudyRow:
        """Raises NotFound."""
        return await repository.get(self._database, principal, study_id)

    async def list_page(
        self, principal: Principal, limit: int, cursor: str | None
    ) -> tuple[list[StudyRow], str | None]:
        """Return a page of studies, newest first, and the cursor of the next one. Raises NotFound."""
        after = await self.get(principal, cursor) if cursor else None
        before = (after.created_at, after.id) if after else None
        rows = await repository.list_page(self._database, principal, limit=limit + 1, before=before)
        more = rows[limit - 1].id if len(rows) > limit else None
        return rows[:limit], more

    async def count_progress(self, row: StudyRow) -> Progress:
        return await repository.count_cells(self._database, row.id)

    async def count_progress_of(self, rows: Sequence[StudyRow]) -> dict[str, Progress]:
        """Return the progress of each study by its id, with one query for all."""
        return await repository.count_cells_of(self._database, [row.id for row in rows])

    async def cancel(self, principal: Principal, study_id: str) -> StudyRow:
        """Ask the worker to stop. A study that has ended stays as it is."""
        row = await self.get(principal, study_id)
        await repository.ask_to_cancel(self._database, row, moment=self._moment)
        return await self.get(principal, study_id)

    async def retry(self, principal: Principal, study_id: str) -> StudyRow:
        """Ask the failed cells of an ended study again, and the cells that a cancelled study never asked."""
        row = await self.get(principal, study_id)
        if not row.is_finished or row.settled_at is None:
            raise StillRunning("This focus group is still running. Wait for its end, or cancel it.")
        progress = await self.count_progress(row)
        if progress.answered == progress.total:
            raise InvalidRequest("Every cell of this focus group has its answer. There is nothing to retry.")
        hold_id = await self._hold(principal, row.id, max(0, row.price - row.credits_charged))
        try:
            reopened = await finish(repository.reopen(self._database, row, hold_id, ("failed",)))
        except BaseException:
            await self._give_back(principal, hold_id)
            raise
        if not reopened:
            await self._give_back(principal, hold_id)
        return await self.get(principal, study_id)

    async def delete(self, principal: Principal, study_id: str) -> None:
        """Delete a study and its answers. A running study is stopped first, and its credits are refunded."""
        row = await self.get(principal, study_id)
        await finish(self._delete(row, principal))

    async def add_human(self, principal: Principal, study_id: str, human: str) -> StudyRow:
        """Store the answers of real people, as checked JSON."""
        row = await self.get(principal, study_id)
        await repository.keep_human(self._database, row.id, human)
        return replace(row, human=human)

    async def read(self, row: StudyRow) -> Record:
        """Return the whole record of a study."""
        people = await self._restore_people(row)
        panel = build_panel(row.study, people, row.panel.prompts)
        cells = {cell.key: cell for cell in plan_cells(row.study, panel, row.method)}
        stored = await repository.read_cells(self._database, row.id)
        rows = [one for one in stored if one.key in cells]
        if len(rows) < len(stored):
            row = replace(
                row,
                notices=(
                    *row.notices,
                    _EARLIER_CELLS.format(cells=format_count(len(stored) - len(rows), "cell")),
                ),
            )
        priors = await self._read_priors(row.method, row.study.language)
        sentences = {
            (cells[one.key].id, cells[one.key].wording): one.reading.reads[0]
            for one in rows
            if cells[one.key].shown.in_own_words and one.reading is not None
        }
        answered: dict[CellId, list[Elicited]] = {}
        failures: dict[CellId, str] = {}
        for one in rows:
            cell = cells[one.key]
            if cell.round > 1 or cell.shown.in_own_words:
                continue
            if one.status == "answered" and one.reading is not None:
                question = question_of(row.study, cell.id.question)
                found = resolve(cell.id, question, one.reading, priors)
                if question.id in row.method.rated:
                    found = mix_rating(found, sentences.get((cell.id, cell.wording)))
                answered.setdefault(cell.id, []).append(found)
            elif one.status == "failed":
                failures[cell.id] = one.error or "The model gave no answer."
        book = {cell_id: merge_wordings(found) for cell_id, found in answered.items()}
        failures = {cell_id: reason for cell_id, reason in failures.items() if cell_id not in book}
        correction = None
        if row.study.calibration:
            correction = await asyncio.to_thread(find_correction, row.study, panel, book)
        if correction is not None:
            book = correct_book(row.study, book, correction)
        turns = list_turns(cells, rows)
        return Record(row, panel, cells, rows, book, failures, priors, *turns, correction=correction)

    async def _plan(self, principal: Principal, study: Study, source: StudyRow | None) -> _Plan:
        method = self._choose_method(principal, study)
        people = await self._find_people(principal, study)
        panel = build_panel(study, people)
        await asyncio.to_thread(_refuse_misfit, study, panel)
        cells = plan_cells(study, panel, method)
        price = price_study(study.sample.size, len(study.questions))
        reused: Mapping[str, CellRow] = {}
        if source is not None:
            answered = await repository.find_answered(self._database, source.id, [cell.key for cell in cells])
            reused = keep_whole_discussions(cells, answered)
            price = price_copy(price, source.price, len(reused), source.cells_total)
        return _Plan(study, people, panel, method, cells, price, reused)

    async def _find_people(self, principal: Principal, study: Study) -> tuple[AnyPersona, ...]:
        people = []
        for n, one in enumerate(study.personas):
            try:
                people.append(await self._personas.find(one.id, principal))
            except PersonaNotFound as error:
                raise PersonaNotFound(error.message, param=f"personas[{n}]") from error
        return tuple(people)

    def _choose_method(self, principal: Principal, study: Study) -> Method:
        name = study.model or DEFAULT_NAME
        if principal.mode == "live":
            check_model_name(name, self._named_models)
        named = self._named_models[name] if principal.mode == "live" else SCRIPTED
        notices = []
        if study.language.split("-")[0].lower() not in LANGUAGES:
            notices.append(
                f"The sentences around the questions are in English, because '{study.language}' is none of "
                f"{', '.join(LANGUAGES)}."
            )
        digest = self._model_digest if named.name == DEFAULT_NAME else named.record_name
        rated, unrated = _choose_rated(study)
        return Method(
            read="letters" if named.model.profile.gives_logprobs else "shares",
            elicitation=ELICITATION,
            model_digest=digest,
            record=named.record_name,
            notices=tuple(notices),
            rated=rated,
            unrated=unrated,
        )

    def _make_row(
        self, principal: Principal, plan: _Plan, webhook: str | None, source: StudyRow | None
    ) -> StudyRow:
        study = plan.study
        return StudyRow(
            id=new_id("fg"),
            workspace_id=principal.workspace_id,
            mode=principal.mode,
            key_id=principal.key_id,
            name=study.name,
            status="PENDING",
            program=PROGRAM,
            study=study,
            panel=repository.snapshot(plan.people, {one.id: one.prompt_digest for one in plan.panel}),
            model=study.model or DEFAULT_NAME,
            method=plan.method,
            source_id=source.id if source else None,
            webhook=webhook,
            human=None,
            notices=(),
            error=None,
            limit_reached=None,
            cells_total=len(plan.cells),
            cells_reused=len(plan.reused),
            price=plan.price if principal.mode == "live" else 0,
            credits_charged=0,
            credits_due=0,
            hold_id=None,
            attempt=1,
            adoptions=0,
            done_at_take=len(plan.reused),
            worker_id=None,
            fence=0,
            lease_until=0,
            created_at=self._moment.now,
            started_at=None,
            ended_at=None,
            cancelled_at=None,
        )

    async def _fetch_images(
        self, principal: Principal, study: Study, source: StudyRow | None
    ) -> dict[str, StudyImage]:
        """Return the images of a new study: those that its source has, and the others from their URLs."""
        urls = list_urls(study)
        if not urls or self._images is None:
            return {}
        known = await find_images(self._database, source.id, list(urls)) if source is not None else {}
        missing = {url: path for url, path in urls.items() if url not in known}
        held = sum(len(image.data) for image in known.values())
        fetch = make_fetch(self._images, principal.workspace_id)
        return {**known, **await fetch_images(missing, fetch, held=held)}

    async def _store(
        self, principal: Principal, row: StudyRow, plan: _Plan, images: Mapping[str, StudyImage]
    ) -> StudyRow:
        hold_id = await self._hold(principal, row.id, row.price)
        row = replace(row, hold_id=hold_id)
        try:
            await finish(self._insert(row, plan, images))
        except BaseException:
            await self._give_back(principal, hold_id)
            raise
        return row

    async def _insert(self, row: StudyRow, plan: _Plan, images: Mapping[str, StudyImage]) -> None:
        cells = []
        for place, cell in enumerate(plan.cells):
            known = plan.reused.get(cell.key)
            cells.append(
                CellRow(key=cell.key, place=place, status="pending")
                if known is None
                else replace(known, place=place, reused=True)
            )
        async with self._database.transaction() as transaction:
            await repository.insert(transaction, row, cells)
            await insert_images(transaction, row.id, images)

    async def _hold(self, principal: Principal, study_id: str, credits: int) -> str | None:
        """Hold credits that the study's row owns. Returns None for a test key, which pays nothing."""
        if principal.mode != "live" or not principal.key_id:
            return None
        hold_id = new_cuid()
        await self._credits.reserve(
            Reserve(hold_id, principal.workspace_id, principal.key_id, credits, Hold("study", study_id))
        )
        return hold_id

    async def _give_back(self, principal: Principal, hold_id: str | None) -> None:
        if hold_id is not None:
            step = End(hold_id, principal.workspace_id, principal.key_id, "failed", operation="focus_groups")
            await finish(self._credits.end(step))

    async def _delete(self, row: StudyRow, principal: Principal) -> None:
        await repository.delete(self._database, row.id)
        entry = Entry(row.workspace_id, "study.deleted", row.id, row.name)
        await audit.record(self._database, Actor.of(principal), entry, now=self._moment.now)
        if row.hold_id is not None:
            await self._give_back(replace(principal, key_id=row.key_id), row.hold_id)

    async def _restore_people(self, row: StudyRow) -> list[AnyPersona]:
        custom = {persona.id: persona for persona in repository.restore(row.panel)}
        library = self._personas.library
        return [custom.get(one) or library.find(one) for one in row.panel.ids]

    async def _read_priors(self, method: Method, language: str) -> dict[int, PositionPrior]:
        stored = await repository.read_priors(self._database, method.model_digest, language)
        return {**find_shipped_priors(method.model_digest, language), **stored}

    async def _find_unknown_places(self, plan: _Plan) -> set[int]:
        if plan.method.read != "letters":
            return set()
        known = await self._read_priors(plan.method, plan.study.language)
        return list_places(plan.own_cells) - known.keys()

    async def _seconds_a_read(self, plan: _Plan) -> tuple[float, float]:
        """Return the range of the time of a read, from this model's latest studies or else a wide guess."""
        recent = await measure_speed(self._database, plan.method.record)
        if recent is None:
            return _SECONDS_A_READ
        return recent * 0.5, recent * 2.0
