"""
/operator: every workspace of the server, for a key with the scope `operator`.

No default has that scope, and no API key gives it to another one: `mavera keys create --scope operator`, or
the operator's session in the console.
"""

import time
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType
from starlette.requests import Request
from starlette.responses import Response

from mavera.accounts import workspaces
from mavera.accounts.administration import (
    WorkspaceChanges,
    grant_credits,
    make_workspace,
    update_workspace,
)
from mavera.accounts.audit import Actor
from mavera.accounts.plans import PLANS, Overrides, PlanName
from mavera.accounts.workspaces import NAME_MAX, NOTE_MAX, NewWorkspace
from mavera.api.http.auth import authenticate, services_of
from mavera.api.http.decoding import decode, read_short_body
from mavera.api.http.json import json_response
from mavera.api.http.lists import LIST_PARAMETERS, check_query, limit_of, list_body
from mavera.api.http.operations import Operation, Parameter
from mavera.api.routes.health import ModelHealth
from mavera.api.routes.workspaces import WorkspaceLimits, WorkspaceObject, to_object
from mavera.errors import (
    APIError,
    Forbidden,
    InvalidRequest,
    NotFound,
    RequestTooLarge,
    ServiceUnavailable,
    ValidationFailed,
)
from mavera.parts import list_parts
from mavera.tools.allowances import allow_tools, find_allowed_tools
from mavera.tools.toolbox import matches

_MOST = 1_000_000_000
_ID = Parameter("workspace_id", "path", "The workspace's id.", {"type": "string", "maxLength": 64})
_ERRORS: tuple[type[APIError], ...] = (Forbidden, ServiceUnavailable)
_CHANGES: tuple[type[APIError], ...] = (*_ERRORS, InvalidRequest, RequestTooLarge, ValidationFailed)
Limit = Annotated[int, Meta(ge=1, le=_MOST)]
Credits = Annotated[int, Meta(ge=0, le=_MOST)]


class PartHealth(msgspec.Struct, kw_only=True):
    """A part of the server, and how it is. `detail` says what to do if it is not well."""

    name: str
    state: Literal["good", "waiting", "bad"]
    word: str
    detail: str


class ServerHealth(msgspec.Struct, kw_only=True):
    """How each part of the server is, and each model by its name."""

    object: Literal["server.health"] = "server.health"
    parts: list[PartHealth]
    models: dict[str, ModelHealth]


class OwnLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The limits of an enterprise workspace. An omitted one is that of the plan."""

    requests_per_minute: Limit | None = None
    requests_per_day: Limit | None = None
    concurrent_runs: Limit | None = None
    monthly_credits: Credits | None = None

    @property
    def overrides(self) -> Overrides:
        return Overrides(
            self.requests_per_minute, self.requests_per_day, self.concurrent_runs, self.monthly_credits
        )


class CreateWorkspace(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The name, the plan and the budget of a new workspace."""

    name: Annotated[str, Meta(min_length=1, max_length=NAME_MAX)]
    plan: PlanName = "free"
    limits: OwnLimits = OwnLimits()
    usage_limit: Credits | None = None


class ChangeWorkspace(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The new values of a workspace. Omitted members stay. A `usage_limit` of null removes the budget."""

    name: Annotated[str, Meta(min_length=1, max_length=NAME_MAX)] | UnsetType = UNSET
    plan: PlanName | UnsetType = UNSET
    limits: OwnLimits = OwnLimits()
    usage_limit: Credits | UnsetType | None = UNSET


class GrantCredits(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The credits to add, and the reason for the ledger."""

    credits: Annotated[int, Meta(ge=1, le=_MOST)]
    note: Annotated[str, Meta(max_length=NOTE_MAX)] | None = None


class WorkspaceList(msgspec.Struct, kw_only=True):
    object: Literal["list"] = "list"
    data: list[WorkspaceObject]
    has_more: bool
    next_cursor: str | None


class PlanObject(msgspec.Struct, kw_only=True):
    """A plan with its limits. `monthly_credits` is null if credits have no limit."""

    name: str
    object: Literal["plan"] = "plan"
    limits: WorkspaceLimits
    monthly_credits: int | None


class PlanList(msgspec.Struct, kw_only=True):
    object: Literal["list"] = "list"
    data: list[PlanObject]


class ServerToolObject(msgspec.Struct, kw_only=True):
    """A server tool. Without a `provider` it is not set up, and `to_set_up` says what is missing."""

    name: str
    object: Literal["server_tool"] = "server_tool"
    provider: str | None
    to_set_up: str | None
    is_offered_unasked: bool


class ToolQuota(msgspec.Struct, kw_only=True):
    """The calls of tools that each workspace may make."""

    calls_per_minute: int
    calls_per_day: int


class ServerToolList(msgspec.Struct, kw_only=True):
    object: Literal["list"] = "list"
    data: list[ServerToolObject]
    quota: ToolQuota


class WorkspaceTools(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The names of the tools that a workspace may use. Null stands for all, and an empty list for none."""

    tools: Annotated[list[Annotated[str, Meta(max_length=128)]], Meta(max_length=200)] | None


async def list_workspaces(request: Request) -> Response:
    """List every workspace of the server, oldest first."""
    await authenticate(request, "operator")
    check_query(request, LIST_PARAMETERS)
    limit, now = limit_of(request), int(time.time())
    database = services_of(request).database
    after = request.query_params.get("cursor", "")
    found = await workspaces.list_page(database, after=after, limit=limit + 1, now=now)
    cursor = found[limit - 1].id if len(found) > limit else None
    return json_response(list_body([to_object(one) for one in found[:limit]], cursor))


async def create_workspace(request: Request) -> Response:
    """Make a workspace."""
    principal = await authenticate(request, "operator")
    body = await decode(await read_short_body(request), CreateWorkspace)
    new = NewWorkspace(body.name, body.plan, body.limits.overrides, body.usage_limit)
    database = services_of(request).database
    made = await make_workspace(database, new, Actor.of(principal), now=int(time.time()))
    return json_response(to_object(made), status=201)


async def get_any_workspace(request: Request) -> Response:
    """Return a workspace."""
    await authenticate(request, "operator")
    now, database = int(time.time()), services_of(request).database
    await workspaces.grant_due(database, request.path_params["workspace_id"], now=now)
    return json_response(
        to_object(await workspaces.get(database, request.path_params["workspace_id"], now=now))
    )


async def update_any_workspace(request: Request) -> Response:
    """Change the name, the plan, the limits or the budget of a workspace. Servers follow within a second."""
    principal = await authenticate(request, "operator")
    body = await decode(await read_short_body(request), ChangeWorkspace)
    changes = WorkspaceChanges(
        name=body.name, budget=body.usage_limit, plan=body.plan, overrides=body.limits.overrides
    )
    changed = await update_workspace(
        services_of(request).database,
        request.path_params["workspace_id"],
        changes,
        Actor.of(principal),
        now=int(time.time()),
    )
    return json_response(to_object(changed))


async def grant_workspace_credits(request: Request) -> Response:
    """Add credits to the balance of a workspace."""
    principal = await authenticate(request, "operator")
    body = await decode(await read_short_body(request), GrantCredits)
    database, now = services_of(request).database, int(time.time())
    workspace_id, actor = request.path_params["workspace_id"], Actor.of(principal)
    await grant_credits(database, workspace_id, body.credits, actor, note=body.note, now=now)
    return json_response(to_object(await workspaces.get(database, workspace_id, now=now)))


async def list_plans(request: Request) -> Response:
    """List the plans with their limits and credits."""
    await authenticate(request, "operator")
    plans = [
        PlanObject(
            name=name,
            limits=WorkspaceLimits(**msgspec.structs.asdict(plan.limits)),
            monthly_credits=plan.monthly_credits,
        )
        for name, plan in PLANS.items()
    ]
    return json_response(PlanList(data=plans))


async def list_server_tools(request: Request) -> Response:
    """List the server tools, whether they are set up, and the quota of each workspace."""
    await authenticate(request, "operator")
    services = services_of(request)
    tools = [
        ServerToolObject(
            name=tool.name,
            provider=tool.provider or None,
            to_set_up=None if tool.provider else tool.setting,
            is_offered_unasked=services.toolboxes["live"].is_unasked(tool),
        )
        for tool in services.toolboxes["live"].tools
    ]
    settings = services.settings
    quota = ToolQuota(calls_per_minute=settings.tools_per_minute, calls_per_day=settings.tools_per_day)
    return json_response(ServerToolList(data=tools, quota=quota))


async def get_workspace_tools(request: Request) -> Response:
    """Return the server tools that a workspace may use."""
    await authenticate(request, "operator")
    database, workspace_id = services_of(request).database, request.path_params["workspace_id"]
    await workspaces.get(database, workspace_id, now=int(time.time()))
    allowed = await find_allowed_tools(database, workspace_id)
    return json_response(WorkspaceTools(tools=None if allowed is None else sorted(allowed)))


async def update_workspace_tools(request: Request) -> Response:
    """Set the server tools that a workspace may use. Servers follow within a second."""
    principal = await authenticate(request, "operator")
    body = await decode(await read_short_body(request), WorkspaceTools)
    services = services_of(request)
    names = None if body.tools is None else tuple(body.tools)
    check_tool_names(names or (), [tool.name for tool in services.toolboxes["live"].tools])
    workspace_id, now = request.path_params["workspace_id"], int(time.time())
    await allow_tools(services.database, workspace_id, names, Actor.of(principal), now=now)
    allowed = None if names is None else sorted(set(names))
    return json_response(WorkspaceTools(tools=allowed))


def check_tool_names(names: tuple[str, ...], known: list[str]) -> None:
    """Raise InvalidRequest for a name that fits no tool: allowing it alone would turn all others off."""
    for name in names:
        if not any(matches(tool, (name,)) for tool in known):
            raise InvalidRequest(
                f"There is no tool '{name[:80]}'. There are {', '.join(known)}.", param="tools"
            )


async def get_health(request: Request) -> Response:
    """Return how each part of this server is, and each model."""
    await authenticate(request, "operator")
    services = services_of(request)
    return json_response(
        ServerHealth(
            parts=[
                PartHealth(name=part.name, state=part.state, word=part.word, detail=part.detail)
                for part in await list_parts(services)
            ],
            models={
                name: ModelHealth(state=status.state, detail=status.detail)
                for name, named in services.named_models.items()
                for status in (named.model.status(),)
            },
        )
    )


OPERATIONS = (
    Operation(
        "GET",
        "/operator/health",
        get_health,
        "Get the health of all parts",
        "Operator",
        response=ServerHealth,
        errors=_ERRORS,
    ),
    Operation(
        "GET",
        "/operator/workspaces",
        list_workspaces,
        "List every workspace",
        "Operator",
        response=WorkspaceList,
        parameters=LIST_PARAMETERS,
        errors=(*_ERRORS, InvalidRequest, ValidationFailed),
    ),
    Operation(
        "POST",
        "/operator/workspaces",
        create_workspace,
        "Create a workspace",
        "Operator",
        request=CreateWorkspace,
        example={"name": "Autumn research", "plan": "pro"},
        response=WorkspaceObject,
        status=201,
        errors=_CHANGES,
    ),
    Operation(
        "GET",
        "/operator/workspaces/{workspace_id}",
        get_any_workspace,
        "Get any workspace",
        "Operator",
        response=WorkspaceObject,
        parameters=(_ID,),
        errors=(*_ERRORS, NotFound),
    ),
    Operation(
        "PATCH",
        "/operator/workspaces/{workspace_id}",
        update_any_workspace,
        "Update any workspace",
        "Operator",
        request=ChangeWorkspace,
        example={"plan": "business"},
        response=WorkspaceObject,
        parameters=(_ID,),
        errors=(*_CHANGES, NotFound),
    ),
    Operation(
        "POST",
        "/operator/workspaces/{workspace_id}/credits",
        grant_workspace_credits,
        "Grant credits",
        "Operator",
        request=GrantCredits,
        example={"credits": 500, "note": "invoice 7"},
        response=WorkspaceObject,
        parameters=(_ID,),
        errors=(*_CHANGES, NotFound),
    ),
    Operation(
        "GET",
        "/operator/workspaces/{workspace_id}/tools",
        get_workspace_tools,
        "Get the tools of a workspace",
        "Operator",
        response=WorkspaceTools,
        parameters=(_ID,),
        errors=(*_ERRORS, NotFound),
    ),
    Operation(
        "PATCH",
        "/operator/workspaces/{workspace_id}/tools",
        update_workspace_tools,
        "Set the tools of a workspace",
        "Operator",
        request=WorkspaceTools,
        example={"tools": None},
        response=WorkspaceTools,
        parameters=(_ID,),
        errors=(*_CHANGES, NotFound),
    ),
    Operation(
        "GET", "/operator/plans", list_plans, "List plans", "Operator", response=PlanList, errors=_ERRORS
    ),
    Operation(
        "GET",
        "/operator/tools",
        list_server_tools,
        "List server tools",
        "Operator",
        response=ServerToolList,
        errors=_ERRORS,
    ),
)
