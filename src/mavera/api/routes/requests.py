"""GET /requests: the request log of the workspace, for a key with the scope `usage:read`."""

from typing import Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from mavera.accounts.requests import STATUSES, LoggedRequest, RequestSearch, find_request, list_requests
from mavera.api.http.auth import authenticate, services_of
from mavera.api.http.json import json_response
from mavera.api.http.lists import LIST_PARAMETERS, check_query, limit_of, list_body
from mavera.api.http.operations import Operation, Parameter
from mavera.errors import Forbidden, InvalidRequest, NotFound, ServiceUnavailable, ValidationFailed

_KEY = Parameter("key_id", "query", "Only calls with this key.", {"type": "string", "maxLength": 64})
_STATUS = Parameter("status", "query", "Only calls that ended so.", {"type": "string", "enum": [*STATUSES]})
_ID = Parameter(
    "request_id",
    "path",
    "The `x-request-id` of a response, the id of a response, or the id of a run.",
    {"type": "string", "maxLength": 64},
)
_NANOS = 1_000_000_000


class LoggedCost(msgspec.Struct, kw_only=True):
    """The price that the model's server charged, as far as models.toml has it."""

    currency: str
    amount: float


class LoggedRequestObject(msgspec.Struct, kw_only=True):
    """
    A call, without its contents. `request_id` is the `x-request-id` of its response.

    A `refused` call failed before a run began, and has an `http_status`.
    """

    id: str
    object: Literal["request"] = "request"
    created_at: int
    request_id: str | None
    key_id: str
    key_name: str
    operation: str
    model: str | None
    persona_id: str | None
    status: str
    http_status: int | None
    error_code: str | None
    input_tokens: int
    output_tokens: int
    credits_used: int
    latency_ms: int
    upstream_cost: LoggedCost | None


class LoggedRequestList(msgspec.Struct, kw_only=True):
    object: Literal["list"] = "list"
    data: list[LoggedRequestObject]
    has_more: bool
    next_cursor: str | None


async def list_logged_requests(request: Request) -> Response:
    """List the calls, newest first. A page of a search may have fewer entries than `limit`."""
    principal = await authenticate(request, "usage:read")
    check_query(request, (*LIST_PARAMETERS, _KEY, _STATUS))
    query = request.query_params
    status = query.get("status", "")
    if status not in ("", *STATUSES):
        raise ValidationFailed(f"'status' is one of {', '.join(STATUSES)}.", param="status")
    search = RequestSearch(
        principal.workspace_id,
        key_id=query.get("key_id", ""),
        status=status,
        before=parse_place(query.get("cursor")),
        limit=limit_of(request),
    )
    found, before = await list_requests(services_of(request).database, search)
    return json_response(list_body([to_object(one) for one in found], format_place(before)))


async def get_logged_request(request: Request) -> Response:
    """Find a call by the `x-request-id` of its response, by the id of a response, or of a run."""
    principal = await authenticate(request, "usage:read")
    database, identifier = services_of(request).database, request.path_params["request_id"]
    found = await find_request(database, principal.workspace_id, identifier)
    if found is None:
        raise NotFound("This workspace has no such request in its log.")
    return json_response(to_object(found))


def format_place(place: tuple[int, str] | None) -> str | None:
    return None if place is None else f"{place[0]}.{place[1]}"


def parse_place(text: str | None) -> tuple[int, str] | None:
    """Return the place that a cursor names. Raises InvalidRequest."""
    if text is None:
        return None
    at, _, identifier = text.partition(".")
    if not (at.isascii() and at.isdecimal() and len(at) <= 18 and identifier):
        raise InvalidRequest("'cursor' has to be the `next_cursor` of another page.", param="cursor")
    return int(at), identifier


def to_object(one: LoggedRequest) -> LoggedRequestObject:
    cost = None
    if one.upstream_nanos is not None and one.upstream_currency is not None:
        cost = LoggedCost(currency=one.upstream_currency, amount=one.upstream_nanos / _NANOS)
    return LoggedRequestObject(
        id=one.id,
        created_at=one.created_at,
        request_id=one.request_id,
        key_id=one.key_id,
        key_name=one.key_name,
        operation=one.operation,
        model=one.model,
        persona_id=one.persona_id,
        status=one.status,
        http_status=one.http_status,
        error_code=one.error_code or None,
        input_tokens=one.input_tokens,
        output_tokens=one.output_tokens,
        credits_used=one.credits,
        latency_ms=one.milliseconds,
        upstream_cost=cost,
    )


_ERRORS = (Forbidden, InvalidRequest, ValidationFailed, ServiceUnavailable)

OPERATIONS = (
    Operation(
        "GET",
        "/requests",
        list_logged_requests,
        "List requests",
        "Usage",
        response=LoggedRequestList,
        parameters=(*LIST_PARAMETERS, _KEY, _STATUS),
        errors=_ERRORS,
    ),
    Operation(
        "GET",
        "/requests/{request_id}",
        get_logged_request,
        "Find a request",
        "Usage",
        response=LoggedRequestObject,
        parameters=(_ID,),
        errors=(Forbidden, NotFound, ServiceUnavailable),
    ),
)
