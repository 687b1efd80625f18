"""
uvicorn's HTTP protocol, with limits on what a client may send and on how long it may take.

    head    from the first byte, or from the opening of the connection, to the end of the header fields
    body    the rest of the request
    answer  the application has the request, and only slow reading by the client is limited
    idle    between two requests
    drop    the response is complete, but the client still sends a body that nobody reads
    over    the server has sent its reason for closing, and waits a moment for the client to read it

A usual request costs only a few assignments here. The sweep of `Connections` does the rest.
"""

import asyncio
import math
from typing import Any
from urllib.parse import unquote

from httptools import parse_url
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from mavera.errors import APIError, HeadTooLarge, InvalidRequest, RequestTooSlow, ServiceUnavailable
from mavera.server.closing_response import build_closing_response
from mavera.server.connections import FREE_BYTES, PRESSED_SECONDS, SWEEP_SECONDS, Connections, Holding
from mavera.server.cycle import Cycle

# A client may send so many requests before it has read the response to the first.
MAX_PIPELINED = 32
# A body that arrives at this rate is never too slow.
LEAST_BYTES_PER_SECOND = 16 * 1024
OVER_SECONDS = 3.0
OVER_BYTES = 1024 * 1024


class _Refused(Exception):
    """Stops the parser. The reason is in `_fault`."""


class GuardedHTTP(HttpToolsProtocol):
    def __init__(self, connections: Connections, **given: Any) -> None:
        super().__init__(**given)
        self._guard = connections
        self._limits = connections.limits
        self._phase, self._since = "head", 0.0
        self._refusal: APIError | None = None
        self._fault: APIError | None = None
        self._in_head, self._head_bytes, self._messages = True, 0, 0
        self._body_bytes = self._framing_bytes = self._held_bytes = self._over_bytes = 0
        self._holding: Holding | None = None
        self._unread_since: float | None = None
        self._closing_since: float | None = None
        self._upgraded = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._refusal = self._guard.admit(self, self.client[0] if self.client else None)
        self._since = self._guard.now

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._release()
        self._guard.leave(self)
        self.pipeline.clear()

    def data_received(self, data: bytes) -> None:
        if self._refusal is not None:
            self._end(self._refusal)
            self._refusal = None
        if self._phase == "over":
            self._over_bytes += len(data)
            if self._over_bytes > OVER_BYTES:
                self.drop()
            return
        if self._phase == "idle":
            self._phase, self._since = "head", self._guard.now
        while data and self._phase != "over" and not self.transport.is_closing():
            if not self._in_head:
                self._feed(data)
                return
            room = self._limits.head_bytes - self._head_bytes
            if not room:
                self._end(self._head_too_large())
                return
            piece, data = (data, b"") if len(data) <= room else (data[:room], data[room:])
            messages = self._messages
            self._feed(piece)
            # If the piece ended a message, the size of the next head is unknown.
            self._head_bytes = self._head_bytes + len(piece) if self._messages == messages else 0
            if self._upgraded:
                return

    def _feed(self, data: bytes) -> None:
        self._framing_bytes += len(data)
        super().data_received(data)
        if not self._in_head and self._framing_bytes > 2 * self._limits.head_bytes + self._body_bytes:
            self._end(InvalidRequest("The chunks of the body have more framing than content."))

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_head:  # trailers are ignored
            return
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        if len(self.headers) > self._limits.head_fields:
            self._fault = self._head_too_large()
            raise _Refused
        if len(self.pipeline) >= MAX_PIPELINED:
            raise _Refused
        self._in_head = False
        self._phase, self._since = "body", self._guard.now
        self._complete_scope()
        if not self._is_upgrade():
            self._start_cycle()

    def _is_upgrade(self) -> bool:
        return self.parser.should_upgrade() and self._should_upgrade()

    def _complete_scope(self) -> None:
        url, scope = parse_url(self.url), self.scope
        path = url.path.decode("ascii")
        scope["method"] = self.parser.get_method().decode("ascii")
        scope["http_version"] = self.parser.get_http_version()
        scope["path"] = unquote(path) if "%" in path else path
        scope["raw_path"] = url.path
        scope["query_string"] = url.query or b""

    def _start_cycle(self) -> None:
        """Do as uvicorn does, but with our own class of cycle."""
        before = self.cycle
        self.cycle = Cycle(
            scope=self.scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=self.access_log,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue,
            keep_alive=self.scope["http_version"] != "1.0" and self.parser.should_keep_alive(),
            on_response=self.on_response_complete,
        )
        self.cycle.drain = self._guard.drain
        if before is None or before.response_complete:
            self._start_asgi_task(self.cycle, self.app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))

    def on_body(self, body: bytes) -> None:
        size = len(body)
        self._framing_bytes -= size
        self._body_bytes += size
        if self._body_bytes > FREE_BYTES:
            self._hold(size if self._held_bytes else self._body_bytes)
        cycle = self.cycle
        if cycle.response_complete or self._is_upgrade():
            return
        cycle.body += body
        if len(cycle.body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        cycle.message_event.set()

    def on_message_complete(self) -> None:
        self._in_head = True
        self._head_bytes = self._body_bytes = self._framing_bytes = 0
        self._messages += 1
        if self._is_upgrade():
            return
        answered = self.cycle.response_complete
        self._phase, self._since = "idle" if answered else "answer", self._guard.now
        if not answered:
            self.cycle.more_body = False
            self.cycle.message_event.set()

    def on_response_complete(self) -> None:
        """Do as uvicorn does, but leave the wait for the next request to the sweep."""
        self.server_state.total_requests += 1
        self._release()
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        else:
            self._phase, self._since = "idle" if self._in_head else "drop", self._guard.now

    def send_400_response(self, msg: str) -> None:
        self._end(self._fault or InvalidRequest("The request is not valid HTTP."))

    def handle_websocket_upgrade(self) -> None:
        super().handle_websocket_upgrade()
        self._guard.leave(self)
        self._upgraded = True
        self.parser = None  # type: ignore[assignment]  # it would keep this protocol alive

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unread_since = self._guard.now

    def resume_writing(self) -> None:
        super().resume_writing()
        self._unread_since = None

    def drop(self) -> None:
        self.transport.abort()

    def check_deadline(self, now: float, *, pressed: bool) -> None:
        if self.transport.is_closing():  # the client has not read the last bytes
            self._closing_since = self._closing_since or now
            if now - self._closing_since > self._limits.write_seconds:
                self.drop()
        elif self._unread_since is not None and now - self._unread_since > self._limits.write_seconds:
            self._guard.note_timeout("write")
            self.drop()
        elif self._phase == "body" and self.flow.read_paused:
            self._since = now  # the application reads slowly, not the client
        # `_since` may be up to one sweep too early.
        elif now - self._since > self._choose_deadline_seconds(pressed) + SWEEP_SECONDS:
            self._expire()

    def _choose_deadline_seconds(self, pressed: bool) -> float:
        """Return the time for which the connection may stay in its phase."""
        limits, most = self._limits, PRESSED_SECONDS if pressed else math.inf
        match self._phase:
            case "head":
                return min(limits.head_seconds, most)
            case "idle":
                return min(limits.keep_alive_seconds, most)
            case "body":
                return limits.body_seconds + self._body_bytes / LEAST_BYTES_PER_SECOND
            case "drop":
                return limits.body_seconds
            case "over":
                return OVER_SECONDS
        return math.inf

    def _expire(self) -> None:
        phase = self._phase
        if phase == "over":
            self.drop()
            return
        self._guard.note_timeout(phase)
        if phase == "body" or (phase == "head" and self._head_bytes):
            self._end(RequestTooSlow(f"The {phase} of the request did not arrive in time."))
        elif phase == "drop":
            self.drop()
        else:
            self.transport.close()

    def _end(self, error: APIError) -> None:
        """
        Respond with `error` and close, or close at once if another response is under way.

        The connection stays open for reading for a moment. If it were closed while the client sends, the
        client's system would discard the response.
        """
        if self.transport.is_closing():
            return
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            cycle.disconnected = True
            cycle.message_event.set()
            if self._in_head or self.pipeline or cycle.response_started:
                self.drop()
                return
        self._phase, self._since = "over", self._guard.now
        self._release()
        self.transport.write(build_closing_response(error))
        self.transport.write_eof()
        self.flow.resume_reading()

    def _head_too_large(self) -> HeadTooLarge:
        limits = self._limits
        return HeadTooLarge(
            f"The head of a request may have {limits.head_bytes:,} bytes and {limits.head_fields:,} fields."
        )

    def _hold(self, size: int) -> None:
        if self._holding is None:
            self._holding = self._guard.holding_of(self)
        if not self._holding.take(size):
            self._fault = ServiceUnavailable("The server is receiving as much as it can hold.", retry_after=5)
            raise _Refused
        self._held_bytes += size

    def _release(self) -> None:
        if self._held_bytes and self._holding is not None:
            self._holding.give(self._held_bytes)
            self._held_bytes = 0
