"""
Give every request an id, its headers, one log line at its end, and a response even after a fault.

This is plain ASGI, because Starlette's BaseHTTPMiddleware hides disconnects and puts a task and a queue
between a stream and its client. Paths without parameters are looked up here, because Starlette tries its
routes one after the other and wraps each response three times.
"""

import time
from collections.abc import Awaitable, Mapping
from typing import Any

import structlog
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from mavera.accounts.principal import Principal
from mavera.accounts.requests import RefusedRequest
from mavera.api.http.errors import error_response, on_api_error, on_unexpected
from mavera.api.http.hosts import HostCheck
from mavera.api.http.operations import Handler
from mavera.core.current_request import CURRENT, CurrentRequest
from mavera.core.ids import new_timed_id
from mavera.core.text import clean_text
from mavera.errors import APIError
from mavera.focus_groups.shares import SHARED_PREFIX
from mavera.metrics import Metrics

log = structlog.get_logger()

OTHER_PATH = "other"
MOST_OF_PATH = 200


class RequestLog:
    """
    Give the request an id, send it back as `x-request-id`, and log how the request ended.

    The `headers` in the state of its scope are sent with every response, even with an error. `handlers` has
    the handlers of fixed paths, by method and path. `paths` has the name under which the requests of a
    handler are counted. There are only a few such names, whatever paths strangers request. A proxy may or may
    not have removed `prefix` from the path.
    """

    def __init__(
        self,
        app: ASGIApp,
        handlers: Mapping[tuple[str, str], Handler],
        paths: Mapping[Handler, str],
        metrics: Metrics,
        hosts: HostCheck,
        prefix: str = "",
    ) -> None:
        self._app = app
        self._handlers = handlers
        self._paths = paths
        self._metrics = metrics
        self._hosts = hosts
        self._prefix = prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                try:
                    self._hosts.check(scope)
                except APIError as refusal:
                    await WebSocket(scope, receive, send).send_denial_response(error_response(refusal))
                    return
            await self._app(scope, receive, send)
            return
        _clean(scope)
        _remove_prefix(scope, self._prefix)
        request_id = new_timed_id("req")
        current = CurrentRequest(request_id)
        CURRENT.set(current)
        scope.setdefault("state", {})["request_id"] = request_id
        started = time.perf_counter()
        status = 0

        def send_with_id(message: Message) -> Awaitable[None]:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                own = ((b"x-request-id", request_id.encode()), *scope["state"].get("headers", ()))
                message["headers"] = [*message["headers"], *own]
            return send(message)

        handler = self._handlers.get((scope["method"], scope["path"]))
        try:
            self._hosts.check(scope)
            if handler is None:
                await self._app(scope, receive, send_with_id)
            else:
                response = await handler(Request(scope, receive, send_with_id))
                await response(scope, receive, send_with_id)
        except Exception as error:
            # Starlette would handle this outside of RequestLog, without the id.
            if status:
                raise
            expected = isinstance(error, APIError)
            response = await (on_api_error if expected else on_unexpected)(Request(scope), error)
            await response(scope, receive, send_with_id)
        finally:
            seconds = time.perf_counter() - started
            status = status or 499  # nginx's status for a client that disconnects before it gets one
            found: Any = handler or scope.get("endpoint")
            path = self._paths.get(found, OTHER_PATH)
            method = scope["method"] if path != OTHER_PATH else "any"
            self._metrics.note_request(method, path, status, seconds)
            if status >= 400 and not current.is_admitted:
                _note_refusal(scope, path, status, round(seconds * 1000))
            log.info(
                "request",
                method=scope["method"],
                path=_hide_secret(scope["path"])[:MOST_OF_PATH],
                status=status,
                milliseconds=round(seconds * 1000, 1),
                request_id=request_id,
                **scope["state"].get("log", {}),
            )


def _hide_secret(path: str) -> str:
    """Return the path as the log may have it: without the secret of a link that shares a study."""
    return f"{SHARED_PREFIX}…" if path.startswith(SHARED_PREFIX) else path


# The names that usage has for the operations of these paths.
_OPERATIONS = {
    "/responses": "responses",
    "/responses/compact": "compaction",
    "/chat/completions": "chat_completions",
    "/analyses": "analyses",
    "/personas": "personas",
}


def _note_refusal(scope: Scope, path: str, status: int, milliseconds: int) -> None:
    """Put a request with a key that began no run into the workspace's request log."""
    state = scope["state"]
    principal: Principal | None = state.get("principal")
    if principal is not None:
        code = state.get("error_code", "")
        operation = _OPERATIONS.get(path, path)
        refused = RefusedRequest(principal, state["request_id"], operation, status, code, milliseconds)
        scope["app"].state.services.refusals.note(refused)


def _clean(scope: Scope) -> None:
    """
    Put U+FFFD in place of each NUL of the path and the query, as `core/text.py` does in bodies.

    A slash at the end of a path means the same path. A redirect would lose the body of a POST, and behind
    TLS it would send the key in clear.
    """
    if scope["path"].endswith("/"):
        scope["path"] = scope["path"].rstrip("/") or "/"
    if "\0" in scope["path"]:
        scope["path"] = clean_text(scope["path"])
    if b"%00" in scope["query_string"]:
        scope["query_string"] = scope["query_string"].replace(b"%00", b"%EF%BF%BD")


def _remove_prefix(scope: Scope, prefix: str) -> None:
    if prefix and scope["path"].startswith(prefix):
        rest = scope["path"][len(prefix) :]
        if not rest or rest.startswith("/"):
            scope["path"] = rest or "/"
