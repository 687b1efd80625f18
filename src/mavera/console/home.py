"""The first page: the first call to make, the health of the server, and the latest runs."""

from starlette.responses import Response

from mavera.accounts import workspaces
from mavera.accounts.credits.usage import list_latest
from mavera.accounts.workspaces import Workspace
from mavera.console.rendering import pages_of
from mavera.console.visit import Page, Visit
from mavera.parts import list_parts
from mavera.personas.likely import FIRST_PERSONA

QUESTION = "How do you feel about sustainable fashion?"
RUNS_SHOWN = 8


async def show_home(visit: Visit) -> Response:
    services = visit.services
    await services.admission.write_due_charges()
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


def _describe_credit(workspace: Workspace) -> int | None:
    return None if workspace.unlimited else workspace.balance


ROUTES = (Page("GET", "/console/w/{workspace_id}/home", show_home),)
