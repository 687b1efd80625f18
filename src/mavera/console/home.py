"""The first page: the first call to make, the health of the server, and the latest runs."""

from dataclasses import dataclass
from typing import Literal

from starlette.responses import Response

from mavera.accounts import workspaces
from mavera.accounts.credits.usage import list_latest
from mavera.accounts.limits.windows import SharedLimiter
from mavera.accounts.workspaces import Workspace
from mavera.console.rendering import pages_of
from mavera.console.visit import Page, Visit
from mavera.personas.likely import FIRST_PERSONA
from mavera.services import Services

QUESTION = "How do you feel about sustainable fashion?"
RUNS_SHOWN = 8

State = Literal["good", "waiting", "bad"]


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the server, and how it is. `detail` says what to do if it is not well."""

    name: str
    state: State
    word: str
    detail: str


async def show_home(visit: Visit) -> Response:
    services = visit.services
    workspace = await workspaces.get(
        services.database, visit.workspace_id, now=int(services.database.clock())
    )
    sees_usage = "usage:read" in visit.principal.scopes
    return visit.render(
        "home/home.html",
        call=_write_first_call(visit),
        parts=await list_parts(services),
        workspace=workspace,
        left=_describe_credit(workspace),
        runs=await list_latest(services.database, workspace.id, limit=RUNS_SHOWN) if sees_usage else [],
        sees_usage=sees_usage,
        names={persona.id: persona.name for persona in services.personas.library},
    )


def _write_first_call(visit: Visit) -> str:
    """Return a call to copy. It reads the key from the environment, so no key is in it."""
    persona = visit.services.personas.library.find(FIRST_PERSONA)
    body = f'{{"model": "mavera-1", "persona_id": "{persona.id}", "input": "{QUESTION}"}}'
    return (
        f"curl {address_of(visit)}/api/v1/responses \\\n"
        f'  -H "Authorization: Bearer $MAVERA_API_KEY" \\\n'
        f"  -H 'Content-Type: application/json' \\\n"
        f"  -d '{body}'"
    )


def address_of(visit: Visit) -> str:
    """Return the address at which clients reach this server."""
    public_url = visit.services.settings.public_url.rstrip("/")
    url = visit.request.url
    return public_url or f"{url.scheme}://{url.netloc}{pages_of(visit.request).prefix_of(visit.request)}"


async def list_parts(services: Services) -> list[Part]:
    """Return the health of the model, the store, the limits and the worker of studies."""
    model = services.models["live"].status()
    state: State = {"ready": "good", "idle": "good", "starting": "waiting"}.get(model.state, "bad")  # type: ignore[assignment]
    store = await services.store_probe.state()
    return [
        Part("Model", state, model.state, model.detail),
        Part(
            "Database",
            "good" if store.is_ready else "bad",
            "ready" if store.is_ready else "unavailable",
            store.detail or ("SQLite on this machine" if services.database.is_file else "Postgres"),
        ),
        await _describe_limits(services),
        _describe_worker(services),
    ]


async def _describe_limits(services: Services) -> Part:
    limiter = services.limiter
    if not isinstance(limiter, SharedLimiter):
        return Part("Rate limits", "good", "local", "counted in the memory of this server")
    if await limiter.is_reachable():
        return Part("Rate limits", "good", "shared", "counted for all servers together")
    return Part(
        "Rate limits", "bad", "approximate", "The shared store cannot be reached; each server counts."
    )


def _describe_worker(services: Services) -> Part:
    if services.settings.study_worker == "off":
        return Part("Study worker", "waiting", "separate", "Studies run where 'mavera worker' runs.")
    return Part("Study worker", "good", "ready", "starts with the first study")


def _describe_credit(workspace: Workspace) -> int | None:
    return None if workspace.unlimited else workspace.balance


ROUTES = (Page("GET", "/console/w/{workspace_id}/home", show_home),)
