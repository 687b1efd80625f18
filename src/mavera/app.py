"""
`create_app(settings)`: the one place where the parts are joined.

    settings → database, keyring, credits, limits, personas, models → services → routes
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.routing import Route

from mavera.accounts.credits import Credits
from mavera.accounts.idempotency import FirstAnswers
from mavera.accounts.keyring import Keyring
from mavera.accounts.keys import peppers_of
from mavera.accounts.limits import open_limiter
from mavera.api import api_keys, custom_personas, docs, health, models, personas, usage, workspaces
from mavera.api.admission import Admission
from mavera.api.chat_completions import routes as chat_completions
from mavera.api.errors import on_api_error, on_http_exception, on_unexpected
from mavera.api.middleware import RequestLog
from mavera.api.operation import Operation
from mavera.api.responses import routes as responses
from mavera.api.services import Services
from mavera.errors import APIError
from mavera.models.choice import choose_model, choose_vision_model
from mavera.models.embedded.cores import usable_cores
from mavera.models.model import KeepsPrefixes, Model
from mavera.models.scripted import ScriptedModel
from mavera.personas.library import PersonaLibrary
from mavera.personas.personas import Personas
from mavera.personas.prompt import persona_items
from mavera.runs.gate import Gate
from mavera.runs.images import ImageLimits, ImageStep
from mavera.runs.loop import Runner
from mavera.settings import Settings
from mavera.storage.database import Database
from mavera.storage.schema import ensure_schema
from mavera.tools.fetch import FetchPolicy, GuardedFetch
from mavera.tools.image_reader import ImageReader, is_installed

# The second prefix is for tools that add a fixed `/v1/…` to a host.
PREFIXES = ("/api/v1", "/v1")

OPERATIONS: tuple[Operation, ...] = (
    *responses.OPERATIONS,
    *chat_completions.OPERATIONS,
    *personas.OPERATIONS,
    *custom_personas.OPERATIONS,
    *models.OPERATIONS,
    *usage.OPERATIONS,
    *api_keys.OPERATIONS,
    *workspaces.OPERATIONS,
    *health.OPERATIONS,
)


def create_app(settings: Settings, *, live_model: Model | None = None) -> Starlette:
    """
    Return the ASGI application; nothing is opened before its lifespan starts.

    `live_model` answers `mvra_live_` keys in place of the one the settings name.
    Raises ConfigurationError where settings contradict each other.
    """
    live = live_model or choose_model(settings)
    vision = choose_vision_model(settings)
    fetch = GuardedFetch(FetchPolicy.of(settings))

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            app.state.services = await _open_services(settings, _Chosen(live, vision, fetch), stack)
            yield

    return Starlette(
        routes=[*_routes(OPERATIONS), *docs.routes(OPERATIONS, PREFIXES[0])],
        middleware=[Middleware(RequestLog)],
        exception_handlers={
            APIError: on_api_error,
            HTTPException: on_http_exception,
            Exception: on_unexpected,
        },
        lifespan=lifespan,
    )


@dataclass(frozen=True, slots=True)
class _Chosen:
    """What the settings come down to, checked before anything is opened."""

    live: Model
    vision: Model | None
    fetch: GuardedFetch


async def _open_services(settings: Settings, chosen: _Chosen, stack: AsyncExitStack) -> Services:
    """Open what the routes need; `stack` closes it, in the opposite order."""
    database = Database.open(settings)
    stack.push_async_callback(database.close)
    await ensure_schema(database)
    keyring = await stack.enter_async_context(Keyring(database, peppers=peppers_of(settings)))
    credits = await stack.enter_async_context(Credits(database, lease_seconds=settings.lease_seconds))
    first_answers = await stack.enter_async_context(FirstAnswers(database))
    limiter = open_limiter(settings.rate_limit_url)
    stack.push_async_callback(limiter.close)
    people = Personas(PersonaLibrary.load(), database)
    if isinstance(chosen.live, KeepsPrefixes):
        chosen.live.keep([persona_items(persona) for persona in people.library])
    available: dict[Any, Model] = {"live": chosen.live, "test": ScriptedModel()}
    for model in (*available.values(), *([chosen.vision] if chosen.vision else [])):
        await model.start()
        stack.push_async_callback(model.close)
    reader = _image_reader(settings)
    if reader is not None:
        stack.push_async_callback(reader.close)
    runner = Runner(
        people,
        available,
        images=ImageStep(chosen.fetch, reader, ImageLimits.of(settings)),
        vision=chosen.vision,
        require_persona=settings.require_persona,
        side_by_side=settings.running_at_once,
    )
    admission = Admission(credits, Gate(settings.running_at_once, settings.max_waiting))
    return Services(settings, database, keyring, people, available, runner, limiter, admission, first_answers)


def _image_reader(settings: Settings) -> ImageReader | None:
    """Return what reads images for a model that cannot see; its process starts with the first one."""
    wanted = settings.image_reading
    if wanted == "never" or (wanted == "auto" and settings.backend == "upstream") or not is_installed():
        return None
    return ImageReader(threads=usable_cores(), max_pixels=settings.image_max_pixels)


def _routes(operations: tuple[Operation, ...]) -> list[Route]:
    return [
        Route(prefix + operation.path, operation.handler, methods=[operation.method])
        for operation in operations
        for prefix in (("",) if operation.absolute else PREFIXES)
    ]
