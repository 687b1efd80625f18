"""
uvicorn's WebSocket protocol, with limits on what a client may send and on how long it may take.

    bytes → _unread → parser → messages → queue → application
                             → pings → pongs

Bytes go to the parser in slices, and only if the application has taken the last message and the client reads
the server's output. So neither small frames nor pings make the server hold much or work long at a time.

A stop of the server does not close a connection at once. An event informs the application, which closes the
connection when its responses are complete. The server's grace limits that time, as it does for requests.
"""

import asyncio
from typing import Any

from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import CloseCode

from mavera.api.responses.websocket import HOLDING, SERVER_ENDS
from mavera.errors import InvalidRequest
from mavera.server.closing_response import build_closing_response
from mavera.server.connections import FREE_BYTES, Connections
from mavera.server.http_protocol import LEAST_BYTES_PER_SECOND

# A slice of the smallest frames takes about 10 ms of work.
SLICE_BYTES = 8 * 1024


class GuardedWebSocket(WebSocketsSansIOProtocol):
    def __init__(self, connections: Connections, **given: Any) -> None:
        super().__init__(**given)
        self._guard = connections
        self._limits = connections.limits
        self._server_ends = asyncio.Event()
        self._unread = memoryview(b"")
        self._yielding = self._blocked = False
        self._queued_bytes = self._held_bytes = 0
        self._partial_since: float | None = None
        self._blocked_since: float | None = None
        self._closing_since: float | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._holding = self._guard.join(self, self.client[0] if self.client else None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget_messages()
        super().connection_lost(exc)
        self._guard.leave(self)

    def _forget_messages(self) -> None:
        """
        Free the bytes that have arrived and will not be read.

        The parser is a generator that refers to its connection, and its errors refer to the generator. Such
        cycles would keep all of it until the next full garbage collection, which is rare here.
        """
        self._unread = memoryview(b"")
        self.frames = []
        self.conn.reader.discard()
        self.conn.parser.close()
        self.conn.parser_exc = None
        self.conn.events = []
        queued = [self.queue.get_nowait() for _ in range(self.queue.qsize())]
        for message in queued:
            if message["type"] != "websocket.receive":
                self.queue.put_nowait(message)
        self._queued_bytes = 0
        self._hold()

    def handle_connect(self, event: Any) -> None:
        super().handle_connect(event)
        if not self.close_sent:  # a handshake that was refused has no scope
            extensions: dict[str, Any] = self.scope["extensions"]
            extensions[SERVER_ENDS] = {"event": self._server_ends}
            extensions[HOLDING] = {"holding": self._holding}

    def shutdown(self) -> None:
        self._server_ends.set()
        if self.close_sent or not self.handshake_complete:
            super().shutdown()

    def data_received(self, data: bytes) -> None:
        self._unread = memoryview(bytes(self._unread) + data if self._unread else data)
        self._parse()

    def _parse(self) -> None:
        """Parse the bytes that have arrived, as long as messages can be queued and pongs sent."""
        while self._unread and not (self._blocked or self.read_paused or self._yielding):
            if self.transport.is_closing():
                self._unread = memoryview(b"")
                return
            piece, self._unread = self._unread[:SLICE_BYTES], self._unread[SLICE_BYTES:]
            if self._parse_slice(piece) and self._unread:
                self._yielding = True
                self.loop.call_soon(self._continue)
        if self._unread or self._blocked or self.read_paused:
            self.transport.pause_reading()
        else:
            self.transport.resume_reading()

    def _continue(self) -> None:
        self._yielding = False
        self._parse()

    def _parse_slice(self, piece: memoryview) -> bool:
        """Parse one slice, and return whether it completed a frame."""
        self.conn.receive_data(bytes(piece))
        if not self.handshake_initiated and self.conn.handshake_exc is not None:
            self._refuse_handshake()
            return True
        if self.conn.parser_exc is not None:
            self.handle_parser_exception()
            return True
        completed = bool(self.conn.events)
        self.handle_events()
        self._note_partial()
        if not self._hold():
            self._fail(CloseCode.TRY_AGAIN_LATER, "The server is receiving as much as it can hold.")
        return completed

    def _refuse_handshake(self) -> None:
        """Respond to a head that the HTTP parser accepted and the WebSocket parser refuses."""
        response = b"".join(self.conn.data_to_send())
        error = InvalidRequest("The request is not a valid opening of a WebSocket.")
        self.transport.write(response or build_closing_response(error))
        self.handshake_complete = self.close_sent = True
        self.transport.close()

    def _note_partial(self) -> None:
        if not self.conn.reader.buffer and not self.frames:
            self._partial_since = None
        elif self._partial_since is None:
            self._partial_since = self._guard.now

    def _partial_bytes(self) -> int:
        return len(self.conn.reader.buffer) + sum(map(len, self.frames))

    def _hold(self) -> bool:
        """Count the bytes that this protocol holds now. Returns False if they exceed the limits."""
        size = self._partial_bytes() + self._queued_bytes
        if size <= FREE_BYTES >= self._held_bytes:
            return True
        if size > self._held_bytes:
            if not self._holding.take(size - self._held_bytes):
                return False
        else:
            self._holding.give(self._held_bytes - size)
        self._held_bytes = size
        return True

    def handle_cont(self, event: Any) -> None:
        # In one growing buffer, any number of empty fragments takes no memory.
        self.frames[0] += event.data
        if event.fin:
            self.send_receive_event_to_app()

    def handle_text(self, event: Any) -> None:
        self.curr_msg_data_type = "text"
        self._begin_message(event)

    def handle_bytes(self, event: Any) -> None:
        self.curr_msg_data_type = "bytes"
        self._begin_message(event)

    def _begin_message(self, event: Any) -> None:
        self.frames = [event.data if event.fin else bytearray(event.data)]  # type: ignore[list-item]
        if event.fin:
            self.send_receive_event_to_app()

    def send_receive_event_to_app(self) -> None:
        data, self.frames = self.frames[0], []
        if self.close_sent:
            return
        if self.curr_msg_data_type == "bytes":
            self.queue.put_nowait({"type": "websocket.receive", "bytes": bytes(data)})
        else:
            try:
                self.queue.put_nowait({"type": "websocket.receive", "text": str(data, "utf-8")})
            except UnicodeDecodeError:
                self._fail(CloseCode.INVALID_DATA, "A text message is not UTF-8.")
                return
        self._queued_bytes += len(data)
        self.read_paused = True

    def _fail(self, code: CloseCode, reason: str) -> None:
        """Close the connection because of the client's data."""
        self.conn.fail(code, reason)
        self._unread = memoryview(b"")
        self.frames = []
        self.conn.reader.discard()
        self.handle_parser_exception()

    def handle_parser_exception(self) -> None:
        if not self.close_sent and self.conn.close_sent is not None:
            super().handle_parser_exception()
        else:  # the closing handshake has begun, so nothing more may be sent
            self.transport.close()

    async def receive(self) -> Any:
        message = await self.queue.get()
        if self.queue.empty():
            self._queued_bytes = 0
            self.read_paused = False
            if not self.disconnected:
                self._hold()
                self._parse()
        return message

    async def send(self, message: Any) -> None:
        await self.writable.wait()
        if self.transport.is_closing():
            raise ClientDisconnected
        await super().send(message)
        if self._blocked:
            self.transport.pause_reading()

    def pause_writing(self) -> None:
        """Stop reading while the client does not read, because each of its pings would cost a pong."""
        super().pause_writing()
        self._blocked, self._blocked_since = True, self._guard.now
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._blocked, self._blocked_since = False, None
        self._parse()

    def drop(self) -> None:
        self.transport.abort()

    def check_deadline(self, now: float, *, pressed: bool) -> None:
        limits = self._limits
        if self.transport.is_closing():
            self._closing_since = self._closing_since or now
            if now - self._closing_since > limits.write_seconds:
                self.drop()
        elif self._blocked_since is not None:
            if now - self._blocked_since > limits.write_seconds:
                self._guard.note_timeout("write")
                self.drop()
        elif self._partial_since is not None:
            seconds = limits.body_seconds + self._partial_bytes() / LEAST_BYTES_PER_SECOND
            if self.read_paused:
                self._partial_since = now
            elif now - self._partial_since > seconds:
                self._guard.note_timeout("body")
                self._fail(CloseCode.POLICY_VIOLATION, "The message did not arrive in time.")
