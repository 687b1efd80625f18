"""
uvicorn's cycle of one request and its response, which writes the head with the first piece of the body.

Two writes would be two system calls and two packets. ASGI allows this: a server must not send the head of a
response before the first event of its body.

An application that sends events out of order, or invalid HTTP, gets a RuntimeError as from uvicorn.
"""

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from mavera.api.http.drain import Drain

_NOT_IN_NAMES = re.compile(rb'[\x00-\x20\x7f()<>@,;:\\\[\]={}"]')
_NOT_IN_VALUES = bytes({*range(32), 127} - {ord("\t")})


class Cycle(RequestResponseCycle):
    """`drain` ends the connection with the response if the process is about to stop."""

    drain = Drain()
    _head = b""

    async def send(self, message: Any) -> None:
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        if not self.response_started:
            if message["type"] != "http.response.start":
                raise _out_of_turn(message)
            self._start(message["status"], message.get("headers", ()))
        elif not self.response_complete:
            if message["type"] != "http.response.body":
                raise _out_of_turn(message)
            self._continue(message.get("body", b""), message.get("more_body", False))
        else:
            raise _out_of_turn(message)

    def _start(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        self.response_started = True
        self.waiting_for_100_continue = False
        parts, closes = [STATUS_LINE[status]], False
        for name, value in (*self.default_headers, *headers):
            name = _check_name(name)
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
        if self.drain.is_draining:
            self.keep_alive = False
        if not self.keep_alive and not closes:
            parts.append(b"connection: close\r\n")
        if self.chunked_encoding is None and self.scope["method"] != "HEAD" and status not in (204, 304):
            self.chunked_encoding = True
            parts.append(b"transfer-encoding: chunked\r\n")
        parts.append(b"\r\n")
        self._head = b"".join(parts)

    def _continue(self, body: bytes, more_body: bool) -> None:
        if self.scope["method"] == "HEAD":
            body, self.expected_content_length = b"", 0
        elif self.chunked_encoding:
            body = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            body = body if more_body else body + b"0\r\n\r\n"
        elif len(body) > self.expected_content_length:
            raise RuntimeError("The body is longer than its Content-Length.")
        else:
            self.expected_content_length -= len(body)
        if self._head:
            body, self._head = self._head + body, b""
        self.transport.write(body)
        if not more_body:
            self._complete()

    def _complete(self) -> None:
        if self.expected_content_length:
            raise RuntimeError("The body is shorter than its Content-Length.")
        self.response_complete = True
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()


def _out_of_turn(message: Any) -> RuntimeError:
    return RuntimeError(f"The application sent '{message['type']}' out of order.")


@lru_cache(maxsize=256)
def _check_name(name: bytes) -> bytes:
    """Return the name of a header in lower case."""
    if _NOT_IN_NAMES.search(name):
        raise RuntimeError("The name of a header has a forbidden character.")
    return name.lower()
