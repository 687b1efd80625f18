"""
What every request gets: an id, the headers that were set for it on the way, one log line
when it is over, an answer whatever goes wrong.

Plain ASGI, not Starlette's BaseHTTPMiddleware: that one hides disconnects and puts a
task and a queue between a stream and its client.
"""

import time

import structlog
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mavera.api.errors import on_unexpected
from mavera.core.ids import new_id

log = structlog.get_logger()


class RequestLog:
    """
    Give the request an id, send it back as `x-request-id`, and log how the request ended.

    `request.state.headers` go out with the answer, also where it is an error.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = new_id("req")
        scope.setdefault("state", {})["request_id"] = request_id
        started = time.perf_counter()
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                own = ((b"x-request-id", request_id.encode()), *scope["state"].get("headers", ()))
                message["headers"] = [*message["headers"], *own]
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except Exception as error:
            # Starlette's own handler for this stands outside of here, where the id is not known.
            if status:
                raise
            response = await on_unexpected(Request(scope), error)
            await response(scope, receive, send_with_id)
        finally:
            log.info(
                "request",
                method=scope["method"],
                path=scope["path"],
                status=status or 499,  # the client left before there was one, in nginx's words
                milliseconds=round((time.perf_counter() - started) * 1000, 1),
                request_id=request_id,
                **scope["state"].get("log", {}),
            )
