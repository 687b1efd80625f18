"""Data: what the workspace keeps and until when, export, erasure, and the end of the workspace."""

from starlette.responses import RedirectResponse, Response

from mavera.accounts import workspaces
from mavera.accounts.data.deletion import Erasure, delete_workspace
from mavera.accounts.data.retention import KINDS, Kind, change_terms, list_terms, read_bounds
from mavera.api.routes.data import Erase, erase, respond_with_export
from mavera.console.forms import Form, read_form
from mavera.console.policy import secure
from mavera.console.rendering import pages_of
from mavera.console.visit import Page, Visit
from mavera.errors import APIError

_PATH = "/console/w/{workspace_id}/data"
LABELS = {
    "usage": "Runs and calls of server tools; sums of days stay",
    "ledger": "Entries of the ledger; their sum stays",
    "requests": "Requests that failed before a run",
    "answers": "Kept answers",
    "studies": "Ended studies, with their cells and links",
    "media": "Generated images and videos",
    "audit": "The audit log",
}


async def show_data(visit: Visit) -> Response:
    visit.principal.require("admin")
    return await _render(visit, Form(()))


async def save_retention(visit: Visit) -> Response:
    visit.principal.require("admin")
    form = await read_form(visit.request)
    database = visit.services.database
    try:
        days: dict[Kind, int | None] = {kind: form.whole_number(kind, "A number of days") for kind in KINDS}
        bounds = read_bounds(visit.services.settings)
        now = int(database.clock())
        await change_terms(database, visit.workspace_id, days, bounds, visit.actor, now=now)
    except APIError as error:
        return await _render(visit, form, error)
    return visit.redirect("data")


async def erase_data(visit: Visit) -> Response:
    """Count what would be erased, and erase it if that was seen before."""
    visit.principal.require("admin")
    form = await read_form(visit.request)
    try:
        body = Erase(
            end_user=form.text("end_user") or None,
            persona_id=form.text("persona_id") or None,
            focus_group_id=form.text("focus_group_id") or None,
            dry_run=not form.has("sure"),
        )
        erasure = await erase(visit.services, visit.principal, body)
    except APIError as error:
        return await _render(visit, form, error)
    return await _render(visit, form, erasure=erasure)


async def export_data(visit: Visit) -> Response:
    visit.principal.require("admin")
    return secure(await respond_with_export(visit.services, visit.principal))


async def delete_own(visit: Visit) -> Response:
    visit.principal.require("admin")
    form = await read_form(visit.request)
    database = visit.services.database
    try:
        now = int(database.clock())
        await delete_workspace(database, visit.workspace_id, form.text("name"), visit.actor, now=now)
    except APIError as error:
        return await _render(visit, form, error)
    prefix = pages_of(visit.request).prefix_of(visit.request)
    return secure(RedirectResponse(f"{prefix}/console/sign-in", 303))


async def _render(
    visit: Visit, form: Form, error: APIError | None = None, erasure: Erasure | None = None
) -> Response:
    database = visit.services.database
    workspace = await workspaces.get(database, visit.workspace_id, now=int(database.clock()))
    bounds = read_bounds(visit.services.settings)
    return visit.render(
        "data/data.html",
        workspace=workspace,
        terms=await list_terms(database, visit.workspace_id, bounds),
        labels=LABELS,
        form=form,
        error=error,
        erasure=erasure,
        status=error.status if error else 200,
    )


ROUTES = (
    Page("GET", _PATH, show_data),
    Page("POST", f"{_PATH}/retention", save_retention),
    Page("POST", f"{_PATH}/erase", erase_data),
    Page("POST", f"{_PATH}/export", export_data),
    Page("POST", f"{_PATH}/delete", delete_own),
)
