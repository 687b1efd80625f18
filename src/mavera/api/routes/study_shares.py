"""
/focus-groups/{id}/shares: links that show one study to people without a key.

    POST → a link with its secret, shown once · GET → the links that work · DELETE → end one
"""

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType
from starlette.requests import Request
from starlette.responses import Response

from mavera.accounts.plans import Scope
from mavera.api.http.auth import authenticate, services_of
from mavera.api.http.decoding import decode, read_short_body
from mavera.api.http.json import json_response
from mavera.api.http.lists import LIST_PARAMETERS, check_query, limit_of, list_body
from mavera.api.http.operations import Operation, Parameter
from mavera.errors import Forbidden, InvalidRequest, NotFound, ServiceUnavailable, ValidationFailed
from mavera.focus_groups.shares import DAYS_DEFAULT, DAYS_MAX, Share, path_of

SCOPE: Scope = "focus_groups"
_STUDY = Parameter("focus_group_id", "path", "The focus group's id.", {"type": "string", "maxLength": 64})
_SHARE = Parameter("share_id", "path", "The link's id.", {"type": "string", "maxLength": 64})
_TAG = "Focus groups"


class CreateShare(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The life of the link."""

    expires_in_days: Annotated[int, Meta(ge=1, le=DAYS_MAX)] = DAYS_DEFAULT


class ShareObject(msgspec.Struct, kw_only=True):
    """A link to one study. `url` has its secret, so only the answer to POST has it."""

    id: str
    object: Literal["focus_group.share"] = "focus_group.share"
    focus_group_id: str
    created_at: int
    expires_at: int
    url: str | UnsetType = UNSET


class ShareList(msgspec.Struct, kw_only=True):
    object: Literal["list"] = "list"
    data: list[ShareObject]
    has_more: bool
    next_cursor: str | None


class DeletedShare(msgspec.Struct, kw_only=True):
    id: str
    object: Literal["focus_group.share.deleted"] = "focus_group.share.deleted"
    deleted: bool = True


def to_object(share: Share, url: str | UnsetType = UNSET) -> ShareObject:
    return ShareObject(
        id=share.id,
        focus_group_id=share.study_id,
        created_at=share.created_at,
        expires_at=share.expires_at,
        url=url,
    )


async def create_share(request: Request) -> Response:
    """Make a link that shows this study to people without a key."""
    principal = await authenticate(request, SCOPE)
    body = await decode(await read_short_body(request) or b"{}", CreateShare)
    services = services_of(request)
    made = await services.focus_groups.shares.create(
        principal, request.path_params["focus_group_id"], days=body.expires_in_days
    )
    base = services.settings.public_url or str(request.base_url)
    url = base.rstrip("/") + path_of(made.secret)
    response = json_response(to_object(made.share, url), status=201)
    response.headers["Cache-Control"] = "no-store"
    return response


async def list_shares(request: Request) -> Response:
    """List the links of a study that still work, newest first, without their secrets."""
    principal = await authenticate(request, SCOPE)
    check_query(request, LIST_PARAMETERS)
    shares, cursor = await services_of(request).focus_groups.shares.list_page(
        principal,
        request.path_params["focus_group_id"],
        limit_of(request),
        request.query_params.get("cursor"),
    )
    return json_response(list_body([to_object(one) for one in shares], cursor))


async def delete_share(request: Request) -> Response:
    """Revoke a link. Its page is gone at once."""
    principal = await authenticate(request, SCOPE)
    study_id, share_id = request.path_params["focus_group_id"], request.path_params["share_id"]
    await services_of(request).focus_groups.shares.revoke(principal, study_id, share_id)
    return json_response(DeletedShare(id=share_id))


OPERATIONS = (
    Operation(
        "POST",
        "/focus-groups/{focus_group_id}/shares",
        create_share,
        "Share a study by a link",
        _TAG,
        request=CreateShare,
        example={"expires_in_days": 30},
        response=ShareObject,
        parameters=(_STUDY,),
        status=201,
        errors=(Forbidden, NotFound, InvalidRequest, ValidationFailed, ServiceUnavailable),
    ),
    Operation(
        "GET",
        "/focus-groups/{focus_group_id}/shares",
        list_shares,
        "List the links of a study",
        _TAG,
        response=ShareList,
        parameters=(_STUDY, *LIST_PARAMETERS),
        errors=(Forbidden, NotFound, InvalidRequest, ValidationFailed, ServiceUnavailable),
    ),
    Operation(
        "DELETE",
        "/focus-groups/{focus_group_id}/shares/{share_id}",
        delete_share,
        "Revoke a link",
        _TAG,
        response=DeletedShare,
        parameters=(_STUDY, _SHARE),
        errors=(Forbidden, InvalidRequest, NotFound, ServiceUnavailable),
    ),
)
