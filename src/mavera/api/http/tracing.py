"""
A span for each request, as the parent of the spans of its model calls. It continues the caller's trace.

This layer exists only with MAVERA_OTEL. It records the method, the path, the status and the request's id,
and no header and no body.
"""

from importlib import import_module
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mavera.telemetry import Telemetry


class TraceRequests:
    def __init__(self, app: ASGIApp, telemetry: Telemetry, fixed_paths: frozenset[str]) -> None:
        """`fixed_paths` may stand in a span's name, because there are only a few of them."""
        self._app = app
        self._telemetry = telemetry
        self._fixed_paths = fixed_paths
        self._api = import_module("opentelemetry.trace")
        self._context = import_module("opentelemetry.context")
        propagation = import_module("opentelemetry.trace.propagation.tracecontext")
        self._propagator = propagation.TraceContextTextMapPropagator()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        span = self._start(scope)
        token = self._context.attach(self._api.set_span_in_context(span))

        async def send_and_note(message: Message) -> None:
            if message["type"] == "http.response.start":
                span.set_attribute("http.response.status_code", message["status"])
                if message["status"] >= 500:
                    span.set_status(self._api.Status(self._api.StatusCode.ERROR))
            await send(message)

        try:
            await self._app(scope, receive, send_and_note)
        finally:
            request_id = scope.get("state", {}).get("request_id")
            if request_id is not None:
                span.set_attribute("mavera.request_id", request_id)
            self._context.detach(token)
            span.end()

    def _start(self, scope: Scope) -> Any:
        method, path = scope.get("method", "GET"), scope["path"]
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        attributes = {"http.request.method": method, "url.path": path[:200]}
        is_fixed = path in self._fixed_paths
        if is_fixed:
            attributes["http.route"] = path
        return self._telemetry.tracer.start_span(
            f"{method} {path}" if is_fixed else method,
            context=self._propagator.extract(headers),
            kind=self._api.SpanKind.SERVER,
            attributes=attributes,
        )
