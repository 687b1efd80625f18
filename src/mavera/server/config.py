"""The configuration of a serving process, which is alone or one of several workers."""

import gc
import math
from functools import partial
from typing import Any

import uvicorn
from starlette.applications import Starlette

from mavera.server.connections import ConnectionLimits, Connections
from mavera.server.draining import DrainingServer
from mavera.server.http_protocol import GuardedHTTP
from mavera.server.websocket_protocol import GuardedWebSocket
from mavera.settings import Settings

# A request leaves hardly any cycle behind. With Python's own 700, each request would cause two collections.
GARBAGE_ALLOCATIONS = 20_000


def build_server_config(application: Starlette, settings: Settings) -> uvicorn.Config:
    """Return uvicorn's configuration for an application of `create_app`, with the limits of the settings."""
    state = application.state
    connections = Connections(ConnectionLimits.of(settings), state.metrics, state.drain)
    # uvicorn calls these once for each connection. Its types say a class, but any callable works.
    http: Any = partial(GuardedHTTP, connections)
    ws: Any = partial(GuardedWebSocket, connections)
    return uvicorn.Config(
        application,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # nothing here uses the address of a proxy's client
        http=http,
        ws=ws,
        ws_max_size=settings.max_body_bytes,
        # Compressing events of a few bytes costs more than it saves.
        ws_per_message_deflate=False,
        timeout_graceful_shutdown=math.ceil(settings.shutdown_grace_seconds),
    )


def build_server(application: Starlette, settings: Settings) -> DrainingServer:
    """Return the server of a process, which is alone or one of several workers."""
    config = build_server_config(application, settings)
    return DrainingServer(config, application.state.drain, drain_seconds=settings.drain_seconds)


def settle_garbage() -> None:
    """Keep the objects of start-up out of later garbage collections, because they live for ever."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE_ALLOCATIONS)
