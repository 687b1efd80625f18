"""GET /audit-log: who changed what in the workspace, for a key with the scope `admin`."""

from typing import Any, Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from mavera.accounts.audit import OPERATORS_LOG, AuditEntry, Search, list_entries
from mavera.api.http.auth import authenticate, services_of
from mavera.api.http.json import json_response
from mavera.api.http.lists import LIST_PARAMETERS, check_query, limit_of, list_body
from mavera.api.http.operations import Operation, Parameter
from mavera.errors import Forbidden, InvalidRequest, ServiceUnavailable, ValidationFailed

_ACTION = Parameter(
    "action",
    "query",
    "Only these changes, such as `api_key.rotated`, or `api_key` for every change of keys.",
    {"type": "string", "maxLength": 64},
)
_SUBJECT = Parameter(
    "subject_id", "query", "Only changes of the thing with this id.", {"type": "string", "maxLength": 64}
)
_PARAMETERS = (*LIST_PARAMETERS, _ACTION, _SUBJECT)


class ActorObject(msgspec.Struct, kw_only=True):
    """Whoever made the change. `id` is that of a key, null for others."""

    kind: Literal["key", "person", "command", "server"]
    id: str | None
    name: str


class AuditEntryObject(msgspec.Struct, kw_only=True):
    """One change. `details` has the names and values of settings, and never contents."""

    id: str
    object: Literal["audit_entry"] = "audit_entry"
    created_at: int
    actor: ActorObject
    action: str
    subject_id: str
    subject_name: str
    details: dict[str, Any]


class AuditEntryList(msgspec.Struct, kw_only=True):
    object: Literal["list"] = "list"
    data: list[AuditEntryObject]
    has_more: bool
    next_cursor: str | None


async def list_audit_log(request: Request) -> Response:
    """List the changes, newest first. A page of a search may have fewer entries than `limit`."""
    principal = await authenticate(request, "admin")
    return await _list(request, principal.workspace_id)


async def list_operators_log(request: Request) -> Response:
    """List what concerns the server: workspaces made, put on a plan or deleted. Newest first."""
    await authenticate(request, "operator")
    return await _list(request, OPERATORS_LOG)


async def _list(request: Request, workspace_id: str) -> Response:
    check_query(request, _PARAMETERS)
    query = request.query_params
    search = Search(
        workspace_id,
        before=_parse_cursor(query.get("cursor")),
        action=query.get("action", ""),
        subject_id=query.get("subject_id", ""),
        limit=limit_of(request),
    )
    entries, before = await list_entries(services_of(request).database, search)
    cursor = None if before is None else str(before)
    return json_response(list_body([to_object(entry) for entry in entries], cursor))


def to_object(entry: AuditEntry) -> AuditEntryObject:
    actor = ActorObject(kind=entry.actor.kind, id=entry.actor.id or None, name=entry.actor.name)
    return AuditEntryObject(
        id=str(entry.id),
        created_at=entry.created_at,
        actor=actor,
        action=entry.action,
        subject_id=entry.subject_id,
        subject_name=entry.subject_name,
        details=entry.details,
    )


def _parse_cursor(text: str | None) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= 18):
        raise InvalidRequest("'cursor' has to be the `next_cursor` of another page.", param="cursor")
    return int(text)


_ERRORS = (Forbidden, InvalidRequest, ValidationFailed, ServiceUnavailable)

OPERATIONS = (
    Operation(
        "GET",
        "/audit-log",
        list_audit_log,
        "List the audit log",
        "Audit log",
        response=AuditEntryList,
        parameters=_PARAMETERS,
        errors=_ERRORS,
    ),
    Operation(
        "GET",
        "/operator/audit-log",
        list_operators_log,
        "List the operator's log",
        "Operator",
        response=AuditEntryList,
        parameters=_PARAMETERS,
        errors=_ERRORS,
    ),
)
