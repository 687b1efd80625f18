"""
Open every part of a server, in order, and close it in the opposite one. Nothing here knows HTTP.

    open_store(settings)               the database, with its tables up to date
    open_named_model(settings, name)   one language model, started
    open_services(settings)            both, and every part that answers and charges a request

The application, the server's processes and the commands all use these functions.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Self

from mavera.accounts.credits.holds import Credits, Holdings
from mavera.accounts.credits.usage import count_recent_personas
from mavera.accounts.data.retention import read_bounds
from mavera.accounts.data.upkeep import Upkeep
from mavera.accounts.idempotency import FirstResponses
from mavera.accounts.keys.keyring import Keyring
from mavera.accounts.keys.repository import find_first_workspace_id
from mavera.accounts.keys.text import Mode, peppers_of
from mavera.accounts.limits.concurrency import Running, RunningHere
from mavera.accounts.limits.slots import PostgresSlots, RedisSlots
from mavera.accounts.limits.windows import Limiter, SharedLimiter, open_limiter
from mavera.accounts.requests import Refusals
from mavera.accounts.sessions.sessions import Sessions
from mavera.alerts.channels import choose_channels
from mavera.alerts.sender import AlertSender
from mavera.alerts.sources import BudgetSource, ModelSource
from mavera.fetch.guarded_fetch import FetchPolicy, GuardedFetch
from mavera.fetch.image_reader import ImageReader, is_installed
from mavera.focus_groups.desk import StudyDesk
from mavera.media.files import MediaFiles
from mavera.media.store import MediaStore
from mavera.metrics import Metrics
from mavera.models.choice import choose_model, choose_vision_model
from mavera.models.config import DEFAULT_NAME
from mavera.models.embedded.cores import count_usable_cores
from mavera.models.model import Model
from mavera.models.named import (
    NamedModel,
    NamedModels,
    choose_named_model,
    choose_named_models,
    identify_model,
)
from mavera.models.scripted import ScriptedModel
from mavera.models.tracing import CountsFailures
from mavera.personas.builtin import PersonaLibrary
from mavera.personas.catalogue import Personas
from mavera.personas.likely import order_by_use
from mavera.personas.prompt import build_library_prefix
from mavera.playground.notebook import Notebook
from mavera.runs.admission import Admission
from mavera.runs.charged import ChargedRuns
from mavera.runs.gate import Gate
from mavera.runs.images import ImageLimits, ImageStep
from mavera.runs.loop import Runner
from mavera.runs.persona_making import PersonaMaker
from mavera.runs.repeating import SeededAnswers
from mavera.runs.schema_checker import SchemaChecker
from mavera.runs.server_tools import LoopLimits
from mavera.runs.text_analyses import TextAnalyses
from mavera.settings import Settings
from mavera.storage.database import Database
from mavera.storage.kept import KeptAnswers
from mavera.storage.moving.closing import refuse_moving
from mavera.storage.postgres_checks import CONNECTIONS_OF_SERVER, CONNECTIONS_OF_WORKER
from mavera.storage.presence import Presence
from mavera.storage.probe import StoreProbe
from mavera.storage.same_everywhere import fingerprint
from mavera.storage.schema import ensure_schema
from mavera.storage.sealing import Secrets, open_secrets
from mavera.tools.allowances import StoredAllowances
from mavera.tools.audit import AuditLog
from mavera.tools.choice import Parts, choose_media_files, choose_tools, open_tool_sources
from mavera.tools.scripted import make_scripted_tools
from mavera.tools.toolbox import Toolbox, ToolPolicy

_RECENT_RUNS = 1000


@dataclass(frozen=True, slots=True)
class Services:
    """
    Every part of a server, opened. A route finds it at `request.app.state.services`.

    `models` says which model answers keys of each mode unless a live key asks for one of `named_models`.
    """

    settings: Settings
    metrics: Metrics
    database: Database
    keyring: Keyring
    sessions: Sessions
    personas: Personas
    models: Mapping[Mode, Model]
    named_models: NamedModels
    runs: ChargedRuns
    text_analyses: TextAnalyses
    persona_maker: PersonaMaker
    limiter: Limiter
    admission: Admission
    kept_answers: KeptAnswers
    first_responses: FirstResponses
    notebook: Notebook
    toolboxes: Mapping[Mode, Toolbox]
    media: MediaStore
    refusals: Refusals
    store_probe: StoreProbe
    focus_groups: StudyDesk


@dataclass(frozen=True, slots=True)
class Components:
    """
    The parts that the settings name, made and checked, and not yet opened.

    If `limiter` is None, `open_services` opens the one that the settings name.
    """

    model: Model
    named: dict[str, NamedModel]
    vision: Model | None
    fetch: GuardedFetch
    files: MediaFiles
    running: Running
    limiter: Limiter | None

    @classmethod
    def of(
        cls,
        settings: Settings,
        *,
        model: Model | None = None,
        limiter: Limiter | None = None,
        running: Running | None = None,
    ) -> Self:
        """
        Make the components of `settings`; an argument takes the place of the settings' own.

        Workers share their parent's engine, limiter and count of runs. Raises ConfigurationError if
        settings contradict each other.
        """
        default = model or choose_model(settings)
        return cls(
            model=default,
            named=choose_named_models(settings, default),
            vision=choose_vision_model(settings),
            fetch=GuardedFetch(FetchPolicy.from_settings(settings)),
            files=choose_media_files(settings),
            running=running or RunningHere(),
            limiter=limiter,
        )


@asynccontextmanager
async def open_store(settings: Settings) -> AsyncIterator[Database]:
    """
    Open the database that `settings` name, with its tables brought up to date.

    Raises ConfigurationError if its data is being moved or was moved to another one, or if a pool stands in
    front of it that mavera cannot work behind.
    """
    async with Database.open(settings) as database:
        await database.refuse_transaction_pool()
        await ensure_schema(database)
        await refuse_moving(database)
        await database.sync_clock()
        yield database


def open_sessions(database: Database, settings: Settings) -> Sessions:
    return Sessions(
        database,
        idle_seconds=settings.console_idle_seconds,
        life_seconds=settings.console_session_seconds,
    )


@asynccontextmanager
async def open_named_model(
    settings: Settings, name: str, people: Personas | None = None, default: Model | None = None
) -> AsyncIterator[NamedModel]:
    """
    Start the model that callers select as `name`. It may keep the prefixes of `people` ready.

    `default` takes the place of the model that the settings name.
    Raises ConfigurationError if there is no such model.
    """
    named = choose_named_model(settings, name, default)
    async with start_model(named.model, people):
        yield named


@asynccontextmanager
async def open_services(
    settings: Settings, components: Components | None = None, metrics: Metrics | None = None
) -> AsyncIterator[Services]:
    """
    Open all parts that answer and charge a request, and close them at the end of the block.

    Raises ConfigurationError if settings contradict each other or the database belongs to another program,
    and ServiceUnavailable if the database cannot be reached.
    """
    components = components or Components.of(settings)
    metrics = metrics or Metrics()
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        database = await enter(open_store(settings))
        store_probe = await enter(_open_store_probe(database))
        keyring = await enter(Keyring(database, peppers=peppers_of(settings)))
        secrets = open_secrets(settings)
        presence = await enter(_announce_server(database, settings, metrics))
        credits = await enter(_open_credits(database, settings, metrics, presence))
        kept_answers = await enter(KeptAnswers(database, secrets))
        first_responses = await enter(FirstResponses(database, kept_answers))
        limiter = await _open_limiter(stack, settings, components, metrics)
        running = await _open_running(stack, settings, components, limiter, database, presence)
        people = Personas(PersonaLibrary.load(), database)
        models = await enter(_start_models(components, people, await _count_uses(database)))
        _count_upstream_failures(models, components, metrics)
        media = await enter(MediaStore(database, settings, components.files))
        parts = Parts(components.fetch, media)
        toolboxes = _make_toolboxes(await enter(_open_toolbox(settings, parts, database, limiter)))
        repeats = _make_repeats(settings, kept_answers)
        runner = await enter(_open_runner(settings, components, people, models, toolboxes, repeats))
        admission = _make_admission(settings, components, metrics, credits, secrets, running)
        focus_groups = _make_study_desk(settings, components, database, credits, people, secrets)
        await enter(_make_alert_sender(settings, components, database, focus_groups))
        await enter(Upkeep(database, read_bounds(settings)))
        yield Services(
            settings=settings,
            metrics=metrics,
            database=database,
            keyring=keyring,
            sessions=open_sessions(database, settings),
            personas=people,
            models=models,
            named_models=components.named,
            runs=ChargedRuns(admission, runner),
            text_analyses=TextAnalyses(admission, runner.analyst),
            persona_maker=PersonaMaker(people, admission, models, components.named, settings.persona_credits),
            limiter=limiter,
            admission=admission,
            kept_answers=kept_answers,
            first_responses=first_responses,
            notebook=Notebook(database, kept_answers, keeps_contents=settings.response_store == "database"),
            toolboxes=toolboxes,
            media=media,
            refusals=await enter(Refusals(database)),
            store_probe=store_probe,
            focus_groups=focus_groups,
        )


@asynccontextmanager
async def _open_store_probe(database: Database) -> AsyncIterator[StoreProbe]:
    probe = StoreProbe(database)
    try:
        yield probe
    finally:
        await probe.close()


async def _open_limiter(
    stack: AsyncExitStack, settings: Settings, components: Components, metrics: Metrics
) -> Limiter:
    limiter = components.limiter or open_limiter(settings.rate_limit_url, metrics.limited_locally.inc)
    stack.push_async_callback(limiter.close)
    if isinstance(limiter, SharedLimiter):
        await limiter.check_policy()
    return limiter


def _announce_server(database: Database, settings: Settings, metrics: Metrics) -> Presence:
    return Presence(
        database,
        role="server",
        connections=CONNECTIONS_OF_SERVER,
        state=fingerprint(settings),
        on_look=metrics.note_clock_skew,
    )


def _count_upstream_failures(models: Mapping[Mode, Model], components: Components, metrics: Metrics) -> None:
    live = [models["live"], *(named.model for named in components.named.values())]
    # A model may stand under two names and is counted once.
    for one in {id(one): one for one in live}.values():
        if isinstance(one, CountsFailures):
            one.count_failures(metrics.note_upstream_failure)


def _make_study_desk(
    settings: Settings,
    components: Components,
    database: Database,
    credits: Credits,
    people: Personas,
    secrets: Secrets,
) -> StudyDesk:
    return StudyDesk(database, credits, people, components.named, components.fetch, secrets, settings)


def _make_alert_sender(
    settings: Settings, components: Components, database: Database, focus_groups: StudyDesk
) -> AlertSender:
    sources = (
        BudgetSource(database),
        ModelSource({name: named.model for name, named in components.named.items()}),
        focus_groups.find_stuck,
    )
    return AlertSender(database, choose_channels(settings, components.fetch), sources)


@dataclass(frozen=True, slots=True)
class StudyParts:
    """The parts that run studies. A process for studies opens these and none of those that serve requests."""

    database: Database
    secrets: Secrets
    library: PersonaLibrary
    models: Mapping[Mode, Model]
    named_models: NamedModels
    images: ImageStep


@asynccontextmanager
async def open_study_parts(settings: Settings, components: Components) -> AsyncIterator[StudyParts]:
    """Open what a worker needs to run studies, and close it at the end of the block."""
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        database = await enter(open_store(settings))
        state = fingerprint(settings)
        await enter(Presence(database, role="worker", connections=CONNECTIONS_OF_WORKER, state=state))
        library = PersonaLibrary.load()
        models = await enter(_start_models(components, Personas(library), await _count_uses(database)))
        reader = make_image_reader(settings)
        if reader is not None:
            stack.push_async_callback(reader.close)
        yield StudyParts(
            database=database,
            secrets=open_secrets(settings),
            library=library,
            models=models,
            named_models=components.named,
            images=ImageStep(components.fetch, reader, ImageLimits.of(settings)),
        )


@asynccontextmanager
async def _start_models(
    components: Components, people: Personas, uses: Mapping[str, int]
) -> AsyncIterator[dict[Mode, Model]]:
    """Start the model for each mode of key, and the other models that live keys can name."""
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        models: dict[Mode, Model] = {
            "live": await enter(start_model(components.model, people, uses)),
            "test": await enter(start_model(ScriptedModel(keeps_prompts=False))),
        }
        for name, other in components.named.items():
            if name != DEFAULT_NAME:
                await enter(start_model(other.model))
        yield models


@asynccontextmanager
async def _open_runner(
    settings: Settings,
    components: Components,
    people: Personas,
    models: Mapping[Mode, Model],
    toolboxes: Mapping[Mode, Toolbox],
    repeats: SeededAnswers | None,
) -> AsyncIterator[Runner]:
    """Open the runner, with the vision model, the reader of images and the checker of schemas."""
    async with AsyncExitStack() as stack:
        vision = (
            await stack.enter_async_context(start_model(components.vision)) if components.vision else None
        )
        reader = make_image_reader(settings)
        if reader is not None:
            stack.push_async_callback(reader.close)
        schemas = SchemaChecker()
        stack.push_async_callback(schemas.close)
        yield Runner(
            people,
            models,
            images=ImageStep(components.fetch, reader, ImageLimits.of(settings)),
            named=components.named,
            vision=vision,
            tools=toolboxes,
            tool_limits=LoopLimits.of(settings),
            require_persona=settings.require_persona,
            side_by_side=settings.running_at_once,
            schemas=schemas,
            repeats=repeats,
        )


def _make_toolboxes(toolbox: Toolbox) -> Mapping[Mode, Toolbox]:
    """Return the server tools for keys of each mode. Test keys get scripted ones, if they name them."""
    scripted = Toolbox(make_scripted_tools(), policy=ToolPolicy("none"))
    return MappingProxyType({"live": toolbox, "test": scripted})


def _make_repeats(settings: Settings, kept: KeptAnswers) -> SeededAnswers | None:
    """Return the kept answers to requests with a seed, None unless the operator keeps them."""
    if not settings.repeat_days:
        return None
    return SeededAnswers(kept, partial(identify_model, settings), days=settings.repeat_days)


async def _open_running(
    stack: AsyncExitStack,
    settings: Settings,
    components: Components,
    limiter: Limiter,
    database: Database,
    presence: Presence,
) -> Running:
    """Return the count of concurrent runs: in Redis if there is one, else in Postgres, else in memory."""
    lease_seconds = settings.lease_seconds
    if isinstance(limiter, SharedLimiter):
        slots = RedisSlots(
            limiter.store, limiter.errors, lease_seconds=lease_seconds, local=components.running
        )
        return await stack.enter_async_context(slots)
    if not database.is_file:
        return await stack.enter_async_context(
            PostgresSlots(database, presence.id, lease_seconds=lease_seconds)
        )
    return components.running


def _make_admission(
    settings: Settings,
    components: Components,
    metrics: Metrics,
    credits: Credits,
    secrets: Secrets,
    running: Running,
) -> Admission:
    """Return the admission of turns, with the queue in front of the model."""
    gate = Gate(
        settings.running_at_once,
        settings.max_waiting,
        on_waiting=metrics.runs_waiting.inc,
        on_waited=metrics.note_wait,
    )
    return Admission(credits, gate, metrics, running, named_models=components.named, secrets=secrets)


@asynccontextmanager
async def start_model(
    model: Model, people: Personas | None = None, uses: Mapping[str, int] = MappingProxyType({})
) -> AsyncIterator[Model]:
    """
    Start `model`, and close it at the end of the block.

    It may keep the prefixes of `people` ready, those with the most `uses` first.
    """
    keep_prefixes = model.profile.keep_prefixes
    if people is not None and keep_prefixes is not None:
        keep_prefixes([build_library_prefix(persona) for persona in order_by_use(people.library, uses)])
    try:
        await model.start()
        yield model
    finally:
        await model.close()


async def _count_uses(database: Database) -> dict[str, int]:
    """Return how often each persona answered lately in the first workspace, which most servers have alone."""
    workspace_id = await find_first_workspace_id(database)
    if workspace_id is None:
        return {}
    return await count_recent_personas(database, workspace_id, runs=_RECENT_RUNS)


@asynccontextmanager
async def _open_credits(
    database: Database, settings: Settings, metrics: Metrics, presence: Presence
) -> AsyncIterator[Credits]:
    def note(held: Holdings) -> None:
        metrics.note_holds(ownerless=held.ownerless, expired=held.expired, oldest_seconds=held.oldest_seconds)

    async with Credits(
        database,
        lease_seconds=settings.lease_seconds,
        on_look=note,
        living=lambda: presence.living,
        process_id=presence.id,
    ) as credits:
        yield credits


@asynccontextmanager
async def _open_toolbox(
    settings: Settings, parts: Parts, database: Database, limiter: Limiter
) -> AsyncIterator[Toolbox]:
    """Open the server tools for live keys."""
    async with AuditLog(database) as audit:
        toolbox = Toolbox(
            choose_tools(settings, parts),
            sources=open_tool_sources(settings),
            policy=ToolPolicy.of(settings),
            allowances=StoredAllowances(database),
            limiter=limiter,
            audit=audit,
        )
        try:
            await toolbox.start()
            yield toolbox
        finally:
            await toolbox.close()


def make_image_reader(settings: Settings) -> ImageReader | None:
    """Return the reader of images for a model that cannot see. Its process starts with the first image."""
    wanted = settings.image_reading
    if wanted == "never" or (wanted == "auto" and settings.backend == "upstream") or not is_installed():
        return None
    return ImageReader(threads=count_usable_cores(), max_pixels=settings.image_max_pixels)
