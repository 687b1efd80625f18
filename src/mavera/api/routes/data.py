"""/retention, /export and /erasures: what the workspace keeps, for a key with the scope `admin`."""

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from mavera.accounts.audit import Actor, Entry, record
from mavera.accounts.data.deletion import (
    Erasure,
    delete_workspace,
    erase_end_user,
    erase_persona,
    erase_study,
)
from mavera.accounts.data.export import export_workspace
from mavera.accounts.data.retention import DAYS_MAX, KINDS, Kind, change_terms, list_terms, read_bounds
from mavera.accounts.principal import Principal
from mavera.api.http.auth import authenticate, services_of
from mavera.api.http.decoding import decode, read_short_body
from mavera.api.http.json import json_response
from mavera.api.http.lists import check_query
from mavera.api.http.operations import Operation, Parameter
from mavera.api.responses.history import RESPONSES
from mavera.core.ids import owner_of
from mavera.errors import (
    APIError,
    Forbidden,
    InvalidRequest,
    NotFound,
    RequestTooLarge,
    ServiceUnavailable,
    ValidationFailed,
)
from mavera.runs.admission import END_USER
from mavera.services import Services
from mavera.storage.sealing import open_secrets

Days = Annotated[int, Meta(ge=1, le=DAYS_MAX)] | UnsetType | None
_ID = Parameter("workspace_id", "path", "The workspace's id.", {"type": "string", "maxLength": 64})
_NAME = Parameter(
    "name", "query", "The workspace's name, to delete the right one.", {"type": "string", "maxLength": 100}
)
_ERRORS: tuple[type[APIError], ...] = (Forbidden, ServiceUnavailable)
_CHANGES: tuple[type[APIError], ...] = (*_ERRORS, InvalidRequest, RequestTooLarge, ValidationFailed)


class TermObject(msgspec.Struct, kw_only=True):
    """How long a kind is kept. `bound` is the operator's, `chosen` the workspace's; null means for ever."""

    kind: str
    days: int | None
    bound: int | None
    chosen: int | None


class RetentionObject(msgspec.Struct, kw_only=True):
    object: Literal["retention"] = "retention"
    terms: list[TermObject]


class ChangeRetention(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The days of each kind. Omitted kinds stay, and null stands for the operator's days."""

    usage: Days = UNSET
    ledger: Days = UNSET
    requests: Days = UNSET
    answers: Days = UNSET
    studies: Days = UNSET
    media: Days = UNSET
    audit: Days = UNSET


class Erase(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The thing to erase: one of the three. With `dry_run`, it is only counted."""

    end_user: Annotated[str, Meta(min_length=1, max_length=512)] | None = None
    persona_id: Annotated[str, Meta(max_length=64)] | None = None
    focus_group_id: Annotated[str, Meta(max_length=64)] | None = None
    dry_run: bool = True


class ErasureObject(msgspec.Struct, kw_only=True):
    """The things that were found and, unless it was a dry run, erased. `stays` lists the rest."""

    object: Literal["erasure"] = "erasure"
    dry_run: bool
    found: dict[str, int]
    stays: list[str]


class DeletedWorkspace(msgspec.Struct, kw_only=True):
    id: str
    object: Literal["workspace"] = "workspace"
    deleted: bool = True


async def get_retention(request: Request) -> Response:
    """Say how long the workspace keeps what."""
    principal = await authenticate(request, "admin")
    return json_response(await _describe_terms(services_of(request), principal.workspace_id))


async def update_retention(request: Request) -> Response:
    """Choose how long the workspace keeps what: at most as long as the operator allows."""
    principal = await authenticate(request, "admin")
    body = await decode(await read_short_body(request), ChangeRetention)
    services = services_of(request)
    days: dict[Kind, int | None] = {
        kind: value for kind in KINDS if (value := getattr(body, kind)) is not UNSET
    }
    bounds = read_bounds(services.settings)
    now = int(services.database.clock())
    await change_terms(services.database, principal.workspace_id, days, bounds, Actor.of(principal), now=now)
    return json_response(await _describe_terms(services, principal.workspace_id))


async def export_data(request: Request) -> Response:
    """Return everything that the workspace keeps, as a zip."""
    principal = await authenticate(request, "admin")
    return await respond_with_export(services_of(request), principal)


async def respond_with_export(services: Services, principal: Principal) -> Response:
    """Return the zip, and put the export into the audit log."""
    now = int(services.database.clock())
    entry = Entry(principal.workspace_id, "data.exported", principal.workspace_id)
    await record(services.database, Actor.of(principal), entry, now=now)
    stream = export_workspace(services.database, open_secrets(services.settings), principal.workspace_id)
    headers = {"content-disposition": 'attachment; filename="mavera-export.zip"', "cache-control": "no-store"}
    return StreamingResponse(stream, media_type="application/zip", headers=headers)


async def erase_data(request: Request) -> Response:
    """Erase what is known of a person, a persona or a study, or count it first."""
    principal = await authenticate(request, "admin")
    body = await decode(await read_short_body(request), Erase)
    erasure = await erase(services_of(request), principal, body)
    return json_response(
        ErasureObject(dry_run=not erasure.done, found=erasure.found, stays=list(erasure.stays))
    )


async def erase(services: Services, principal: Principal, body: Erase) -> Erasure:
    """Erase one thing. Raises InvalidRequest unless the body names exactly one, or NotFound."""
    given = [name for name in (body.end_user, body.persona_id, body.focus_group_id) if name is not None]
    if len(given) != 1:
        raise InvalidRequest("Name one of 'end_user', 'persona_id' and 'focus_group_id'.")
    database, workspace_id, actor = services.database, principal.workspace_id, Actor.of(principal)
    now, dry_run = int(database.clock()), body.dry_run
    if body.persona_id is not None:
        return await erase_persona(database, workspace_id, body.persona_id, actor, dry_run=dry_run, now=now)
    if body.focus_group_id is not None:
        return await erase_study(database, workspace_id, body.focus_group_id, actor, dry_run=dry_run, now=now)
    every = open_secrets(services.settings).keys_of(workspace_id)
    digests = [keys.digest(END_USER, str(body.end_user)) for keys in every]

    def list_digests(request_id: str) -> tuple[str, ...]:
        digits = owner_of(request_id) or ""
        return tuple(
            keys.digest(RESPONSES.name, f"{mode} {digits} {part}")
            for keys in every
            for mode in ("live", "test")
            for part in ("response", "said")
        )

    return await erase_end_user(
        database, workspace_id, digests, list_digests, actor, dry_run=dry_run, now=now
    )


async def delete_own_workspace(request: Request) -> Response:
    """Delete the workspace of the key that asks, with everything in it, for good."""
    principal = await authenticate(request, "admin")
    if request.path_params["workspace_id"] != principal.workspace_id:
        raise NotFound("This API key has no such workspace.")
    return await _delete(request, principal)


async def delete_any_workspace(request: Request) -> Response:
    """Delete a workspace with everything in it, for good."""
    return await _delete(request, await authenticate(request, "operator"))


async def _delete(request: Request, principal: Principal) -> Response:
    check_query(request, (_NAME,))
    database, workspace_id = services_of(request).database, request.path_params["workspace_id"]
    name = request.query_params.get("name", "")
    await delete_workspace(database, workspace_id, name, Actor.of(principal), now=int(database.clock()))
    return json_response(DeletedWorkspace(id=workspace_id))


async def _describe_terms(services: Services, workspace_id: str) -> RetentionObject:
    bounds = read_bounds(services.settings)
    terms = await list_terms(services.database, workspace_id, bounds)
    return RetentionObject(
        terms=[
            TermObject(kind=term.kind, days=term.days, bound=term.bound, chosen=term.chosen) for term in terms
        ]
    )


OPERATIONS = (
    Operation(
        "GET", "/retention", get_retention, "Get retention", "Data", response=RetentionObject, errors=_ERRORS
    ),
    Operation(
        "PATCH",
        "/retention",
        update_retention,
        "Update retention",
        "Data",
        request=ChangeRetention,
        example={"usage": 400, "audit": 730},
        response=RetentionObject,
        errors=_CHANGES,
    ),
    Operation(
        "GET",
        "/export",
        export_data,
        "Export everything",
        "Data",
        media_type="application/zip",
        errors=_ERRORS,
    ),
    Operation(
        "POST",
        "/erasures",
        erase_data,
        "Erase",
        "Data",
        request=Erase,
        example={"end_user": "customer-17", "dry_run": True},
        response=ErasureObject,
        errors=(*_CHANGES, NotFound),
    ),
    Operation(
        "DELETE",
        "/workspaces/{workspace_id}",
        delete_own_workspace,
        "Delete the workspace",
        "Workspaces",
        response=DeletedWorkspace,
        parameters=(_ID, _NAME),
        errors=(*_ERRORS, InvalidRequest, NotFound, ValidationFailed),
    ),
    Operation(
        "DELETE",
        "/operator/workspaces/{workspace_id}",
        delete_any_workspace,
        "Delete any workspace",
        "Operator",
        response=DeletedWorkspace,
        parameters=(_ID, _NAME),
        errors=(*_ERRORS, InvalidRequest, NotFound, ValidationFailed),
    ),
)
