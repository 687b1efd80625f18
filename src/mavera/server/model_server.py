"""
The program behind `mavera models serve`: the embedded engine as a server that speaks OpenAI's API.

    POST /v1/chat/completions    the engine's answer, byte for byte, for the key in MAVERA_ENGINE_KEY
    GET  /v1/models              the name of the model
    GET  /health                 200 if the engine answers, 503 while it loads or the server drains
    GET  /metrics                requests by status, those in progress, and whether the engine is ready

It is for machines without a GPU behind a router. It knows no personas, keys or credits: `mavera serve` on
other machines has them, and names this server as its upstream.
"""

import asyncio
import hmac
import os
import socket
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing

import structlog
import uvicorn
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from mavera.api.http.drain import Drain
from mavera.errors import ConfigurationError, ServiceUnavailable
from mavera.logs import configure_logs
from mavera.models.embedded.engine import Engine
from mavera.models.embedded.supervisor import EmbeddedEngine
from mavera.models.exchange import Address, ExchangeFailed, Poster, ServerResponse
from mavera.server.descriptors import raise_descriptor_limit
from mavera.server.draining import DrainingServer
from mavera.server.endings import one_line_endings
from mavera.server.listening import listen
from mavera.server.signals import stop_on_hangup
from mavera.settings import Settings, load_settings

LEAST_KEY_CHARACTERS = 16
# Reading a long prompt takes a processor minutes, and the engine says nothing meanwhile.
PATIENCE_SECONDS = 600.0
_CONNECT_SECONDS = 5.0
_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

log = structlog.get_logger()


class ModelServer:
    """Answers with `engine`. Callers need `key`, unless it is empty."""

    def __init__(self, engine: Engine, model: str, key: str, drain: Drain) -> None:
        self._engine = engine
        self._model = model
        self._key = key.encode()
        self._drain = drain
        # The engine closes a connection after each stream.
        self._poster = Poster(connect_seconds=_CONNECT_SECONDS, keep_alive=False)
        self._requests: Counter[int] = Counter()
        self._running = 0

    @property
    def is_ready(self) -> bool:
        return self._engine.status().state == "ready" and not self._drain.is_draining

    async def close(self) -> None:
        await self._poster.close()

    async def complete(self, request: Request) -> Response:
        """Pass a request on to the engine, and its answer back."""
        if (refusal := self._refuse(request)) is not None:
            return refusal
        body = await request.body()
        try:
            address = await self._engine.endpoint()
            headers = {"Content-Type": "application/json", "Authorization": f"Bearer {address.api_key}"}
            target = Address.of(f"{address.base_url}/chat/completions", headers=headers)
            answer = await self._poster.post(target, body, patience_seconds=PATIENCE_SECONDS)
        except ServiceUnavailable as error:
            return self._fail(503, "service_unavailable", error.message, retry_after=error.retry_after or 5)
        except ExchangeFailed as failure:
            log.warning("engine_failed", reason=str(failure))
            return self._fail(503, "service_unavailable", "The engine did not answer.", retry_after=5)
        self._requests[answer.status] += 1
        self._running += 1
        content_type = answer.header(b"content-type") or "application/json"
        return StreamingResponse(
            self._pass_on(answer),
            status_code=answer.status,
            headers={"content-type": content_type, "server": "llama.cpp"},
        )

    async def list_models(self, request: Request) -> Response:
        if (refusal := self._refuse(request)) is not None:
            return refusal
        entry = {"id": self._model, "object": "model", "owned_by": "mavera"}
        return JSONResponse({"object": "list", "data": [entry]})

    async def report_health(self, _: Request) -> Response:
        status = self._engine.status()
        body = {
            "status": "ok" if self.is_ready else "unavailable",
            "detail": status.detail,
            "draining": self._drain.is_draining,
        }
        return JSONResponse(body, status_code=200 if self.is_ready else 503)

    async def report_metrics(self, _: Request) -> Response:
        registry = CollectorRegistry()
        registry.register(_Families(self._requests, self._running, self.is_ready))
        return Response(generate_latest(registry), media_type=_CONTENT_TYPE)

    async def _pass_on(self, answer: ServerResponse) -> AsyncIterator[bytes]:
        """Yield the bytes of an answer. If its client leaves, the engine stops its work."""
        try:
            with closing(answer):
                while data := await answer.read(patience_seconds=PATIENCE_SECONDS):
                    yield data
        except ExchangeFailed as failure:
            # The status is out. The answer ends without a finish reason, which shows that it is not whole.
            log.warning("engine_failed", reason=str(failure))
        finally:
            self._running -= 1

    def _refuse(self, request: Request) -> Response | None:
        """Return a refusal unless the request has the key."""
        kind, _, given = request.headers.get("authorization", "").partition(" ")
        if not self._key or (kind.lower() == "bearer" and hmac.compare_digest(given.encode(), self._key)):
            return None
        return self._fail(401, "unauthorized", "The key is not that in MAVERA_ENGINE_KEY.")

    def _fail(self, status: int, code: str, message: str, *, retry_after: int | None = None) -> Response:
        self._requests[status] += 1
        headers = {"retry-after": str(retry_after)} if retry_after is not None else {}
        error = {"message": message, "type": "server_error", "code": code, "param": None}
        return JSONResponse({"error": error}, status_code=status, headers=headers)


class _Families:
    def __init__(self, requests: Counter[int], running: int, ready: bool) -> None:
        self._requests = requests
        self._running = running
        self._ready = ready

    def collect(self) -> list[Metric]:
        requests = CounterMetricFamily("mavera_engine_requests", "Requests by status.", labels=["status"])
        for status, number in self._requests.items():
            requests.add_metric([str(status)], number)
        return [
            requests,
            GaugeMetricFamily("mavera_engine_requests_in_progress", "Answers on the way.", self._running),
            GaugeMetricFamily("mavera_engine_ready", "Whether the engine answers.", float(self._ready)),
        ]


def create_model_app(settings: Settings, engine: Engine, drain: Drain) -> Starlette:
    """Return the application, which starts `engine` with its lifespan."""
    server = ModelServer(engine, settings.answering_model, settings.engine_key, drain)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        await engine.start()
        try:
            yield
        finally:
            await server.close()
            await engine.close()

    routes = [
        Route("/v1/chat/completions", server.complete, methods=["POST"]),
        Route("/v1/models", server.list_models),
        Route("/health", server.report_health),
        Route("/metrics", server.report_metrics),
    ]
    return Starlette(routes=routes, lifespan=lifespan)


def check_key(settings: Settings) -> None:
    """Raise ConfigurationError if others could use the engine without a key, or if the key is short."""
    key = settings.engine_key
    if not key and settings.host not in ("127.0.0.1", "::1", "localhost"):
        raise ConfigurationError(
            f"Without a key, everybody who reaches {settings.host} could use the model: "
            "MAVERA_ENGINE_KEY=$(openssl rand -hex 24)"
        )
    if key and len(key) < LEAST_KEY_CHARACTERS:
        raise ConfigurationError(f"MAVERA_ENGINE_KEY has at least {LEAST_KEY_CHARACTERS} characters.")


def main() -> None:
    with one_line_endings():
        settings = load_settings()
        check_key(settings)
        os.umask(0o077)
        configure_logs(settings)
        raise_descriptor_limit()
        stop_on_hangup()
        listener = listen(settings, "mavera models serve --port 8001")
        asyncio.run(_serve(settings, listener))


async def _serve(settings: Settings, listener: socket.socket) -> None:
    drain = Drain()
    app = create_model_app(settings, EmbeddedEngine(settings), drain)
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=round(settings.shutdown_grace_seconds),
    )
    server = DrainingServer(config, drain, drain_seconds=settings.drain_seconds)
    await server.serve(sockets=[listener])


if __name__ == "__main__":
    main()
