"""What goes out for the events of an application: how many writes, and what is refused."""

import asyncio
import logging
from typing import Any

import pytest
from uvicorn.protocols.http.flow_control import FlowControl

from mavera.server.cycle import Cycle


class Transport(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.closed = False

    def write(self, data: Any) -> None:
        self.written.append(bytes(data))

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed


def start(*headers: tuple[bytes, bytes], status: int = 200) -> dict[str, Any]:
    return {"type": "http.response.start", "status": status, "headers": headers}


def piece(body: bytes, *, more_body: bool = False) -> dict[str, Any]:
    return {"type": "http.response.body", "body": body, "more_body": more_body}


def send(*messages: dict[str, Any], method: str = "GET", keep_alive: bool = True) -> Transport:
    """Return the transport after a cycle has sent `messages`."""

    async def run() -> Transport:
        transport, log = Transport(), logging.getLogger(__name__)
        cycle = Cycle(
            scope={"method": method},  # type: ignore[typeddict-item]
            transport=transport,
            flow=FlowControl(transport),
            logger=log,
            access_logger=log,
            access_log=False,
            default_headers=[(b"date", b"today")],
            message_event=asyncio.Event(),
            expect_100_continue=False,
            keep_alive=keep_alive,
            on_response=lambda: None,
        )
        for message in messages:
            await cycle.send(message)
        return transport

    return asyncio.run(run())


def test_a_response_that_comes_whole_is_one_write() -> None:
    transport = send(start((b"Content-Length", b"2")), piece(b"ok"))

    assert transport.written == [b"HTTP/1.1 200 OK\r\ndate: today\r\ncontent-length: 2\r\n\r\nok"]
    assert not transport.closed


def test_the_first_chunk_goes_with_the_head_and_each_further_one_alone() -> None:
    transport = send(start(), piece(b"a" * 17, more_body=True), piece(b"b", more_body=True), piece(b""))

    head = b"HTTP/1.1 200 OK\r\ndate: today\r\ntransfer-encoding: chunked\r\n\r\n"
    assert transport.written == [head + b"11\r\n" + b"a" * 17 + b"\r\n", b"1\r\nb\r\n", b"0\r\n\r\n"]


def test_the_answer_to_head_has_no_body_and_keeps_its_length() -> None:
    transport = send(start((b"content-length", b"2")), piece(b"ok"), method="HEAD")

    assert transport.written == [b"HTTP/1.1 200 OK\r\ndate: today\r\ncontent-length: 2\r\n\r\n"]


def test_an_answer_without_content_is_not_chunked() -> None:
    assert send(start(status=204), piece(b"")).written == [b"HTTP/1.1 204 No Content\r\ndate: today\r\n\r\n"]


@pytest.mark.parametrize("keep_alive", [False, True])
def test_a_connection_that_ends_says_so_once(keep_alive: bool) -> None:
    own = ((b"connection", b"keep-alive, Close"),) if keep_alive else ()
    transport = send(start((b"content-length", b"0"), *own), piece(b""), keep_alive=keep_alive)

    assert transport.written[0].lower().count(b"close") == 1
    assert transport.closed


@pytest.mark.parametrize(
    "messages",
    [
        [start((b"x", b"1\r\nset-cookie: a"))],
        [start((b"x", b"\x00"))],
        [start((b"x: y", b"1"))],
        [start((b"", b"1\r\n"))],
        [piece(b"ok")],
        [start(), start()],
        [start(), piece(b""), piece(b"")],
        [start((b"content-length", b"1")), piece(b"ok")],
        [start((b"content-length", b"3")), piece(b"ok")],
    ],
)
def test_what_is_no_http_is_refused(messages: list[dict[str, Any]]) -> None:
    with pytest.raises(RuntimeError):
        send(*messages)


def test_tabs_and_letters_beyond_ascii_may_stand_in_a_header() -> None:
    assert b"x: a\t\xfc\r\n" in send(start((b"x", b"a\t\xfc")), piece(b"")).written[0]
