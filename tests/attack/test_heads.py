"""Heads, bodies and framing without end: neither memory nor time grows with them."""

import json

import pytest

from tests.attack.serving import AttackedServer
from tests.attack.wire import request_bytes

MB = 1024 * 1024
START = b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\n"
CHUNKED = (
    b"POST /api/v1/responses HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n"
)

HEADS: dict[str, tuple[bytes, bytes]] = {
    "a header value": (START + b"X: ", b"a" * 65536),
    "a header name": (START, b"a" * 65536),
    "headers": (START, b"x: y\r\n" * 11_000),
    "a path": (b"GET /", b"a" * 65536),
    "line ends before the request": (b"", b"\r\n" * 32768),
    "a value on many lines": (START + b"X: ", b" a\r\n" * 16384),
    "the second head of a connection": (START + b"\r\n" + START + b"X: ", b"a" * 65536),
}


@pytest.mark.parametrize(("start", "piece"), HEADS.values(), ids=HEADS)
def test_a_head_without_end_is_cut_off(attacked: AttackedServer, start: bytes, piece: bytes) -> None:
    before = attacked.resources().rss_bytes

    with attacked.connect() as connection:
        connection.send(start)
        sent = connection.send_repeatedly(piece, limit_bytes=64 * MB)
        assert sent < 64 * MB

    assert attacked.is_alive()
    assert attacked.resources().rss_bytes - before < 16 * MB


@pytest.mark.parametrize(("start", "piece"), HEADS.values(), ids=HEADS)
def test_the_answer_to_a_head_that_is_too_large_says_so(
    attacked: AttackedServer, start: bytes, piece: bytes
) -> None:
    first, end, second = start.rpartition(b"\r\n\r\n")

    with attacked.connect() as connection:
        if end:
            connection.send(first + end)
            assert connection.read_response().status == 200
        connection.send(second + piece[:65536] + piece[:8])
        answer = connection.read_response()

    assert answer.status in (400, 431)
    assert json.loads(answer.body)["error"]["code"] == "invalid_request"
    assert answer.headers["connection"] == "close"
    assert answer.headers["x-request-id"].startswith("req_")


def head(size: int) -> bytes:
    room = size - len(START) - len(b"X: \r\n\r\n")
    return START + b"X: " + b"a" * room + b"\r\n\r\n"


@pytest.mark.parametrize(("size", "status"), [(65536, 200), (65537, 431)])
def test_a_head_may_have_64_kib(attacked: AttackedServer, size: int, status: int) -> None:
    for pieces in (1, 3, 64):
        step = -(-size // pieces)
        with attacked.connect() as connection:
            data = head(size)
            for at in range(0, size, step):
                connection.send(data[at : at + step])
            assert connection.read_response().status == status


@pytest.mark.parametrize(("fields", "status"), [(200, 200), (201, 431), (5000, 431)])
def test_a_head_may_have_200_fields(attacked: AttackedServer, fields: int, status: int) -> None:
    more = b"".join(b"x-%d: 1\r\n" % number for number in range(fields - 1))

    with attacked.connect() as connection:
        connection.send(START + more + b"\r\n")
        assert connection.read_response().status == status


BODIES: dict[str, tuple[bytes, bytes]] = {
    "a chunk extension": (b"1;", b"a" * 65536),
    "extensions of small chunks": (b"", b"1;" + b"a" * 1000 + b"\r\n \r\n"),
    "a trailer": (b"1\r\n \r\n0\r\nx: ", b"a" * 65536),
    "trailers": (b"1\r\n \r\n0\r\n", b"x: y\r\n" * 11_000),
}


@pytest.mark.parametrize(("start", "piece"), BODIES.values(), ids=BODIES)
def test_framing_without_end_is_cut_off(attacked: AttackedServer, start: bytes, piece: bytes) -> None:
    before = attacked.resources().rss_bytes
    key = f"Authorization: Bearer {attacked.keys.test}\r\n\r\n".encode()

    with attacked.connect() as connection:
        connection.send(CHUNKED + key + start)
        assert connection.send_repeatedly(piece, limit_bytes=64 * MB) < 64 * MB

    assert attacked.is_alive()
    assert attacked.resources().rss_bytes - before < 16 * MB


def test_small_chunks_and_trailers_are_no_fault(attacked: AttackedServer) -> None:
    body = json.dumps({"model": "mavera-1", "input": "word " * 4000}).encode()
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces(body, 20))
    key = f"Authorization: Bearer {attacked.keys.test}\r\n\r\n".encode()

    with attacked.connect() as connection:
        connection.send(CHUNKED + key + chunks + b"0\r\nx-checksum: 1\r\n\r\n")
        assert connection.read_response().status == 200


def test_a_trailer_is_no_header(attacked: AttackedServer) -> None:
    body = b'{"model":"mavera-1","input":"Hi"}'

    with attacked.connect() as connection:
        key = f"Authorization: Bearer {attacked.keys.test}\r\n".encode()
        connection.send(CHUNKED + b"\r\n%x\r\n%b\r\n0\r\n%b\r\n" % (len(body), body, key))
        assert connection.read_response().status == 401


def test_pipelined_requests_whose_answers_nobody_reads_take_no_memory(attacked: AttackedServer) -> None:
    before = attacked.resources().rss_bytes
    request = request_bytes("GET", "/openapi.json")

    with attacked.connect(timeout_seconds=3) as connection:
        assert connection.send_repeatedly(request * 1000, limit_bytes=64 * MB) < 64 * MB

    assert attacked.is_alive()
    assert attacked.resources().rss_bytes - before < 24 * MB


def test_a_few_pipelined_requests_are_all_answered(attacked: AttackedServer) -> None:
    with attacked.connect() as connection:
        connection.send(request_bytes("GET", "/health/live") * 20)
        assert [connection.read_response().status for _ in range(20)] == [200] * 20


def test_garbage_after_a_request_does_not_get_into_its_answer(attacked: AttackedServer) -> None:
    body = json.dumps({"model": "mavera-1", "input": "Hi", "stream": True}).encode()

    with attacked.connect() as connection:
        request = request_bytes("POST", "/api/v1/responses", key=attacked.keys.test, body=body)
        connection.send(request + b"\0\0")
        received = connection.read_to_end(seconds=5)

    assert received.count(b"HTTP/1.1") <= 1


def pieces(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]
