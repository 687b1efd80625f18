"""
Create the application: the routes, on services that open when the server starts (`services.py`).
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.types import ASGIApp

from mavera.accounts.limits.concurrency import Running
from mavera.accounts.limits.windows import Limiter
from mavera.api.chat_completions import routes as chat_completions
from mavera.api.http.cors import allow_origins, parse_origins
from mavera.api.http.drain import Drain
from mavera.api.http.errors import on_api_error, on_http_exception
from mavera.api.http.hosts import HostCheck
from mavera.api.http.middleware import RequestLog
from mavera.api.http.operations import Handler, Operation
from mavera.api.http.tracing import TraceRequests
from mavera.api.metrics_port import open_metrics_port
from mavera.api.responses import routes as responses
from mavera.api.responses.websocket import respond_over_websocket
from mavera.api.routes import (
    analyses,
    audit,
    custom_personas,
    data,
    docs,
    focus_groups,
    health,
    manual,
    media,
    models,
    operator,
    personas,
    requests,
    study_shares,
    usage,
    workspaces,
)
from mavera.api.routes import keys as api_keys
from mavera.api.routes import metrics as metrics_page
from mavera.console.pages import Console, list_paths
from mavera.core.background import stop
from mavera.errors import APIError, ConfigurationError
from mavera.metrics import Exchange, Metrics
from mavera.models.model import Model
from mavera.models.tracing import Traceable
from mavera.services import Components, Services, open_services
from mavera.settings import Settings
from mavera.telemetry import Telemetry, open_telemetry

Beside = Callable[[Services], AbstractAsyncContextManager[None]]
# The second prefix is for tools that add a fixed `/v1/…` to a host.
SHORTEST_TOKEN = 16
PREFIXES = ("/api/v1", "/v1")

OPERATIONS: tuple[Operation, ...] = (
    *responses.OPERATIONS,
    *chat_completions.OPERATIONS,
    *analyses.OPERATIONS,
    *personas.OPERATIONS,
    *custom_personas.OPERATIONS,
    *focus_groups.OPERATIONS,
    *study_shares.OPERATIONS,
    *models.OPERATIONS,
    *media.OPERATIONS,
    *usage.OPERATIONS,
    *requests.OPERATIONS,
    *api_keys.OPERATIONS,
    *workspaces.OPERATIONS,
    *data.OPERATIONS,
    *audit.OPERATIONS,
    *operator.OPERATIONS,
    *health.OPERATIONS,
)


def create_app(
    settings: Settings,
    *,
    live_model: Model | None = None,
    limiter: Limiter | None = None,
    running: Running | None = None,
    counts: Exchange | None = None,
    beside: Beside | None = None,
    telemetry: Telemetry | None = None,
) -> Starlette:
    """
    Return the ASGI application. Nothing is opened before its lifespan starts.

    `live_model` answers `mvra_live_` keys and `limiter` counts requests, each in place of the one in the
    settings. Several workers share `running`, which counts the runs of each workspace, and `counts`, which
    exchanges their metrics. `beside` is open for as long as the services are. `telemetry` takes the place
    of the one in the settings.
    Raises ConfigurationError if settings contradict each other.
    """
    parse_origins(settings.cors_origins)
    components = Components.of(settings, model=live_model, limiter=limiter, running=running)
    if 0 < len(settings.metrics_token) < SHORTEST_TOKEN:
        raise ConfigurationError(
            f"MAVERA_METRICS_TOKEN has at least {SHORTEST_TOKEN} characters: openssl rand -hex 24"
        )

    telemetry = telemetry or open_telemetry(settings)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            if counts is not None:
                await stack.enter_async_context(_send_metrics(metrics, counts))
            services = await stack.enter_async_context(open_services(settings, components, metrics))
            app.state.services = services
            if telemetry is not None:
                stack.push_async_callback(telemetry.close)
                _trace_models(services, telemetry)
            if settings.metrics_port:
                read = partial(metrics_page.build_reader(metrics, counts), services)
                await stack.enter_async_context(open_metrics_port(settings.host, settings.metrics_port, read))
            if beside is not None:
                await stack.enter_async_context(beside(services))
            yield

    metrics = Metrics()
    application = _Application(lifespan, metrics, counts, settings, telemetry)
    application.state.metrics = metrics  # for the server, which counts connections
    application.state.drain = Drain()
    return application


def _trace_models(services: Services, telemetry: Telemetry) -> None:
    for model in {id(one): one for one in _list_models(services)}.values():
        if isinstance(model, Traceable):
            model.trace_with(telemetry)


def _list_models(services: Services) -> list[Model]:
    return [services.models["live"], *(named.model for named in services.named_models.values())]


@asynccontextmanager
async def _send_metrics(metrics: Metrics, counts: Exchange) -> AsyncIterator[None]:
    """Send the metrics regularly during the block, and at its end."""
    task = asyncio.create_task(metrics_page.send_counts(metrics, counts))
    try:
        yield
    finally:
        await stop(task)


class _Application(Starlette):
    """Starlette without its outermost layer, because `RequestLog` handles unforeseen errors."""

    def __init__(
        self,
        lifespan: Callable[[Starlette], AbstractAsyncContextManager[None]],
        metrics: Metrics,
        counts: Exchange | None,
        settings: Settings,
        telemetry: Telemetry | None,
    ) -> None:
        self._telemetry = telemetry
        self._metrics = metrics
        self._hosts = HostCheck(settings)
        self._settings = settings
        console = Console(settings) if settings.console == "on" else None
        routes = [*(console.routes if console else ())]
        routes += [*_build_routes(OPERATIONS), *docs.routes(OPERATIONS, PREFIXES[0])]
        routes += manual.routes()
        if not settings.metrics_port:
            routes.append(metrics_page.route(metrics_page.build_reader(metrics, counts)))
        self._paths = {operation.handler: operation.path for operation in OPERATIONS}
        super().__init__(routes=routes, lifespan=lifespan)
        if console is not None:
            self._paths.update(list_paths(console))
            self.state.console = console.pages
            self.state.doors = console.doors
        self.router.redirect_slashes = False

    def build_middleware_stack(self) -> ASGIApp:
        handlers = {APIError: on_api_error, HTTPException: on_http_exception}
        fixed = _build_handlers(OPERATIONS)
        answering = RequestLog(
            ExceptionMiddleware(self.router, handlers=handlers),
            fixed,
            self._paths,
            self._metrics,
            self._hosts,
            self._settings.path_prefix,
        )
        outermost = allow_origins(answering, self._settings)
        if self._telemetry is None:
            return outermost
        return TraceRequests(outermost, self._telemetry, frozenset(path for _, path in fixed))


def _build_routes(operations: tuple[Operation, ...]) -> list[BaseRoute]:
    return [
        *(
            Route(_route_path(path, operation), operation.handler, methods=[operation.method])
            for operation in operations
            for path in _list_paths(operation)
        ),
        *(WebSocketRoute(f"{prefix}/responses", respond_over_websocket) for prefix in PREFIXES),
    ]


def _build_handlers(operations: tuple[Operation, ...]) -> dict[tuple[str, str], Handler]:
    """Return the handlers of paths without parameters, by method and path."""
    return {
        (operation.method, path): operation.handler
        for operation in operations
        for path in _list_paths(operation)
        if "{" not in path
    }


def _route_path(path: str, operation: Operation) -> str:
    """Return `path` as Starlette writes a path with a parameter that may have slashes."""
    for parameter in operation.parameters:
        if parameter.may_have_slashes:
            path = path.replace(f"{{{parameter.name}}}", f"{{{parameter.name}:path}}")
    return path


def _list_paths(operation: Operation) -> list[str]:
    return [prefix + operation.path for prefix in (("",) if operation.absolute else PREFIXES)]
