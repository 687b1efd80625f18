"""How a process serves: the same for one that is alone and for one of several."""

import asyncio
import gc
import math
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from mavera.api.responses.websocket import SERVER_ENDS
from mavera.settings import Settings

# A request leaves hardly a cycle behind; Python's own 700 would look for one twice in each.
GARBAGE_ALLOCATIONS = 20_000


class PatientWebSocket(WebSocketsSansIOProtocol):
    """
    uvicorn's WebSocket, except that the server's end does not close it at once.

    Its application is told instead, and closes it when what it is saying is said; the
    server's grace bounds that, as it does for requests.
    """

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._server_ends = asyncio.Event()

    def handle_connect(self, event: Any) -> None:
        super().handle_connect(event)
        if not self.close_sent:  # a handshake that was refused has no scope
            self.scope["extensions"][SERVER_ENDS] = {"event": self._server_ends}

    def shutdown(self) -> None:
        self._server_ends.set()
        if self.close_sent or not self.handshake_complete:
            super().shutdown()


def server_config(application: ASGIApp, settings: Settings) -> uvicorn.Config:
    return uvicorn.Config(
        application,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # nobody here asks where a request came from
        ws=PatientWebSocket,
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
