"""
Send a request to a model's server over HTTP/1.1, and read the response piece by piece.

    Poster.post(address, body) → ServerResponse: status, headers, read() → bytes … b"" at its end, close()

This HTTP client has no redirects, cookies, proxies or compression, because mavera needs none of them for a
model's server. It costs a fifth of a client that has them (docs/decisions/0016). After a response, its
connection is used again, or closed after `idle_seconds`.

An exchange has limits: for all received bytes, for the bytes of the headers, and for the total seconds. An
exchange that exceeds one of them fails.

Exceptions of the sockets stop here: CannotConnect, TimedOut, TooMuch, Broke, BadAddress.
"""

import asyncio
import base64
import math
import ssl
from collections import deque
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import urlsplit

import httptools

# The most bytes that wait here unread. Beyond it, the sender has to wait.
_MOST_UNREAD_BYTES = 512 * 1024
_IDLE_CONNECTIONS = 1024
_MOST_HEAD_BYTES = 64 * 1024
_PORTS = {"http": 80, "https": 443}


class ExchangeFailed(Exception):
    """The exchange did not reach its end."""


class BadAddress(ExchangeFailed):
    """The URL is not valid."""


class CannotConnect(ExchangeFailed):
    pass


class TimedOut(ExchangeFailed):
    pass


class TooMuch(ExchangeFailed):
    """The response has more bytes than the limit."""


class Broke(ExchangeFailed):
    """The connection ended, or the server did not speak HTTP."""


@dataclass(frozen=True, slots=True)
class Address:
    """A server, and the head of each request up to its length. Its repr shows no key."""

    host: str
    port: int
    tls: bool
    head: bytes = field(repr=False)

    @classmethod
    def of(cls, url: str, *, headers: dict[str, str], method: str = "POST") -> "Address":
        """Build an address. Raises BadAddress if `url` or a header is not valid."""
        try:
            parts = urlsplit(url)
            host, port = (parts.hostname or "").encode("idna").decode(), parts.port
        except ValueError as error:
            raise BadAddress("not a URL") from error
        if parts.scheme not in _PORTS or not host:
            raise BadAddress("not an http(s) URL")
        if parts.username is not None and "Authorization" not in headers:
            login = f"{parts.username}:{parts.password or ''}".encode()
            headers = {**headers, "Authorization": f"Basic {base64.b64encode(login).decode()}"}
        shown = f"[{host}]" if ":" in host else host
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        lines = [
            f"{method} {path} HTTP/1.1",
            f"Host: {shown}" if port is None else f"Host: {shown}:{port}",
            *(f"{name}: {value}" for name, value in headers.items()),
        ]
        if any(not line.isprintable() or not line.isascii() for line in lines):
            raise BadAddress("a character that no header may have")
        head = "\r\n".join(lines).encode() + b"\r\nContent-Length: "
        return cls(host, port or _PORTS[parts.scheme], parts.scheme == "https", head)


class Poster:
    """
    The connections of one event loop. With `keep_alive=False`, each request opens its own.

    `connect_seconds` limits the opening of a connection. A response may have `most_bytes`, and it must end
    within `total_seconds` after its request. An idle connection is closed after one to two times
    `idle_seconds`, because after a burst of requests the idle connections would keep all its descriptors.
    """

    def __init__(
        self,
        *,
        connect_seconds: float,
        keep_alive: bool = True,
        most_bytes: int = 64 * 1024 * 1024,
        total_seconds: float = math.inf,
        idle_seconds: float = 15.0,
    ) -> None:
        self.most_bytes = most_bytes
        self.total_seconds = total_seconds
        self._idle_seconds = idle_seconds
        self._sweep_timer: asyncio.TimerHandle | None = None
        self._connect_seconds = connect_seconds
        self._keep_alive = keep_alive
        self._idle: dict[tuple[str, int, bool], deque[_Connection]] = {}
        self._all: set[_Connection] = set()
        self._tls: ssl.SSLContext | None = None

    async def post(
        self, address: Address, body: bytes, *, patience_seconds: float, more: bytes = b""
    ) -> "ServerResponse":
        """
        Return the response as soon as its headers have arrived.

        `more` is further lines of the request's head, each with its ending.

        Raises BadAddress, CannotConnect, TooMuch, Broke, and TimedOut if the headers have not arrived
        `patience_seconds` after the request.
        """
        connection = self._take(address) or await self._connect(address)
        try:
            head = b"%b%d\r\n%b\r\n" % (address.head, len(body), more)
            await connection.send_request(head, body, patience_seconds)
        except BaseException:
            connection.drop()
            raise
        return ServerResponse(self, address, connection)

    async def close(self) -> None:
        if self._sweep_timer is not None:
            self._sweep_timer.cancel()
            self._sweep_timer = None
        for connection in tuple(self._all):
            connection.drop()
        self._idle.clear()
        await asyncio.sleep(0)  # the loop closes a socket in its next round

    def give_back(self, address: Address, connection: "_Connection") -> None:
        """Keep a connection if its response was read to the end. Drop any other."""
        idle = self._idle.setdefault((address.host, address.port, address.tls), deque())
        if self._keep_alive and connection.reusable and len(idle) < _IDLE_CONNECTIONS:
            loop = asyncio.get_running_loop()
            connection.idle_since = loop.time()
            idle.append(connection)
            if self._sweep_timer is None:
                self._sweep_timer = loop.call_later(self._idle_seconds, self._sweep, loop)
        else:
            connection.drop()

    def forget(self, connection: "_Connection") -> None:
        self._all.discard(connection)

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        """Drop the connections that have been idle too long. The deque has the longest idle ones first."""
        now = loop.time()
        for idle in self._idle.values():
            while idle and now - idle[0].idle_since >= self._idle_seconds:
                idle.popleft().drop()
        some = any(self._idle.values())
        self._sweep_timer = loop.call_later(self._idle_seconds, self._sweep, loop) if some else None

    def _take(self, address: Address) -> "_Connection | None":
        idle = self._idle.get((address.host, address.port, address.tls))
        while idle:
            connection = idle.pop()
            if connection.reusable:
                return connection
            connection.drop()
        return None

    async def _connect(self, address: Address) -> "_Connection":
        if address.tls and self._tls is None:
            self._tls = ssl.create_default_context()
        try:
            async with asyncio.timeout(self._connect_seconds):
                _, connection = await asyncio.get_running_loop().create_connection(
                    lambda: _Connection(self),
                    address.host,
                    address.port,
                    ssl=self._tls if address.tls else None,
                )
        except (OSError, ValueError) as error:  # TimeoutError is an OSError
            raise CannotConnect(type(error).__name__) from error
        self._all.add(connection)
        return connection


class ServerResponse:
    """A response. Closing it gives its connection back or, before its end, drops the connection."""

    def __init__(self, poster: Poster, address: Address, connection: "_Connection") -> None:
        self._poster = poster
        self._address = address
        self._connection: _Connection | None = connection
        self.status = connection.status
        self._headers = connection.headers

    @property
    def content_type(self) -> str:
        """The media type in lower case, without its parameters."""
        return self.header(b"content-type").partition(";")[0].strip().lower()

    def header(self, name: bytes) -> str:
        """Return the header called `name`, which is in lower case, or "" if there is none."""
        return self._headers.get(name, b"").decode("latin-1")

    def read(self, *, patience_seconds: float) -> Awaitable[bytes]:
        """Return the next bytes, or b"" at the end. Raises TimedOut, TooMuch or Broke."""
        if self._connection is None:
            raise Broke("closed")
        return self._connection.read(patience_seconds)

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            self._poster.give_back(self._address, connection)


class _Connection(asyncio.Protocol):
    """
    A connection, which carries one exchange at a time and has at most one timer.

    The timer keeps running after an exchange, so that the next exchange need not start another.
    """

    def __init__(self, poster: Poster) -> None:
        self._poster = poster
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due = 0.0
        self._ended = True
        self._last = False
        self._paused = False
        self._failure: ExchangeFailed | None = None
        self._pieces: list[bytes] = []
        self._unread = 0
        self._headed = False
        self._received = 0
        self._deadline = 0.0
        self.idle_since = 0.0
        self._parser = httptools.HttpResponseParser(self)
        self.status = 0
        self.headers: dict[bytes, bytes] = {}

    @property
    def reusable(self) -> bool:
        at_rest = self._ended and not self._last and not self._pieces
        return at_rest and self._failure is None and self._transport is not None

    async def send_request(self, head: bytes, body: bytes, patience_seconds: float) -> None:
        """Send a request, and return when the headers of the response have arrived."""
        if self._transport is None:
            raise Broke("closed")
        self._ended, self._headed = False, False
        self.headers = {}
        self._received = 0
        now = self._loop.time()
        self._deadline = now + self._poster.total_seconds
        headers_due = now + patience_seconds
        self._transport.writelines((head, body))
        while not self._headed:  # pieces of a head, and statuses such as 100, do not extend the wait
            await self._wait(headers_due - self._loop.time())

    async def read(self, patience_seconds: float) -> bytes:
        while not self._pieces:
            if self._ended:
                return b""
            await self._wait(patience_seconds)
        data = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces.clear()
        self._unread = 0
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()
        return data

    def drop(self) -> None:
        self._fail(Broke("dropped"))
        if self._transport is not None:
            self._transport.abort()

    async def _wait(self, patience_seconds: float) -> None:
        """Return when something has arrived. Raises the failure of the exchange."""
        self._check()
        self._waiter = self._loop.create_future()
        ends = self._loop.time() + patience_seconds
        self._patience_ends = ends if ends < self._deadline else self._deadline
        if self._timer is not None and self._timer_due > self._patience_ends:
            self._stop_timer()
        if self._timer is None:
            self._set_timer()
        try:
            await self._waiter
        finally:
            self._waiter = None
        if not self._pieces:
            self._check()

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _look(self) -> None:
        self._timer = None
        if self._waiter is None:
            return  # The next wait sets a timer of its own.
        if self._patience_ends > self._loop.time():
            self._set_timer()
            return
        self._fail(TimedOut("silence"))

    def _fail(self, failure: ExchangeFailed) -> None:
        if self._failure is None:
            self._failure = failure
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # The callbacks of the transport.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self._ended:
            # No exchange is open, and the next one must not take these bytes for its response.
            self.drop()
            return
        self._received += len(data)
        if self._received > (self._poster.most_bytes if self._headed else _MOST_HEAD_BYTES + len(data)):
            self._fail(TooMuch("bytes" if self._headed else "headers"))
            self.drop()
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._fail(Broke(type(error).__name__))
        if self._unread > _MOST_UNREAD_BYTES and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()
        self._wake()

    def connection_lost(self, error: Exception | None) -> None:
        # A response without a length ends with its connection.
        measured = b"content-length" in self.headers or b"transfer-encoding" in self.headers
        if self._headed and not measured and error is None and self._failure is None:
            self._ended = True
        self._transport = None
        self._stop_timer()
        self._poster.forget(self)
        if not self._ended:
            self._fail(Broke("the connection ended"))
        self._wake()

    # The callbacks of the parser.

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        self._headed = self.status >= 200
        if not self._headed:  # a status such as 100: the response follows it
            self.headers = {}

    def on_body(self, data: bytes) -> None:
        self._pieces.append(data)
        self._unread += len(data)

    def on_message_complete(self) -> None:
        if not self._headed:
            return
        self._ended = True
        self._last = not self._parser.should_keep_alive()

    def _set_timer(self) -> None:
        self._timer_due = self._patience_ends
        self._timer = self._loop.call_at(self._timer_due, self._look)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
