"""
Run a study from its first cell to its charge. Each step can be repeated: a cell that has an end keeps it.

    take → priors that are still unknown → cells, a few at a time → finish: status, charge, webhook

    the model is away or busy   the cell waits, and is asked again
    the model answers nonsense  the cell fails, and says why
    a round of a discussion     begins when the round before it has ended
    a limit, or a cancel        no further cell begins; the study is CANCELLED with what it has
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Literal, Protocol, TypeVar

import structlog

from mavera.accounts.credits.holds import Credits
from mavera.accounts.credits.ledger import End
from mavera.errors import APIError
from mavera.focus_groups import repository
from mavera.focus_groups.asks import Ask, Shown
from mavera.focus_groups.cells import Cell, list_places, plan_cells
from mavera.focus_groups.discussion import LeftDiscussion, list_previous, quote_round
from mavera.focus_groups.elicit import Elicitor, NoLogprobs, UnusableAnswer
from mavera.focus_groups.images import FetchImage, StudyImages, list_urls
from mavera.focus_groups.panel import Panel, build_panel
from mavera.focus_groups.patience import Patience, PatientQueries
from mavera.focus_groups.positions import compute_prior, plan_prior
from mavera.focus_groups.prices import charge_for
from mavera.focus_groups.readings import PositionPrior, Read, Reading
from mavera.focus_groups.repository import LEASE_SECONDS, CellRow, Progress, Status, StudyRow
from mavera.focus_groups.shipped_priors import find_shipped_priors
from mavera.personas.catalogue import AnyPersona
from mavera.storage.database import Database
from mavera.storage.moment import Moment

log = structlog.get_logger()

T = TypeVar("T")

# Live requests go first. A study that waits for them still reads one cell in this time.
LONGEST_YIELD_SECONDS = 5.0
LOOK_SECONDS = 0.05
# How often a neutral list is asked before the study goes on without its position prior.
MOST_FAILURES = 3
# Errors are shown to the caller. They say what went wrong and repeat nothing that the model said.
_NO_WORKER = (
    "Workers took the study up five times in a row without a single new answer. Its credits were given back."
)


class Interviewer(Protocol):
    """The side that asks for one study: its personas as they were at the start, and its model."""

    @property
    def elicitor(self) -> Elicitor: ...

    @property
    def personas(self) -> Sequence[AnyPersona]: ...

    @property
    def fetch_image(self) -> FetchImage | None: ...

    async def is_busy(self) -> bool:
        """Return whether the model works for somebody else now."""
        ...


OpenInterviewer = Callable[[StudyRow], Awaitable[Interviewer]]
OnEnd = Callable[[StudyRow], Awaitable[None]]


@dataclass(slots=True)
class Work:
    """A study that this process has taken."""

    row: StudyRow
    panel: Panel
    cells: Mapping[str, Cell]
    interviewer: Interviewer
    images: StudyImages
    own_reads: int
    """The reads of the model that the study has made itself, for its limit."""
    is_lost: bool = False
    """Another worker has the study now."""


@dataclass(slots=True)
class Stop:
    """Why a study ends before its last cell. A name of None means that it was cancelled."""

    limit: str | None = None


class StudyProgram:
    """
    The steps of studies. `places` is how many cells are asked at a time over all studies of this process.

    `open_interviewer` returns what asks for a study. `on_end` is called after a study was charged here. The
    call of a webhook is owed by the study's row from then on, so it is made even if this process dies.
    """

    def __init__(
        self,
        database: Database,
        credits: Credits,
        open_interviewer: OpenInterviewer,
        *,
        worker_id: str,
        moment: Moment,
        places: int = 1,
        on_end: OnEnd | None = None,
        patience: Patience = Patience(),  # noqa: B008 - it never changes
    ) -> None:
        self._database = database
        self._store = PatientQueries(database, patience)
        self._credits = credits
        self._open_interviewer = open_interviewer
        self.worker_id = worker_id
        self.moment = moment
        self.places = places
        self._turns = asyncio.Semaphore(places)
        self._on_end = on_end
        self._patience = patience

    async def take(self, study_id: str) -> StudyRow | None:
        """Take a study, or return None if it is somebody else's or has ended."""
        row = await repository.take(
            self._database, study_id, self.worker_id, lease_seconds=LEASE_SECONDS, moment=self.moment
        )
        if row is not None and row.adoptions >= repository.MOST_ADOPTIONS:
            log.error("study_given_up", study=row.id, adoptions=row.adoptions)
            await self._end(row, "FAILED", error=_NO_WORKER, charged=False)
            return None
        return row

    async def find_mine(self, study_id: str, fence: int) -> StudyRow | None:
        """Return a study that this process took with `fence`, or None if somebody else has it now."""
        row = await repository.find(self._store, study_id)
        if row is None or row.fence != fence or row.is_finished:
            return None
        is_mine = await repository.renew(self._store, row, lease_seconds=LEASE_SECONDS, moment=self.moment)
        return row if is_mine else None

    async def list_work(self) -> list[str]:
        """Return the studies that wait for a worker."""
        return await repository.list_work(self._database, self.moment)

    @asynccontextmanager
    async def hold(self, row: StudyRow) -> AsyncIterator[Work]:
        """Open a study that was taken, and keep its lease for the length of the block."""
        work = await self._open(row)
        keeper = asyncio.create_task(self._keep_lease(work), name=f"mavera-study-{row.id}")
        try:
            yield work
        finally:
            keeper.cancel()
            await asyncio.gather(keeper, return_exceptions=True)

    async def run(self, row: StudyRow) -> None:
        """Do all steps of a study that was taken, without an engine: for a command in a terminal."""
        async with self.hold(row) as work:
            await self.measure_priors(work)
            for batch in self.split_batches(work, await self.list_pending(work)):
                if await self.find_stop(work) is not None or work.is_lost:
                    break
                await self.read_cells(work, batch)
            await self.finish(work)

    async def list_pending(self, work: Work) -> list[str]:
        return await repository.list_pending(self._store, work.row.id)

    def split_batches(self, work: Work, keys: Sequence[str]) -> list[list[str]]:
        """Return the cells that are asked side by side. Those of two rounds are in no batch together."""
        batches = []
        for _, group in groupby(keys, key=lambda key: work.cells[key].round):
            same = list(group)
            batches += [same[start : start + self.places] for start in range(0, len(same), self.places)]
        return batches

    async def measure_priors(self, work: Work) -> dict[int, PositionPrior]:
        """Return the position priors that the study's lists need. Those that nobody has measured are read."""
        row = work.row
        if row.method.read != "letters":
            return {}
        known = await repository.read_priors(
            self._store, row.method.model_digest, row.study.language
        ) | find_shipped_priors(row.method.model_digest, row.study.language)
        wanted = list_places(work.cells.values())
        for places in sorted(wanted - known.keys()):
            reads = []
            for ask in plan_prior(places, row.study.language):
                if await self.find_stop(work) is not None:  # an adopted study may have been cancelled before
                    return known
                try:
                    read = await self._read_neutral_list(work, ask)
                except (UnusableAnswer, NoLogprobs, APIError) as error:
                    log.warning("prior_not_measured", places=places, reason=type(error).__name__)
                    break
                if read is None:
                    return known
                reads.append(read)
            else:
                prior = compute_prior(row.method.model_digest, row.study.language, reads)
                await repository.keep_prior(self._store, prior)
                known[places] = prior
        return known

    async def _read_neutral_list(self, work: Work, ask: Ask) -> Read | None:
        """
        Return a read of a neutral list, or None if the study was stopped.

        One list that fails would leave every answer with as many places uncorrected, so it is asked again.
        Raises UnusableAnswer, NoLogprobs or APIError if it fails three times.
        """
        failures = 0
        while True:
            await self._let_others_first(work)
            try:
                found = await self._patiently(work, partial(work.interviewer.elicitor.read, ask))
            except (UnusableAnswer, APIError):
                failures += 1
                if failures == MOST_FAILURES:
                    raise
            else:
                return None if found is None else found[0]

    async def read_cells(self, work: Work, keys: Sequence[str]) -> int:
        """Ask for some cells side by side, and write how each ended. Returns how many were written."""
        ended = await asyncio.gather(*(self._read_cell(work, key) for key in keys))
        return sum(ended)

    async def find_stop(self, work: Work) -> Stop | None:
        """Return why no further cell may begin, or None."""
        row = work.row
        if work.is_lost:
            return Stop()
        if await repository.is_cancelled(self._store, row.id):
            return Stop()
        limits = row.study.limits
        ran = self.moment.now - (row.started_at or self.moment.now)
        if limits.minutes is not None and ran >= limits.minutes * 60:
            return Stop("minutes")
        if limits.model_reads is not None and work.own_reads >= limits.model_reads:
            return Stop("model_reads")
        return None

    async def finish(self, work: Work) -> Status | None:
        """Give the study its last status, and charge it. Returns None if another worker has it."""
        row = work.row
        progress = await repository.count_cells(self._store, row.id)
        if progress.done < progress.total:
            stop = await self.find_stop(work)
            if stop is None or work.is_lost:
                return None  # it goes on with another worker
            notices = (_describe_limit(stop.limit),) if stop.limit else ()
            return await self._end(row, "CANCELLED", progress, limit=stop.limit, notices=notices)
        unanswered = await self._find_unanswered_question(work)
        if unanswered is not None:
            error = f"No cell of question '{unanswered}' has an answer. Retry the study when the model works."
            return await self._end(row, "FAILED", progress, error=error)
        notices = ()
        if progress.failed:
            notices = (f"{progress.failed} of {progress.total} cells failed. No figure includes them.",)
        return await self._end(row, "COMPLETED", progress, notices=notices)

    async def end_cancelled(self, study_id: str) -> None:
        """End a cancelled study with the answers that it has, unless another process runs it. Asks nobody."""
        row = await self.take(study_id)
        if row is None:
            return
        if row.cancelled_at is None:
            await self.release(row)
            return
        await self._end(row, "CANCELLED", await repository.count_cells(self._store, row.id))

    async def release(self, row: StudyRow) -> None:
        """Let another worker go on at once."""
        await repository.release(self._database, row)

    async def _open(self, row: StudyRow) -> Work:
        interviewer = await self._open_interviewer(row)
        panel = build_panel(row.study, interviewer.personas, row.panel.prompts)
        cells = {cell.key: cell for cell in plan_cells(row.study, panel, row.method)}
        stored = await repository.read_cells(self._store, row.id)
        own_reads = sum(len(one.reading.reads) for one in stored if one.reading and not one.reused)
        images = StudyImages(self._database, row.id, row.fence, list_urls(row.study), interviewer.fetch_image)
        return Work(row, panel, cells, interviewer, images, own_reads)

    async def _read_cell(self, work: Work, key: str) -> bool:
        async with self._turns:
            await self._let_others_first(work)
            # A worker that died between a cell's answer and the checkpoint of its step runs the step again.
            if work.is_lost or not await repository.is_due(self._store, work.row.id, key):
                return False
            cell = work.cells[key]
            error: str | None = None
            reading: Reading | None = None
            try:
                shown = await self._prepare(work, cell)
                if shown is None:
                    return False
                reading = await self._patiently(work, partial(_elicit, work, cell, shown))
                if reading is None:
                    return False
            except LeftDiscussion as failure:
                error = str(failure)
            except UnusableAnswer as failure:
                error = f"The model gave no usable answer. {failure}"
            except NoLogprobs:
                error = "The model's server sent no log-probabilities. Copy the study to ask for shares."
            except APIError as failure:
                error = failure.message
            row = CellRow(
                key=key,
                place=0,
                status="failed" if reading is None else "answered",
                reading=reading,
                error=error,
                answered_at=self.moment.now,
            )
            work.own_reads += 0 if reading is None else len(reading.reads)
            return await repository.keep_cell(self._store, work.row, row)

    async def _prepare(self, work: Work, cell: Cell) -> Shown | None:
        """
        Return what a cell shows, or None if the round before it has not ended.

        Raises LeftDiscussion if the persona cannot answer in this round.
        """
        if cell.round == 1:
            return cell.shown
        said = {}
        for persona, key in list_previous(work.cells.values(), cell).items():
            row = await repository.find_cell(self._store, work.row.id, key)
            if row is None or row.status == "pending":
                return None
            if row.reading is not None:
                said[persona] = row.reading.reads[0].text
        return quote_round(cell, said, work.panel)

    async def _patiently(self, work: Work, ask: Callable[[], Awaitable[T]]) -> T | None:
        """Ask, and ask again for as long as the model is away. Returns None if the study was stopped."""
        return await self._patience.insist(
            lambda: self._until_stopped(work, asyncio.ensure_future(ask())),
            is_over=partial(self._is_over, work),
        )

    async def _is_over(self, work: Work) -> bool:
        return work.is_lost or await repository.is_cancelled(self._store, work.row.id)

    async def _until_stopped(self, work: Work, asking: asyncio.Future[T]) -> T | None:
        """Return the answer, or None if the study is cancelled meanwhile. Then the read is stopped too."""
        try:
            while True:
                done, _ = await asyncio.wait((asking,), timeout=0.5)
                if done:
                    return asking.result()
                if await self._is_over(work):
                    return None
        finally:
            if not asking.done():
                asking.cancel()
                await asyncio.gather(asking, return_exceptions=True)

    async def _let_others_first(self, work: Work) -> None:
        """Wait while the model works for live requests, but not for ever."""
        until = time.monotonic() + LONGEST_YIELD_SECONDS
        # The model cannot call when it is free.
        while time.monotonic() < until and await work.interviewer.is_busy():  # noqa: ASYNC110
            await asyncio.sleep(LOOK_SECONDS)

    async def _keep_lease(self, work: Work) -> None:
        while True:
            await asyncio.sleep(LEASE_SECONDS / 3)
            try:
                if not await repository.renew(
                    self._database, work.row, lease_seconds=LEASE_SECONDS, moment=self.moment
                ):
                    work.is_lost = True
                    return
            except APIError as error:
                log.warning("study_lease_not_renewed", study=work.row.id, reason=error.message)

    async def _find_unanswered_question(self, work: Work) -> str | None:
        answered = {
            work.cells[cell.key].id.question
            for cell in await repository.read_cells(self._store, work.row.id)
            if cell.status == "answered"
            and work.cells[cell.key].id.persona is not None
            and not work.cells[cell.key].shown.in_own_words
        }
        return next((one.id for one in work.row.study.questions if one.id not in answered), None)

    async def _end(
        self,
        row: StudyRow,
        status: Status,
        progress: Progress | None = None,
        *,
        error: str | None = None,
        limit: str | None = None,
        notices: tuple[str, ...] = (),
        charged: bool = True,
    ) -> Status | None:
        """End the study here, and charge it if nobody else has ended it."""
        credits = 0
        if charged and progress is not None and status != "FAILED":
            paid_for = progress.total - row.cells_reused
            credits = charge_for(row.price, max(0, progress.answered - row.cells_reused), paid_for)
            credits = max(0, credits - row.credits_charged)
        ended = await repository.finish(
            self._store,
            row,
            status,
            moment=self.moment,
            credits=credits,
            error=error,
            limit_reached=limit,
            notices=(*row.method.notices, *notices),
        )
        if not ended:
            return None
        await self.settle(row.id)
        return status

    async def settle_all(self) -> None:
        """Charge the studies whose worker died between their end and their charge."""
        for study_id in await repository.list_unsettled(self._database):
            await self.settle(study_id)

    async def settle(self, study_id: str) -> None:
        """Charge an ended study, and report its end. A second call changes nothing."""
        row = await repository.find(self._store, study_id)
        if row is None or not row.is_unsettled:
            return
        if row.hold_id is not None:
            await self._patience.insist(partial(self._credits.end, _make_end(row, row.hold_id)))
        if await repository.mark_settled(self._store, row) and self._on_end is not None:
            await self._on_end(row)


async def _elicit(work: Work, cell: Cell, shown: Shown) -> Reading:
    images = await work.images.show(cell.images)
    elicitor = work.interviewer.elicitor
    return await elicitor.elicit(shown, cell.id.persona, work.row.method.read, images)


def _make_end(row: StudyRow, hold_id: str) -> End:
    """Return the step that charges a study."""
    status: Literal["completed", "cancelled", "failed"]
    match row.status:
        case "COMPLETED":
            status = "completed"
        case "CANCELLED":
            status = "cancelled"
        case _:
            status = "failed"
    return End(
        hold_id,
        row.workspace_id,
        row.key_id,
        status,
        credits=row.credits_due,
        operation="focus_groups",
        model=row.method.record,
    )


def _describe_limit(name: str) -> str:
    return f"The study reached its limit of {name.replace('_', ' ')} and stopped with what it had."
