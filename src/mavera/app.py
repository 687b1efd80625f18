"""
`create_app(settings)`: the one place where the parts are joined.

    settings → database, keyring, credits, limits, personas, models → services → routes
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.types import ASGIApp

from mavera.accounts.concurrency import Running, RunningHere
from mavera.accounts.credits import Credits, Holdings
from mavera.accounts.idempotency import FirstAnswers
from mavera.accounts.keyring import Keyring
from mavera.accounts.keys import peppers_of
from mavera.accounts.limits import Limiter, open_limiter
from mavera.api import api_keys, custom_personas, docs, health, media, models, personas, usage, workspaces
from mavera.api import metrics as metrics_page
from mavera.api.admission import Admission
from mavera.api.chat_completions import routes as chat_completions
from mavera.api.errors import on_api_error, on_http_exception
from mavera.api.hosts import HostCheck
from mavera.api.middleware import RequestLog
from mavera.api.operation import Handler, Operation
from mavera.api.responses import routes as responses
from mavera.api.responses.websocket import respond_over_websocket
from mavera.api.services import Services
from mavera.errors import APIError, ConfigurationError
from mavera.fetch.guarded_fetch import FetchPolicy, GuardedFetch
from mavera.fetch.image_reader import ImageReader, is_installed
from mavera.metrics import Exchange, Metrics
from mavera.models.choice import choose_model, choose_vision_model
from mavera.models.embedded.cores import usable_cores
from mavera.models.model import KeepsPrefixes, Model
from mavera.models.scripted import ScriptedModel
from mavera.personas.library import PersonaLibrary
from mavera.personas.personas import Personas
from mavera.personas.prompt import persona_items
from mavera.runs.gate import Gate
from mavera.runs.images import ImageLimits, ImageStep
from mavera.runs.loop import Mode, Runner
from mavera.runs.server_tools import LoopLimits
from mavera.settings import Settings
from mavera.storage.database import Database
from mavera.storage.probe import StoreProbe
from mavera.storage.schema import ensure_schema
from mavera.tools.allowances import StoredAllowances
from mavera.tools.audit import AuditLog
from mavera.tools.choice import Parts, choose_tools, media_files, tool_sources
from mavera.tools.media import MediaStore
from mavera.tools.media_files import MediaFiles
from mavera.tools.scripted import scripted_tools
from mavera.tools.toolbox import Toolbox, ToolPolicy

# The second prefix is for tools that add a fixed `/v1/…` to a host.
SHORTEST_TOKEN = 16
PREFIXES = ("/api/v1", "/v1")

OPERATIONS: tuple[Operation, ...] = (
    *responses.OPERATIONS,
    *chat_completions.OPERATIONS,
    *personas.OPERATIONS,
    *custom_personas.OPERATIONS,
    *models.OPERATIONS,
    *media.OPERATIONS,
    *usage.OPERATIONS,
    *api_keys.OPERATIONS,
    *workspaces.OPERATIONS,
    *health.OPERATIONS,
)


def create_app(
    settings: Settings,
    *,
    live_model: Model | None = None,
    limiter: Limiter | None = None,
    running: Running | None = None,
    counts: Exchange | None = None,
) -> Starlette:
    """
    Return the ASGI application; nothing is opened before its lifespan starts.

    `live_model` answers `mvra_live_` keys and `limiter` counts requests, each in place of the one
    that the settings name. Of several workers `running` and `counts` are what they have together:
    the runs of each workspace, and the metrics.
    Raises ConfigurationError where settings contradict each other.
    """
    live = live_model or choose_model(settings)
    vision = choose_vision_model(settings)
    fetch = GuardedFetch(FetchPolicy.of(settings))
    files = media_files(settings)
    if 0 < len(settings.metrics_token) < SHORTEST_TOKEN:
        raise ConfigurationError(
            f"MAVERA_METRICS_TOKEN has at least {SHORTEST_TOKEN} characters: openssl rand -hex 24"
        )

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            if counts is not None:
                await stack.enter_async_context(_sending(metrics, counts))
            app.state.services = await _open_services(settings, chosen, stack)
            yield

    metrics = Metrics()
    chosen = _Chosen(live, vision, fetch, files, limiter, running or RunningHere(), metrics)
    application = _Application(lifespan, metrics, counts, HostCheck(settings))
    application.state.metrics = metrics  # for the server, which counts connections
    return application


@asynccontextmanager
async def _sending(metrics: Metrics, counts: Exchange) -> AsyncIterator[None]:
    """Send what is counted for as long as the block, and at its end."""
    task = asyncio.create_task(metrics_page.send_counts(metrics, counts))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


class _Application(Starlette):
    """Starlette without its outermost layer: `RequestLog` answers what nobody foresaw, and knows its id."""

    def __init__(
        self,
        lifespan: Callable[[Starlette], AbstractAsyncContextManager[None]],
        metrics: Metrics,
        counts: Exchange | None,
        hosts: HostCheck,
    ) -> None:
        self._metrics = metrics
        self._hosts = hosts
        routes = [*_routes(OPERATIONS), *docs.routes(OPERATIONS, PREFIXES[0])]
        routes.append(metrics_page.route(metrics, counts))
        super().__init__(routes=routes, lifespan=lifespan)

    def build_middleware_stack(self) -> ASGIApp:
        handlers = {APIError: on_api_error, HTTPException: on_http_exception}
        return RequestLog(
            ExceptionMiddleware(self.router, handlers=handlers),
            _handlers(OPERATIONS),
            {operation.handler: operation.path for operation in OPERATIONS},
            self._metrics,
            self._hosts,
        )


@dataclass(frozen=True, slots=True)
class _Chosen:
    """What the settings come down to, checked before anything is opened."""

    live: Model
    vision: Model | None
    fetch: GuardedFetch
    files: MediaFiles
    limiter: Limiter | None
    running: Running
    metrics: Metrics


async def _open_services(settings: Settings, chosen: _Chosen, stack: AsyncExitStack) -> Services:
    """Open what the routes need; `stack` closes it, in the opposite order."""
    database = Database.open(settings)
    stack.push_async_callback(database.close)
    await ensure_schema(database)
    store_probe = StoreProbe(database)
    stack.push_async_callback(store_probe.close)
    keyring = await stack.enter_async_context(Keyring(database, peppers=peppers_of(settings)))
    metrics = chosen.metrics

    def note(held: Holdings) -> None:
        metrics.note_held(ownerless=held.ownerless, expired=held.expired, oldest_seconds=held.oldest_seconds)

    credits = await stack.enter_async_context(
        Credits(database, lease_seconds=settings.lease_seconds, on_look=note)
    )
    first_answers = await stack.enter_async_context(FirstAnswers(database))
    limiter = chosen.limiter or open_limiter(settings.rate_limit_url, chosen.metrics.limited_locally.inc)
    stack.push_async_callback(limiter.close)
    people = Personas(PersonaLibrary.load(), database)
    if isinstance(chosen.live, KeepsPrefixes):
        chosen.live.keep([persona_items(persona) for persona in people.library])
    available: dict[Any, Model] = {"live": chosen.live, "test": ScriptedModel(keeps_turns=False)}
    for model in (*available.values(), *([chosen.vision] if chosen.vision else [])):
        await model.start()
        stack.push_async_callback(model.close)
    reader = _image_reader(settings)
    if reader is not None:
        stack.push_async_callback(reader.close)
    media_store = await stack.enter_async_context(MediaStore(database, settings, chosen.files))
    tools = await _open_tools(settings, Parts(chosen.fetch, media_store), stack, database, limiter)
    runner = Runner(
        people,
        available,
        images=ImageStep(chosen.fetch, reader, ImageLimits.of(settings)),
        vision=chosen.vision,
        tools=tools,
        tool_limits=LoopLimits.of(settings),
        require_persona=settings.require_persona,
        side_by_side=settings.running_at_once,
    )
    gate = Gate(settings.running_at_once, settings.max_waiting, on_waiting=metrics.runs_waiting.inc)
    admission = Admission(credits, gate, metrics, chosen.running)
    return Services(
        settings,
        database,
        keyring,
        people,
        available,
        runner,
        limiter,
        admission,
        first_answers,
        media_store,
        store_probe,
    )


async def _open_tools(
    settings: Settings, parts: Parts, stack: AsyncExitStack, database: Database, limiter: Limiter
) -> dict[Mode, Toolbox]:
    """Return the server's own tools for live keys, and stand-ins for test keys."""
    audit = await stack.enter_async_context(AuditLog(database))
    live = Toolbox(
        choose_tools(settings, parts),
        sources=tool_sources(settings),
        policy=ToolPolicy.of(settings),
        allowances=StoredAllowances(database),
        limiter=limiter,
        audit=audit,
    )
    stack.push_async_callback(live.close)
    await live.start()
    return {"live": live, "test": Toolbox(scripted_tools(), policy=ToolPolicy("none"))}


def _image_reader(settings: Settings) -> ImageReader | None:
    """Return what reads images for a model that cannot see; its process starts with the first one."""
    wanted = settings.image_reading
    if wanted == "never" or (wanted == "auto" and settings.backend == "upstream") or not is_installed():
        return None
    return ImageReader(threads=usable_cores(), max_pixels=settings.image_max_pixels)


def _routes(operations: tuple[Operation, ...]) -> list[BaseRoute]:
    return [
        *(
            Route(path, operation.handler, methods=[operation.method])
            for operation in operations
            for path in _paths(operation)
        ),
        *(WebSocketRoute(f"{prefix}/responses", respond_over_websocket) for prefix in PREFIXES),
    ]


def _handlers(operations: tuple[Operation, ...]) -> dict[tuple[str, str], Handler]:
    """Return those whose path has no parameter in it, by method and path."""
    return {
        (operation.method, path): operation.handler
        for operation in operations
        for path in _paths(operation)
        if "{" not in path
    }


def _paths(operation: Operation) -> list[str]:
    return [prefix + operation.path for prefix in (("",) if operation.absolute else PREFIXES)]
