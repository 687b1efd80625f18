"""The configuration of a serving process, alone or one of several workers."""

import gc
import math
from functools import partial
from typing import Any

import uvicorn
from starlette.applications import Starlette

from mavera.server.connections import ConnectionLimits, Connections
from mavera.server.http_protocol import GuardedHTTP
from mavera.server.websocket_protocol import GuardedWebSocket
from mavera.settings import Settings

# A request leaves hardly a cycle behind; Python's own 700 would look for one twice in each.
GARBAGE_ALLOCATIONS = 20_000


def server_config(application: Starlette, settings: Settings) -> uvicorn.Config:
    """Return how to serve what `create_app` has returned, within the limits that the settings name."""
    connections = Connections(ConnectionLimits.of(settings), application.state.metrics)
    # uvicorn makes one for each connection: it wants something to call, though its types say a class.
    http: Any = partial(GuardedHTTP, connections)
    ws: Any = partial(GuardedWebSocket, connections)
    return uvicorn.Config(
        application,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # nobody here asks where a request came from
        http=http,
        ws=ws,
        ws_max_size=settings.max_body_bytes,
        # Deflating events of a few bytes costs more than it saves.
        ws_per_message_deflate=False,
        timeout_graceful_shutdown=math.ceil(settings.shutdown_grace_seconds),
    )


def settle_garbage() -> None:
    """Say that what start-up made lives for good: collections need not look at it again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE_ALLOCATIONS)
