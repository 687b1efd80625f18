"""
Open the service for studies when the first request needs it.

Its libraries take memory and time. A server without studies does not load them, and they need not be
installed.
"""

import asyncio
import importlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import structlog

from mavera.accounts.credits.holds import Credits
from mavera.alerts.findings import Finding
from mavera.core.text import format_count
from mavera.errors import APIError, ServiceUnavailable
from mavera.extras import describe_missing_extra
from mavera.fetch.guarded_fetch import GuardedFetch
from mavera.focus_groups.load import measure_load
from mavera.focus_groups.repository import Progress, StudyRow
from mavera.focus_groups.shares import Shares
from mavera.models.named import NamedModels
from mavera.personas.catalogue import Personas
from mavera.runs.images import ImageLimits, ImageStep
from mavera.settings import Settings
from mavera.storage.database import Database
from mavera.storage.moment import moment_of
from mavera.storage.sealing import Secrets

if TYPE_CHECKING:
    from mavera.focus_groups.service import FocusGroups

log = structlog.get_logger()

T = TypeVar("T")

MOST_KEPT = 24


@dataclass
class StudyDesk:
    """The parts from which the service for studies is built."""

    database: Database
    credits: Credits
    personas: Personas
    named_models: NamedModels
    fetch: GuardedFetch
    secrets: Secrets = field(repr=False)
    settings: Settings = field(repr=False)

    @property
    def service(self) -> "FocusGroups":
        """Raises ServiceUnavailable if the extra `research` is not installed."""
        return self._service

    async def read_gauges(self) -> dict[str, float]:
        """Return the metrics of the unfinished studies, none if the database cannot be read."""
        try:
            load = await measure_load(self.database, moment_of(self.database, None))
        except APIError:
            return {}
        return {
            "mavera_studies_waiting": load.waiting,
            "mavera_studies_running": load.running,
            "mavera_studies_stuck": load.stuck,
            "mavera_study_oldest_wait_seconds": load.oldest_wait_seconds,
        }

    async def find_stuck(self) -> Sequence[Finding]:
        """Return a finding if studies have lost their worker and no other has taken them."""
        load = await measure_load(self.database, moment_of(self.database, None))
        if not load.stuck:
            return ()
        text = (
            f"{format_count(load.stuck, 'study', 'studies')} without a worker for more than a minute. "
            "Start one: mavera worker"
        )
        data = {"stuck": load.stuck, "waiting": load.waiting, "running": load.running}
        return (Finding("studies", "studies.stuck", text, data),)

    @cached_property
    def results(self) -> "StudyResults":
        return StudyResults(self)

    @cached_property
    def shares(self) -> Shares:
        return Shares(self.database)

    @cached_property
    def _service(self) -> "FocusGroups":
        module = load_study_module("service")
        service: FocusGroups = module.FocusGroups(
            self.database,
            self.credits,
            self.personas,
            self.named_models,
            model_digest=digest_model(self.settings),
            images=ImageStep(self.fetch, None, ImageLimits.of(self.settings)),
        )
        return service


class StudyResults:
    """
    The results of studies for readers, computed in a thread, one study at a time. The last few are kept.

    A study's results change with each cell that gets an answer, and with the answers of real people.
    """

    def __init__(self, desk: StudyDesk) -> None:
        self._desk = desk
        self._turn = asyncio.Lock()
        self._kept: OrderedDict[tuple[object, ...], Any] = OrderedDict()

    async def compute(self, row: StudyRow, progress: Progress) -> dict[str, Any]:
        """Return the members that a study's object gets once it has answers."""
        results: dict[str, Any] = await self._find(row, progress, "compute_results")
        return results

    async def compute_group(
        self, row: StudyRow, progress: Progress, personas: tuple[str, ...], cells: tuple[str, ...]
    ) -> list[dict[str, Any]]:
        """
        Return the questions' results for some personas and monadic cells only.

        Raises InvalidRequest if the study lacks one of them.
        """
        found: list[dict[str, Any]] = await self._find(row, progress, "compute_group", personas, cells)
        return found

    async def page_respondents(
        self, row: StudyRow, progress: Progress, *, screened: bool, start: int, limit: int
    ) -> tuple[list[dict[str, Any]], int]:
        """Return up to `limit` respondents from number `start` on, and the number of all."""
        record = await self._read(row, progress)
        rows: tuple[list[dict[str, Any]], int] = await self._run(
            "page_respondents", record, screened, start, limit
        )
        return rows

    async def list_cells(self, row: StudyRow) -> list[dict[str, Any]]:
        cells: list[dict[str, Any]] = await self._run("describe_cells", await self._desk.service.read(row))
        return cells

    async def export(self, row: StudyRow, progress: Progress, kind: str) -> Any:
        """Return a file, with its `name`, `content_type` and `content`."""
        return await self._find(row, progress, "export", kind)

    async def compare(self, rows: Sequence[StudyRow]) -> Any:
        """Return the questions that the studies share, side by side."""
        return await self._run("compare", [await self._desk.service.read(row) for row in rows])

    async def check_human(self, row: StudyRow, text: str) -> str:
        """Return answers of real people that fit the study. Raises ValidationFailed."""
        checked: str = await self._run("check_human", await self._desk.service.read(row), text)
        return checked

    async def keep(
        self, row: StudyRow, progress: Progress, name: tuple[object, ...], make: Callable[[], T]
    ) -> T:
        """Return the value of `make`, called in a thread and kept while the study stays as it is."""
        async with self._turn:
            made: T = await self._keep((*_state_of(row, progress), *name), lambda: asyncio.to_thread(make))
            return made

    async def _find(self, row: StudyRow, progress: Progress, name: str, *more: object) -> Any:
        record = await self._read(row, progress)
        async with self._turn:
            return await self._keep(
                (*_state_of(row, progress), name, *more),
                lambda: asyncio.to_thread(_function(name), record, *more),
            )

    async def _read(self, row: StudyRow, progress: Progress) -> Any:
        """Return the record of a study in its present state."""
        async with self._turn:
            return await self._keep(_state_of(row, progress), lambda: self._desk.service.read(row))

    async def _keep(self, key: tuple[object, ...], make: Callable[[], Awaitable[Any]]) -> Any:
        """Return what is kept under `key`, and make it first if there is nothing."""
        if key not in self._kept:
            self._kept[key] = await make()
        self._kept.move_to_end(key)
        while len(self._kept) > MOST_KEPT:
            self._kept.popitem(last=False)
        return self._kept[key]

    async def _run(self, name: str, *arguments: object) -> Any:
        async with self._turn:
            return await asyncio.to_thread(_function(name), *arguments)


def _state_of(row: StudyRow, progress: Progress) -> tuple[object, ...]:
    return row.id, row.attempt, row.status, progress.done, row.human


def _function(name: str) -> Callable[..., Any]:
    function: Callable[..., Any] = getattr(load_study_module("reports"), name)
    return function


def load_study_module(name: str) -> Any:
    """Import a module of this room. Raises ServiceUnavailable if a library that it needs is missing."""
    try:
        return importlib.import_module(f"mavera.focus_groups.{name}")
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("mavera"):
            raise
        log.error("research_not_installed", reason=describe_missing_extra("research", "A focus group"))
        raise ServiceUnavailable(
            "This server lacks the extra 'research', which focus groups need. Its log has the command."
        ) from error


def digest_model(settings: Settings) -> str:
    """Return a name for the model behind `mavera-1`, the same on every machine that runs the same model."""
    match settings.backend:
        case "embedded" if settings.model_path is not None:
            size = settings.model_path.stat().st_size if settings.model_path.exists() else 0
            return f"embedded:{settings.model_path.name}:{size}"
        case "embedded":
            return f"embedded:{settings.model}"
        case "upstream":
            return f"upstream:{settings.upstream_model}"
        case "scripted":
            return "scripted"
