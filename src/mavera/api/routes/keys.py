"""Make, list, change, rotate and revoke a workspace's API keys, for a key with the scope `admin`."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType
from starlette.requests import Request
from starlette.responses import Response

from mavera.accounts.keys.changes import DAY_SECONDS, LAST_EXPIRY, MAX_OVERLAP_SECONDS, Changes
from mavera.accounts.keys.delegation import Wish
from mavera.accounts.keys.keyring import NewKey
from mavera.accounts.keys.repository import ApiKey
from mavera.accounts.plans import Scope
from mavera.api.http.auth import authenticate, services_of
from mavera.api.http.decoding import decode, read_short_body
from mavera.api.http.json import json_response
from mavera.api.http.lists import check_query, flag_of, list_body
from mavera.api.http.operations import Operation, Parameter
from mavera.errors import (
    APIError,
    Forbidden,
    InvalidRequest,
    NotFound,
    RequestTooLarge,
    ServiceUnavailable,
    ValidationFailed,
    VersionConflict,
)

_MOST = 1_000_000_000
_ERRORS: tuple[type[APIError], ...] = (Forbidden, ServiceUnavailable)


class CreateApiKey(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """
    The purpose, the rights and the expiry of the new key.

    A key gives at most its own rights. An omitted member gets the most that it can give.
    """

    name: Annotated[str, Meta(max_length=100)] = ""
    mode: (
        Annotated[
            Literal["live", "test"],
            Meta(description="A test key's answers are fixed and free, and it makes test keys only."),
        ]
        | None
    ) = None
    scopes: Annotated[list[Scope], Meta(min_length=1, max_length=20)] | None = None
    expires_at: (
        Annotated[
            int,
            Meta(
                le=LAST_EXPIRY,
                description="Unix seconds. By default, when the key that asks expires.",
            ),
        ]
        | None
    ) = None
    budget: (
        Annotated[
            int,
            Meta(
                ge=0,
                le=_MOST,
                description="Credits the key may spend in a month, which the key that asks spends too."
                " By default, that key's budget.",
            ),
        ]
        | None
    ) = None


class UpdateApiKey(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """
    The new values of a key. Omitted members stay as they are.

    A `budget` or an `expires_at` of null removes it.
    """

    name: Annotated[str, Meta(max_length=100)] | UnsetType = UNSET
    scopes: Annotated[list[Scope], Meta(min_length=1, max_length=20)] | UnsetType = UNSET
    budget: Annotated[int, Meta(ge=0, le=_MOST)] | UnsetType | None = UNSET
    expires_at: Annotated[int, Meta(le=LAST_EXPIRY)] | UnsetType | None = UNSET
    end_overlap: Annotated[bool, Meta(description="Stop the secret of before the last rotation at once.")] = (
        False
    )
    version: (
        Annotated[
            int,
            Meta(description="The version that you read. If the key has another one, nothing is saved: 409."),
        ]
        | None
    ) = None

    @property
    def changes(self) -> Changes:
        scopes = self.scopes if self.scopes is UNSET else tuple(self.scopes)
        return Changes(
            name=self.name,
            scopes=scopes,
            budget=self.budget,
            expires_at=self.expires_at,
            end_overlap=self.end_overlap,
        )


class RotateApiKey(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The time for which the present secret works beside the new one."""

    overlap_seconds: Annotated[int, Meta(ge=0, le=MAX_OVERLAP_SECONDS)] = DAY_SECONDS


class ApiKeyObject(msgspec.Struct, kw_only=True):
    """
    A key, without its text. `made_by` is the id of the key that made it, null for the operator's.

    After a rotation, the secret that ends in `previous_last_four` works until `previous_until`.
    """

    id: str
    object: Literal["api_key"] = "api_key"
    workspace_id: str
    name: str
    mode: str
    last_four: str
    scopes: list[str]
    budget: int | None
    made_by: str | None
    created_at: int
    expires_at: int | None
    revoked_at: int | None
    last_used_at: int | None
    version: int
    previous_last_four: str | None
    previous_until: int | None


class NewApiKeyObject(ApiKeyObject, kw_only=True):
    """A key just made: `key` is not shown again."""

    key: str


class ApiKeyList(msgspec.Struct, kw_only=True):
    object: Literal["list"] = "list"
    data: list[ApiKeyObject]
    has_more: bool
    next_cursor: str | None


_MEMBERS = tuple(name for name in ApiKeyObject.__struct_fields__ if name != "object")
_ID = Parameter("key_id", "path", "The key has this id.", {"type": "string", "maxLength": 64})
_WITH_CHILDREN = Parameter(
    "with_children",
    "query",
    "With true, the keys that it made, and those that they made, are revoked as well.",
    {"type": "boolean", "default": False},
)


async def create_api_key(request: Request) -> Response:
    """Make a key in the workspace of the key that asks."""
    principal = await authenticate(request, "admin")
    services = services_of(request)
    body = await decode(await read_short_body(request), CreateApiKey)
    scopes = None if body.scopes is None else tuple(body.scopes)
    wish = Wish(body.name, body.mode, body.expires_at, scopes, body.budget)
    new = await services.keyring.delegate(principal, wish)
    return _show_new(new, status=201)


async def list_api_keys(request: Request) -> Response:
    """List the keys of the workspace, revoked ones too, newest first."""
    principal = await authenticate(request, "admin")
    keys = await services_of(request).keyring.list(principal.workspace_id)
    return json_response(list_body([ApiKeyObject(**_to_members(key)) for key in keys], None))


async def get_api_key(request: Request) -> Response:
    """Return a key of the workspace."""
    principal = await authenticate(request, "admin")
    key = await services_of(request).keyring.find(principal.workspace_id, request.path_params["key_id"])
    return json_response(ApiKeyObject(**_to_members(key)))


async def update_api_key(request: Request) -> Response:
    """Change the name, the scopes, the budget or the expiry of a key. Servers follow within a second."""
    principal = await authenticate(request, "admin")
    body = await decode(await read_short_body(request), UpdateApiKey)
    edited = await services_of(request).keyring.edit_as(
        principal, request.path_params["key_id"], body.changes, version=body.version
    )
    return json_response(ApiKeyObject(**_to_members(edited)))


async def rotate_api_key(request: Request) -> Response:
    """Give a key a new secret. Its id, name, rights, budget and usage stay."""
    principal = await authenticate(request, "admin")
    body = await decode(await read_short_body(request), RotateApiKey)
    rotated = await services_of(request).keyring.rotate_as(
        principal, request.path_params["key_id"], overlap_seconds=body.overlap_seconds
    )
    return _show_new(rotated)


async def delete_api_key(request: Request) -> Response:
    """Revoke a key: it stops within a second, for good."""
    principal = await authenticate(request, "admin")
    check_query(request, (_WITH_CHILDREN,))
    with_children = flag_of(request, _WITH_CHILDREN.name) or False
    key_id = request.path_params["key_id"]
    revoked = await services_of(request).keyring.revoke_as(principal, key_id, with_children=with_children)
    return json_response(ApiKeyObject(**_to_members(revoked)))


def _show_new(new: NewKey, status: int = 200) -> Response:
    """Return the response with a secret, which no cache may keep."""
    response = json_response(NewApiKeyObject(key=new.text, **_to_members(new.key)), status=status)
    response.headers["cache-control"] = "no-store"
    return response


def _to_members(key: ApiKey) -> dict[str, Any]:
    members: dict[str, Any] = {name: getattr(key, name) for name in _MEMBERS}
    return {**members, "scopes": list(key.scopes)}


OPERATIONS = (
    Operation(
        "POST",
        "/api-keys",
        create_api_key,
        "Create an API key",
        "API keys",
        description="The key's text is in this answer only.",
        request=CreateApiKey,
        example={"name": "survey script", "scopes": ["responses", "personas:read"], "budget": 500},
        response=NewApiKeyObject,
        status=201,
        errors=(*_ERRORS, InvalidRequest, RequestTooLarge, ValidationFailed),
    ),
    Operation(
        "GET", "/api-keys", list_api_keys, "List API keys", "API keys", response=ApiKeyList, errors=_ERRORS
    ),
    Operation(
        "GET",
        "/api-keys/{key_id}",
        get_api_key,
        "Get an API key",
        "API keys",
        response=ApiKeyObject,
        parameters=(_ID,),
        errors=(*_ERRORS, NotFound),
    ),
    Operation(
        "PATCH",
        "/api-keys/{key_id}",
        update_api_key,
        "Update an API key",
        "API keys",
        request=UpdateApiKey,
        example={"budget": 900},
        response=ApiKeyObject,
        parameters=(_ID,),
        errors=(*_ERRORS, InvalidRequest, NotFound, VersionConflict, RequestTooLarge, ValidationFailed),
    ),
    Operation(
        "POST",
        "/api-keys/{key_id}/rotate",
        rotate_api_key,
        "Rotate an API key",
        "API keys",
        description="The new secret is in this answer only. The present one works until the overlap ends.",
        request=RotateApiKey,
        example={"overlap_seconds": 0},
        response=NewApiKeyObject,
        parameters=(_ID,),
        errors=(*_ERRORS, InvalidRequest, NotFound, VersionConflict, RequestTooLarge, ValidationFailed),
    ),
    Operation(
        "DELETE",
        "/api-keys/{key_id}",
        delete_api_key,
        "Revoke an API key",
        "API keys",
        response=ApiKeyObject,
        parameters=(
            _ID,
            _WITH_CHILDREN,
        ),
        errors=(*_ERRORS, InvalidRequest, NotFound, ValidationFailed),
    ),
)
