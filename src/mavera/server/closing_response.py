"""Responses that the server writes itself, before or instead of the application."""

from http import HTTPStatus

from mavera.api.http.errors import error_body
from mavera.api.http.json import json_bytes
from mavera.core.ids import new_id
from mavera.errors import APIError


def build_closing_response(error: APIError) -> bytes:
    """Return the whole HTTP response for `error`, the last one on its connection."""
    body = json_bytes(error_body(error))
    lines = [
        f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}",
        "content-type: application/json",
        f"content-length: {len(body)}",
        f"x-request-id: {new_id('req')}",
        "connection: close",
    ]
    if error.retry_after is not None:
        lines.append(f"retry-after: {error.retry_after}")
    return "\r\n".join([*lines, "", ""]).encode() + body
