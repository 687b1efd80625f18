"""
GET /media/{media_id}: the files that tools make, the progress of a job, and the content by a signed link.
"""

from collections.abc import AsyncIterator
from typing import Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from mavera.api.http.auth import authenticate, services_of
from mavera.api.http.byte_range import ByteRange, parse_range
from mavera.api.http.json import json_response
from mavera.api.http.operations import Operation, Parameter
from mavera.errors import Forbidden, NotFound
from mavera.media.store import MediaStatus

_ID = Parameter(
    "media_id", "path", "The id stands in the result of the tool's call.", {"type": "string", "maxLength": 64}
)


class MediaError(msgspec.Struct, kw_only=True):
    message: str


class MediaObject(msgspec.Struct, kw_only=True):
    """
    An image or a video.

    `progress` is 0 to 100. `url` works without a key for a while; a new request renews it.
    """

    id: str
    object: Literal["media"] = "media"
    tool: str
    status: MediaStatus
    progress: int
    content_type: str | None
    bytes: int | None
    url: str | None
    error: MediaError | None
    created_at: int
    completed_at: int | None
    expires_at: int


async def get_media(request: Request) -> Response:
    """Return the file's description, or the progress of its job."""
    principal = await authenticate(request, "responses")
    store = services_of(request).media
    media = await store.get(request.path_params["media_id"], principal.workspace_id)
    done = media.status == "completed"
    return json_response(
        MediaObject(
            id=media.id,
            tool=media.tool,
            status=media.status,
            progress=media.progress,
            content_type=media.content_type,
            bytes=media.bytes,
            url=await store.sign_link(media.id) if done else None,
            error=MediaError(message=media.error) if media.error is not None else None,
            created_at=media.created_at,
            completed_at=media.completed_at,
            expires_at=await store.find_end(media),
        )
    )


async def get_content(request: Request) -> Response:
    """Return the file or the requested part of it. The link is enough; no key is needed."""
    query = request.query_params
    store = services_of(request).media
    media = await store.open_link(
        request.path_params["media_id"], query.get("expires", ""), query.get("signature", "")
    )
    size, etag = media.bytes or 0, f'"{media.id}"'
    asked = request.headers.get("range") if request.headers.get("if-range", etag) == etag else None
    part = parse_range(asked, size)
    headers = {
        "accept-ranges": "bytes",
        "cache-control": "private, max-age=300",
        "content-security-policy": "default-src 'none'; sandbox",
        "x-content-type-options": "nosniff",
        "content-disposition": "inline",
        "content-type": media.content_type or "application/octet-stream",
        "etag": etag,
    }
    if part is not None:
        headers["content-range"] = part.content_range(size)
        if not part.length:
            return Response(status_code=416, headers=headers)
    wanted, status = part or ByteRange(0, size), 200 if part is None else 206
    headers["content-length"] = str(wanted.length)
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers)
    pieces = await _begin(store.pieces(media, wanted.start, wanted.length))
    return StreamingResponse(pieces, status, headers)


async def _begin(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Return the pieces after reading the first one, so that a missing file becomes an error."""
    first = await anext(pieces, b"")

    async def all_of_them() -> AsyncIterator[bytes]:
        yield first
        async for piece in pieces:
            yield piece

    return all_of_them()


OPERATIONS = (
    Operation(
        "GET",
        "/media/{media_id}",
        get_media,
        "Get an image or video that a tool made",
        "Media",
        description="A video takes minutes. Repeat the request until `status` is `completed` or `failed`.",
        response=MediaObject,
        parameters=(_ID,),
        errors=(Forbidden, NotFound),
    ),
    Operation(
        "GET",
        "/media/{media_id}/content",
        get_content,
        "Get the file itself, by a signed link",
        "Media",
        parameters=(
            _ID,
            Parameter(
                "expires",
                "query",
                "The signed link contains this value.",
                {"type": "string", "maxLength": 64},
            ),
            Parameter(
                "signature",
                "query",
                "The signed link contains this value.",
                {"type": "string", "maxLength": 64},
            ),
        ),
        errors=(Forbidden, NotFound),
        needs_key=False,
    ),
)
