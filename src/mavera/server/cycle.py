"""
uvicorn's cycle of one request and its response, which writes the head with the first piece of the body.

Two writes are two calls into the system and two packets. ASGI wants a server to wait in this way: it must not
send the head of a response before the first event of its body.

An application that sends events out of turn, or what is no HTTP, gets a RuntimeError as from uvicorn.
"""

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

_NOT_IN_NAMES = re.compile(rb'[\x00-\x20\x7f()<>@,;:\\\[\]={}"]')
_NOT_IN_VALUES = bytes({*range(32), 127} - {ord("\t")})


class Cycle(RequestResponseCycle):
    _head = b""

    async def send(self, message: Any) -> None:
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        kind = message["type"]
        if not self.response_started and kind == "http.response.start":
            self._start(message["status"], message.get("headers", ()))
        elif self.response_started and not self.response_complete and kind == "http.response.body":
            self._continue(message.get("body", b""), more_body=message.get("more_body", False))
        else:
            raise RuntimeError(f"The application sent '{kind}' out of turn.")

    def _start(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        self.response_started = True
        self.waiting_for_100_continue = False
        parts, closes = [STATUS_LINE[status]], False
        for name, value in (*self.default_headers, *headers):
            name = _checked(name)
            if name == b"content-length" and self.chunked_encoding is None:
                self.chunked_encoding, self.expected_content_length = False, int(value)
            elif name == b"transfer-encoding" and value.lower() == b"chunked":
                self.chunked_encoding, self.expected_content_length = True, 0
            elif name == b"connection" and b"close" in [token.strip() for token in value.lower().split(b",")]:
                self.keep_alive, closes = False, True
            parts += (name, b": ", value, b"\r\n")
        values = b"".join(parts[3::4])
        if len(values.translate(None, _NOT_IN_VALUES)) < len(values):
            raise RuntimeError("The value of a header has a control character.")
        if not self.keep_alive and not closes:
            parts.append(b"connection: close\r\n")
        if self.chunked_encoding is None and self.scope["method"] != "HEAD" and status not in (204, 304):
            self.chunked_encoding = True
            parts.append(b"transfer-encoding: chunked\r\n")
        parts.append(b"\r\n")
        self._head = b"".join(parts)

    def _continue(self, body: bytes, *, more_body: bool) -> None:
        head, self._head = self._head, b""
        self.transport.write(head + self._framed(body, more_body=more_body))
        if more_body:
            return
        if self.expected_content_length:
            raise RuntimeError("The body is shorter than its Content-Length.")
        self.response_complete = True
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()

    def _framed(self, body: bytes, *, more_body: bool) -> bytes:
        if self.scope["method"] == "HEAD":
            self.expected_content_length = 0
            return b""
        if self.chunked_encoding:
            chunk = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            return chunk if more_body else chunk + b"0\r\n\r\n"
        self.expected_content_length -= len(body)
        if self.expected_content_length < 0:
            raise RuntimeError("The body is longer than its Content-Length.")
        return body


@lru_cache(maxsize=256)
def _checked(name: bytes) -> bytes:
    """Return the name of a header in small letters."""
    if _NOT_IN_NAMES.search(name):
        raise RuntimeError("The name of a header has a character that none may have.")
    return name.lower()
