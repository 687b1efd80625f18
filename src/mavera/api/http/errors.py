"""
Turn an error into a response. No other module does.

    {"error": {"message", "type", "code", "param"}}     + Retry-After if a retry can succeed
"""

from typing import Any

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match

from mavera.api.http.json import json_response
from mavera.errors import APIError, InvalidRequest, MethodNotAllowed, NotFound, UnsupportedMediaType

log = structlog.get_logger()


_MOST_OF_PATH = 200


def error_body(error: APIError) -> dict[str, Any]:
    return {"error": {"message": error.message, "type": error.type, "code": error.code, "param": error.param}}


def error_response(error: APIError) -> Response:
    headers = {"Retry-After": str(error.retry_after)} if error.retry_after is not None else {}
    if isinstance(error, UnsupportedMediaType):
        headers["Accept-Encoding"] = "identity"  # the encodings that a client may send: RFC 9110, 12.5.3
    return json_response(error_body(error), status=error.status, headers=headers)


async def on_api_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, APIError)  # noqa: S101 - Starlette routes by class, its types cannot say so
    request.scope.setdefault("state", {})["error_code"] = error.code
    return error_response(error)


async def on_http_exception(request: Request, error: Exception) -> Response:
    """Respond to Starlette's own errors: an unknown path, or a method that the path does not have."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    path = request.scope["path"][:_MOST_OF_PATH]
    if status == 404:
        return error_response(NotFound(f"There is nothing at {path}. /docs lists all paths."))
    if status == 405:
        allowed = _list_allowed_methods(request)
        refusal = MethodNotAllowed(f"{path} takes {allowed or 'another method'}.")
        response = error_response(refusal)
        response.headers["Allow"] = allowed
        return response
    return error_response(InvalidRequest("The request could not be read."))


def _list_allowed_methods(request: Request) -> str:
    """Return the methods of all routes at the request's path. Starlette names only those of the first one."""
    routes = [route for route in request.app.routes if route.matches(request.scope)[0] != Match.NONE]
    return ", ".join(sorted({method for route in routes for method in getattr(route, "methods", None) or ()}))


async def on_unexpected(_: Request, error: Exception) -> Response:
    """Log an unforeseen error in full, and respond with one sentence."""
    log.error("unexpected error", exc_info=error)
    return error_response(APIError("Something went wrong on the server. Its log has the request id."))
