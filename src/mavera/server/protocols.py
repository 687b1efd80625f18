"""uvicorn's protocol classes with what this server adds to them."""

import asyncio
from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from mavera.api.responses.websocket import SERVER_ENDS


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
