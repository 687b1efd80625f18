"""Pages of the operator: every workspace with its plan, the server tools, and the health of all parts."""

import secrets

from starlette.responses import RedirectResponse, Response

from mavera.accounts import workspaces
from mavera.accounts.administration import (
    WorkspaceChanges,
    grant_credits,
    make_workspace,
    update_workspace,
)
from mavera.accounts.plans import PLANS, Overrides, to_plan_name
from mavera.accounts.workspaces import NewWorkspace
from mavera.console.forms import Form, read_form
from mavera.console.policy import secure
from mavera.console.rendering import build_path, pages_of
from mavera.console.visit import Page, Visit
from mavera.errors import APIError, InvalidRequest
from mavera.parts import list_parts
from mavera.tools.allowances import allow_tools, find_allowed_tools

_LIST = "/console/operator/workspaces"
PAGE_LENGTH = 50
_LIMITS = ("requests_per_minute", "requests_per_day", "concurrent_runs", "monthly_credits")


async def show_workspaces(visit: Visit) -> Response:
    visit.principal.require("operator")
    return await _render_list(visit, Form(()))


async def create_workspace(visit: Visit) -> Response:
    visit.principal.require("operator")
    form = await read_form(visit.request)
    database = visit.services.database
    try:
        plan = to_plan_name(form.text("plan"))
        new = NewWorkspace(form.text("name"), plan, budget=form.whole_number("budget", "The budget"))
        made = await make_workspace(database, new, visit.actor, now=int(database.clock()))
    except APIError as error:
        return await _render_list(visit, form, error)
    return _redirect(visit, "workspaces", made.id)


async def show_workspace(visit: Visit) -> Response:
    visit.principal.require("operator")
    return await _render_one(visit, Form(()))


async def save_workspace(visit: Visit) -> Response:
    """Change the name, the plan, its limits or the budget."""
    visit.principal.require("operator")
    form = await read_form(visit.request)
    database, workspace_id = visit.services.database, visit.request.path_params["chosen_id"]
    try:
        limits = {name: form.whole_number(name, f"'{name}'") for name in _LIMITS}
        changes = WorkspaceChanges(
            name=form.text("name"),
            plan=to_plan_name(form.text("plan")),
            overrides=Overrides(**limits),
            budget=form.whole_number("budget", "The budget"),
        )
        await update_workspace(database, workspace_id, changes, visit.actor, now=int(database.clock()))
    except APIError as error:
        return await _render_one(visit, form, error)
    return _redirect(visit, "workspaces", workspace_id)


async def add_credits(visit: Visit) -> Response:
    visit.principal.require("operator")
    form = await read_form(visit.request)
    database, workspace_id = visit.services.database, visit.request.path_params["chosen_id"]
    try:
        if not await visit.services.sessions.claim_form(visit.session, form.text("form_id")):
            return _redirect(visit, "workspaces", workspace_id)
        credits = form.whole_number("credits", "A grant")
        if credits is None:
            raise InvalidRequest("Say how many credits.", param="credits")
        note = form.text("note") or None
        now = int(database.clock())
        await grant_credits(database, workspace_id, credits, visit.actor, note=note, now=now)
    except APIError as error:
        return await _render_one(visit, form, error)
    return _redirect(visit, "workspaces", workspace_id)


async def save_tools(visit: Visit) -> Response:
    """Set the server tools that a workspace may use."""
    visit.principal.require("operator")
    form = await read_form(visit.request)
    database, workspace_id = visit.services.database, visit.request.path_params["chosen_id"]
    known = {tool.name for tool in visit.services.toolboxes["live"].tools}
    names = None if form.has("all") else tuple(name for name in form.texts("tools") if name in known)
    await allow_tools(database, workspace_id, names, visit.actor, now=int(database.clock()))
    return _redirect(visit, "workspaces", workspace_id)


async def show_tools(visit: Visit) -> Response:
    visit.principal.require("operator")
    settings, toolbox = visit.services.settings, visit.services.toolboxes["live"]
    tools = [(tool.name, tool.provider, tool.setting, toolbox.is_unasked(tool)) for tool in toolbox.tools]
    return visit.render(
        "operator/tools.html",
        tools=sorted(tools),
        away=[source.label for source in toolbox.away],
        per_minute=settings.tools_per_minute,
        per_day=settings.tools_per_day,
    )


async def show_health(visit: Visit) -> Response:
    visit.principal.require("operator")
    services = visit.services
    models = {name: named.model.status() for name, named in services.named_models.items()}
    return visit.render("operator/health.html", parts=await list_parts(services), models=models, plans=PLANS)


async def _render_list(visit: Visit, form: Form, error: APIError | None = None) -> Response:
    database = visit.services.database
    after = visit.request.query_params.get("after", "")[:64]
    found = await workspaces.list_page(
        database, after=after, limit=PAGE_LENGTH + 1, now=int(database.clock())
    )
    return visit.render(
        "operator/workspaces.html",
        workspaces=found[:PAGE_LENGTH],
        after=found[PAGE_LENGTH - 1].id if len(found) > PAGE_LENGTH else None,
        plans=PLANS,
        form=form,
        error=error,
        status=error.status if error else 200,
    )


async def _render_one(visit: Visit, form: Form, error: APIError | None = None) -> Response:
    database, workspace_id = visit.services.database, visit.request.path_params["chosen_id"]
    workspace = await workspaces.get(database, workspace_id, now=int(database.clock()))
    allowed = await find_allowed_tools(database, workspace_id)
    tools = sorted(tool.name for tool in visit.services.toolboxes["live"].tools)
    return visit.render(
        "operator/workspace.html",
        chosen=workspace,
        allowed=allowed,
        tools=tools,
        plans=PLANS,
        limits=[(name, getattr(workspace.overrides, name)) for name in _LIMITS],
        form=form,
        form_id=secrets.token_urlsafe(12),
        error=error,
        status=error.status if error else 200,
    )


def _redirect(visit: Visit, *parts: str) -> Response:
    prefix = pages_of(visit.request).prefix_of(visit.request)
    return secure(RedirectResponse(prefix + build_path("console", "operator", *parts), 303))


ROUTES = (
    Page("GET", _LIST, show_workspaces),
    Page("POST", _LIST, create_workspace),
    Page("GET", f"{_LIST}/{{chosen_id}}", show_workspace),
    Page("POST", f"{_LIST}/{{chosen_id}}", save_workspace),
    Page("POST", f"{_LIST}/{{chosen_id}}/credits", add_credits),
    Page("POST", f"{_LIST}/{{chosen_id}}/tools", save_tools),
    Page("GET", "/console/operator/tools", show_tools),
    Page("GET", "/console/operator/health", show_health),
)
