"""
A port of its own for `/metrics`, which a firewall can keep from the callers of the API.

    MAVERA_METRICS_PORT=9464  →  GET http://HOST:9464/metrics    no token: whoever reaches the port may read

Several workers bind the port together. Any of them answers for all.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

import uvicorn
from starlette.types import Receive, Scope, Send

from mavera.errors import APIError, ConfigurationError
from mavera.metrics import CONTENT_TYPE

Read = Callable[[], Awaitable[bytes]]

_HEADERS = {
    200: [(b"content-type", CONTENT_TYPE.encode())],
    404: [(b"content-type", b"text/plain; charset=utf-8")],
    503: [(b"content-type", b"text/plain; charset=utf-8")],
}


@asynccontextmanager
async def open_metrics_port(host: str, port: int, read: Read) -> AsyncIterator[None]:
    """Answer `GET /metrics` on `port` with the bytes that `read` returns, during the block."""

    async def respond(scope: Scope, _: Receive, send: Send) -> None:
        status, body = await _read(scope, read)
        await send({"type": "http.response.start", "status": status, "headers": _HEADERS[status]})
        await send({"type": "http.response.body", "body": body})

    config = uvicorn.Config(respond, log_config=None, access_log=False, server_header=False, lifespan="off")
    server = _PlainServer(config)
    with _listen(host, port) as listener:
        task = asyncio.create_task(server.serve(sockets=[listener]), name="mavera-metrics-port")
        try:
            yield
        finally:
            server.should_exit = True
            await task


class _PlainServer(uvicorn.Server):
    """A server that leaves the signals to the one that answers the API."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def _read(scope: Scope, read: Read) -> tuple[int, bytes]:
    if scope["type"] != "http" or scope["method"] != "GET" or scope["path"] != "/metrics":
        return 404, b"There is only GET /metrics here.\n"
    try:
        return 200, await read()
    except APIError as error:
        return 503, f"{error.message}\n".encode()


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise ConfigurationError(f"MAVERA_METRICS_PORT {port} cannot be used: {error.strerror}.") from error
    return listener
