"""WebSockets that hold memory, flood the server or break the protocol: each is bounded and leaves nothing."""

import json
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from tests.attack.conftest import Attack
from tests.attack.serving import AttackedServer
from tests.attack.websockets import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    TEXT,
    frame,
    frame_head,
    open_websocket,
    opening_bytes,
)
from tests.attack.wire import RawConnection

MB = 1024 * 1024
Vector = Callable[[RawConnection], None]
TURN = json.dumps({"type": "response.create", "model": "mavera-1", "input": "Hi"}).encode()


def send_whole_message(connection: RawConnection) -> None:
    connection.send(frame(b"x" * (20 * MB), BINARY))


def send_text(connection: RawConnection) -> None:
    connection.send(frame(b'{"type": "' + b"x" * (20 * MB) + b'"}'))


def send_half_a_frame(connection: RawConnection) -> None:
    connection.send(frame_head(30 * MB) + b"x" * (20 * MB))


def send_fragments(connection: RawConnection) -> None:
    for number in range(20):
        connection.send(frame(b"x" * MB, TEXT if number == 0 else CONTINUATION, fin=False))


def send_a_broken_frame(connection: RawConnection) -> None:
    connection.send(frame(b"x" * (20 * MB), TEXT, fin=False) + b"\xff\xff" + b"x" * 100)


VECTORS: dict[str, Vector] = {
    "a message": send_whole_message,
    "a text": send_text,
    "half a frame": send_half_a_frame,
    "fragments": send_fragments,
    "a broken frame": send_a_broken_frame,
}


@pytest.mark.parametrize("attack_with", VECTORS.values(), ids=VECTORS)
def test_a_closed_websocket_leaves_nothing_behind(attacked: AttackedServer, attack_with: Vector) -> None:
    before = attacked.resources().rss_bytes

    for number in range(10):
        with attacked.connect() as connection:
            open_websocket(connection, attacked.keys.test)
            attack_with(connection)
            if number % 2:
                connection.send(frame(b"\x03\xe8", CLOSE))
                connection.is_closed(2)

    attacked.wait_for(lambda: attacked.resources().rss_bytes - before < 90 * MB)


@pytest.mark.parametrize("attack_with", [send_half_a_frame, send_fragments], ids=["half frames", "fragments"])
def test_all_websockets_together_hold_a_limited_amount(attack: Attack, attack_with: Vector) -> None:
    server = attack(max_receiving_bytes=100 * MB)
    before = server.resources().rss_bytes

    with ExitStack() as stack:
        opened = [stack.enter_context(server.connect()) for _ in range(12)]
        for connection in opened:
            open_websocket(connection, server.keys.test)
            attack_with(connection)
        assert server.resources().rss_bytes - before < 200 * MB
        assert sum(connection.is_closed(0.2) for connection in opened) >= 8
        polite = stack.enter_context(server.connect())
        open_websocket(polite, server.keys.test)
        polite.send(frame(TURN))
        assert b"response.created" in (polite.receive() or b"")


def test_half_sent_bodies_together_hold_a_limited_amount(attack: Attack) -> None:
    server = attack(max_receiving_bytes=100 * MB)
    before = server.resources().rss_bytes
    head = (
        f"POST /api/v1/responses HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {server.keys.test}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {30 * MB}\r\n\r\n"
    ).encode()

    with ExitStack() as stack:
        opened = [stack.enter_context(server.connect()) for _ in range(12)]
        for connection in opened:
            connection.send(head)
            connection.send(b" " * (20 * MB))
        assert server.resources().rss_bytes - before < 200 * MB
        answers = [connection.receive(0.2) for connection in opened]
        assert sum(b" 503 " in (answer or b"")[:40] for answer in answers) >= 8
        with server.client(server.keys.test) as client:
            turn = {"model": "mavera-1", "input": "Hi"}
            assert client.post("/api/v1/responses", json=turn).status_code == 200

    server.wait_for(lambda: server.resources().rss_bytes - before < 90 * MB)


FLOODS = {
    "pings": frame(b"p" * 125, PING) * 400,
    "empty pings": frame(b"", PING) * 8000,
    "small messages": frame(b"{}") * 8000,
    "empty fragments": frame(b"", TEXT, fin=False) + frame(b"", CONTINUATION, fin=False) * 8000,
}


@pytest.mark.parametrize("name", FLOODS)
def test_a_flood_whose_answers_nobody_reads_takes_no_memory(attacked: AttackedServer, name: str) -> None:
    before = attacked.resources().rss_bytes
    first, piece = FLOODS[name], FLOODS[name]
    if name == "empty fragments":
        piece = frame(b"", CONTINUATION, fin=False) * 8000

    with attacked.connect(timeout_seconds=2) as connection:
        open_websocket(connection, attacked.keys.test)
        connection.send(first)
        connection.send_repeatedly(piece, limit_bytes=16 * MB)
        assert attacked.resources().rss_bytes - before < 40 * MB
        assert attacked.is_alive()


def test_a_client_that_reads_its_pongs_gets_all_of_them(attacked: AttackedServer) -> None:
    with attacked.connect() as connection:
        open_websocket(connection, attacked.keys.test)
        received = bytearray()
        for _ in range(10):
            connection.send(frame(b"p" * 100, PING) * 500)
            while len(received) < 500 * 102:
                piece = connection.receive()
                assert piece
                received += piece
            assert received.count(b"\x8a\x64" + b"p" * 100) == 500
            received.clear()


BREACHES = {
    "a text that is no UTF-8": frame(b"\xff\xfe"),
    "a frame without a mask": b"\x81\x02hi",
    "a reserved bit": b"\xf1\x80\0\0\0\0",
    "an unknown opcode": b"\x83\x80\0\0\0\0",
    "a continuation of nothing": frame(b"x", CONTINUATION),
    "a message within a message": frame(b"x", fin=False) + frame(b"x"),
    "a close code that does not exist": frame(b"\x00\x01", CLOSE),
    "a close frame of one byte": frame(b"\x03", CLOSE),
    "a close reason that is no UTF-8": frame(b"\x03\xe8\xff", CLOSE),
    "a long ping": frame(b"p" * 126, PING),
    "a frame that is too large": frame_head(2**62),
    "bytes after the close": frame(b"\x03\xe8", CLOSE) + frame(TURN),
    "a turn, then garbage": frame(TURN) + b"\xff" * 64,
    "a turn, then a close": frame(TURN) + frame(b"\x03\xe8", CLOSE),
    "many turns, then a close": frame(TURN) * 6 + frame(b"\x03\xe8", CLOSE),
}


def test_no_breach_of_the_protocol_is_a_traceback(attacked: AttackedServer) -> None:
    for breach in BREACHES.values():
        for ends_at_once in (False, True):
            with attacked.connect(timeout_seconds=2) as connection:
                open_websocket(connection, attacked.keys.test)
                connection.send(breach)
                if ends_at_once:
                    connection.abort()
                else:
                    connection.is_closed(0.3)

    assert attacked.is_alive()
    assert "Traceback" not in attacked.log()


OPENINGS = {
    "150 fields": tuple(f"x-{number}: 1" for number in range(150)),
    "a long line": ("X: " + "a" * 20_000,),
    "a body": ("Content-Length: 5",),
    "chunks": ("Transfer-Encoding: chunked",),
    "another version": ("Sec-WebSocket-Version: 99",),
    "two keys": ("Sec-WebSocket-Key: AAAA",),
}


@pytest.mark.parametrize("headers", OPENINGS.values(), ids=OPENINGS)
def test_a_strange_opening_is_answered_and_closed(attacked: AttackedServer, headers: tuple[str, ...]) -> None:
    with attacked.connect() as connection:
        connection.send(opening_bytes(attacked.keys.test, *headers))
        assert 400 <= connection.read_response().status < 500
        assert connection.is_closed(5)

    assert "Traceback" not in attacked.log()


def test_a_flood_of_openings_without_a_key_leaves_nothing_behind(attacked: AttackedServer) -> None:
    before = attacked.resources().rss_bytes

    for _ in range(300):
        with attacked.connect() as connection:
            connection.send(opening_bytes("mvra_test_nobody"))

    assert attacked.is_alive()
    attacked.wait_for(lambda: attacked.resources().rss_bytes - before < 16 * MB)
    attacked.wait_for(lambda: attacked.resources().open_files < 60)
