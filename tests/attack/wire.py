"""
Raw connections for bytes that no client library sends.

    with RawConnection("127.0.0.1", port) as connection:
        connection.send(b"GET /health/live HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
        assert connection.read_response().status == 200
        assert connection.is_closed(seconds=5)

Every wait has a bound: each read and write gives up after `timeout_seconds`, and a read returns at
most `limit_bytes`. A server that closes the connection is an outcome here, not an exception.
"""

import socket
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

_LIMIT_BYTES = 4 * 1024 * 1024
_PIECE_BYTES = 64 * 1024


@dataclass(frozen=True)
class RawResponse:
    """One response. Header names are in lower case; `body` ends at Content-Length or where chunks end."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


class RawConnection:
    """A TCP connection to a server. Raises OSError only if it cannot connect."""

    def __init__(self, host: str, port: int, timeout_seconds: float = 10) -> None:
        self._socket = socket.create_connection((host, port), timeout_seconds)
        self._timeout_seconds = timeout_seconds
        self._unread = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def abort(self) -> None:
        """Close with a reset: the server learns at once that nobody reads any more."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        self._socket.close()

    def send(self, data: bytes, *, seconds: float | None = None) -> int:
        """
        Send `data` and return how many bytes the kernel took.

        That is fewer than `len(data)` if the server closes the connection or reads nothing for
        `seconds`, which is `timeout_seconds` by default.
        """
        self._socket.settimeout(self._timeout_seconds if seconds is None else seconds)
        sent = 0
        view = memoryview(data)
        while sent < len(data):
            try:
                sent += self._socket.send(view[sent : sent + _PIECE_BYTES])
            except (TimeoutError, ConnectionError):
                break
        return sent

    def send_repeatedly(self, piece: bytes, *, limit_bytes: int) -> int:
        """Send `piece` until `limit_bytes` or until the server takes no more. Return the bytes sent."""
        sent = 0
        while sent < limit_bytes:
            taken = self.send(piece)
            sent += taken
            if taken < len(piece):
                break
        return sent

    def receive(self, seconds: float | None = None) -> bytes | None:
        """Return the next bytes, b"" if the connection has ended, None if nothing came for `seconds`."""
        if self._unread:
            piece, self._unread = self._unread, b""
            return piece
        self._socket.settimeout(self._timeout_seconds if seconds is None else seconds)
        try:
            return self._socket.recv(_PIECE_BYTES)
        except TimeoutError:
            return None
        except ConnectionError:
            return b""

    def read_to_end(self, *, limit_bytes: int = _LIMIT_BYTES, seconds: float | None = None) -> bytes:
        """Return all that comes until the end of the connection, `limit_bytes` or `seconds` of silence."""
        received = bytearray()
        while len(received) < limit_bytes:
            piece = self.receive(seconds)
            if not piece:
                break
            received += piece
        return bytes(received)

    def is_closed(self, seconds: float) -> bool:
        """Say whether the server closes the connection within `seconds`. What it sends is thrown away."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            if self.receive(left) == b"":
                return True
        return False

    def read_response(self, *, limit_bytes: int = _LIMIT_BYTES) -> RawResponse:
        """
        Read one response and keep what follows it for the next call.

        `status` is 0 if the connection ended or fell silent before a whole head came. A body that
        has neither a length nor chunks ends with the connection.
        """
        head, found, rest = self._read_until(b"\r\n\r\n", b"", limit_bytes)
        if not found:
            return RawResponse(0, body=head)
        status_line, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        status = int(status_line.split(" ")[1])
        body = self._read_body(headers, rest, limit_bytes)
        return RawResponse(status, headers, body)

    def _read_body(self, headers: dict[str, str], rest: bytes, limit_bytes: int) -> bytes:
        if headers.get("transfer-encoding", "").lower() == "chunked":
            return self._read_chunks(rest, limit_bytes)
        if "content-length" in headers:
            length = min(int(headers["content-length"]), limit_bytes)
            body, self._unread = self._read_at_least(length, rest)
            return body
        return rest + self.read_to_end(limit_bytes=limit_bytes)

    def _read_chunks(self, rest: bytes, limit_bytes: int) -> bytes:
        body = bytearray()
        while len(body) < limit_bytes:
            size, found, rest = self._read_until(b"\r\n", rest, limit_bytes)
            if not found:
                break
            length = int(size.split(b";")[0], 16)
            chunk, rest = self._read_at_least(length + 2, rest)
            body += chunk[:length]
            if length == 0 or len(chunk) < length + 2:
                break
        self._unread = rest
        return bytes(body)

    def _read_until(self, end: bytes, received: bytes, limit_bytes: int) -> tuple[bytes, bool, bytes]:
        while end not in received and len(received) < limit_bytes:
            piece = self.receive()
            if not piece:
                return received, False, b""
            received += piece
        before, found, rest = received.partition(end)
        return before, bool(found), rest

    def _read_at_least(self, length: int, received: bytes) -> tuple[bytes, bytes]:
        while len(received) < length:
            piece = self.receive()
            if not piece:
                break
            received += piece
        return received[:length], received[length:]


def request_bytes(
    method: str,
    path: str,
    *,
    key: str | None = None,
    body: bytes | None = None,
    headers: tuple[str, ...] = (),
) -> bytes:
    """Return an HTTP/1.1 request. `headers` are whole lines that follow Host, the key and the length."""
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1"]
    if key is not None:
        lines.append(f"Authorization: Bearer {key}")
    if body is not None:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, *headers, "", ""]).encode("latin-1") + (body or b"")
