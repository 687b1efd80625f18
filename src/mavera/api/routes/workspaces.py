"""
GET and PATCH /workspaces/{id}: the workspace of the key that asks, which needs the scope `admin`.

The operator sets the plan, its limits and the credits on the command line, because they cost the operator
something. A team can change its name and its own budget.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType
from starlette.requests import Request
from starlette.responses import Response

from mavera.accounts import workspaces
from mavera.accounts.administration import WorkspaceChanges, update_own_workspace
from mavera.accounts.principal import Principal
from mavera.accounts.workspaces import NAME_MAX, Workspace
from mavera.api.http.auth import authenticate, services_of
from mavera.api.http.decoding import decode, read_short_body
from mavera.api.http.json import json_response
from mavera.api.http.operations import Operation, Parameter
from mavera.errors import (
    Forbidden,
    InvalidRequest,
    NotFound,
    RequestTooLarge,
    ServiceUnavailable,
    ValidationFailed,
)

_MOST = 1_000_000_000
_ID = Parameter("workspace_id", "path", "The workspace has this id.", {"type": "string", "maxLength": 64})


class WorkspaceLimits(msgspec.Struct, kw_only=True):
    """The limits of the workspace's plan. Null means that there is no limit."""

    requests_per_minute: int
    requests_per_day: int | None
    concurrent_runs: int | None


class WorkspaceObject(msgspec.Struct, kw_only=True):
    """`balance` and `monthly_credits` are null without a limit. `usage_limit` is the budget of a month."""

    id: str
    object: Literal["workspace"] = "workspace"
    name: str
    plan: str
    limits: WorkspaceLimits
    monthly_credits: int | None
    balance: int | None
    usage_limit: int | None
    reporting_zone: str
    credits_spent: int
    created_at: int


class UpdateWorkspace(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Omitted members stay as they are. A `usage_limit` of null removes the budget."""

    name: Annotated[str, Meta(min_length=1, max_length=NAME_MAX)] | UnsetType = UNSET
    usage_limit: Annotated[int, Meta(ge=0, le=_MOST)] | UnsetType | None = UNSET
    reporting_zone: Annotated[str, Meta(min_length=1, max_length=64)] | UnsetType = UNSET


_OPERATORS = frozenset({*WorkspaceLimits.__struct_fields__, "plan", "limits", "monthly_credits", "balance"})


async def get_workspace(request: Request) -> Response:
    """Return the workspace."""
    principal = await _require_own(request)
    return json_response(await _describe_workspace(request, principal.workspace_id))


async def update_workspace(request: Request) -> Response:
    """Change the name or the budget."""
    principal = await _require_own(request)
    services = services_of(request)
    body = await _decode(await read_short_body(request))
    changes = WorkspaceChanges(name=body.name, budget=body.usage_limit, reporting_zone=body.reporting_zone)
    await update_own_workspace(services.database, principal, changes, now=int(services.database.clock()))
    return json_response(await _describe_workspace(request, principal.workspace_id))


async def _decode(body: bytes) -> UpdateWorkspace:
    """
    Decode the body.

    Raises Forbidden, not InvalidRequest, for members that only the operator may change.
    """
    try:
        return await decode(body, UpdateWorkspace)
    except InvalidRequest as error:
        if error.param not in _OPERATORS:
            raise
        raise Forbidden(
            f"'{error.param}' can only be changed by the operator: mavera workspaces update.",
            param=error.param,
        ) from error


async def _require_own(request: Request) -> Principal:
    """Return the principal. Raises NotFound if the path names another workspace, whether it exists or not."""
    principal = await authenticate(request, "admin")
    if request.path_params["workspace_id"] != principal.workspace_id:
        raise NotFound("This API key has no such workspace.")
    return principal


async def _describe_workspace(request: Request, workspace_id: str) -> WorkspaceObject:
    database = services_of(request).database
    now = int(database.clock())
    await workspaces.grant_due(database, workspace_id, now=now)
    return to_object(await workspaces.get(database, workspace_id, now=now))


def to_object(workspace: Workspace) -> WorkspaceObject:
    return WorkspaceObject(
        id=workspace.id,
        name=workspace.name,
        plan=workspace.plan,
        limits=WorkspaceLimits(
            requests_per_minute=workspace.limits.requests_per_minute,
            requests_per_day=workspace.limits.requests_per_day,
            concurrent_runs=workspace.limits.concurrent_runs,
        ),
        monthly_credits=workspace.monthly_credits,
        balance=None if workspace.unlimited else workspace.balance,
        usage_limit=workspace.budget,
        reporting_zone=workspace.reporting_zone,
        credits_spent=workspace.spent,
        created_at=workspace.created_at,
    )


OPERATIONS = (
    Operation(
        "GET",
        "/workspaces/{workspace_id}",
        get_workspace,
        "Get a workspace",
        "Workspaces",
        response=WorkspaceObject,
        parameters=(_ID,),
        errors=(Forbidden, NotFound, ServiceUnavailable),
    ),
    Operation(
        "PATCH",
        "/workspaces/{workspace_id}",
        update_workspace,
        "Update a workspace",
        "Workspaces",
        request=UpdateWorkspace,
        example={"name": "Autumn research", "usage_limit": 50_000},
        response=WorkspaceObject,
        parameters=(_ID,),
        errors=(Forbidden, NotFound, InvalidRequest, RequestTooLarge, ValidationFailed, ServiceUnavailable),
    ),
)
