"""Requests that two parsers could read differently: the server must never see a second request in them."""

import pytest

from tests.attack.serving import AttackedServer
from tests.attack.wire import request_bytes

INNER = b"GET /api/v1/usage HTTP/1.1\r\nHost: inner\r\nAuthorization: Bearer x\r\n\r\n"
POST = "POST /api/v1/responses HTTP/1.1\r\nHost: 127.0.0.1\r\n"

SHAPES = {
    "length and chunks": f"{POST}Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks and length": f"{POST}Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
    "two lengths": f"{POST}Content-Length: 0\r\nContent-Length: 70\r\n\r\n",
    "two lengths in a line": f"{POST}Content-Length: 0, 70\r\n\r\n",
    "a negative length": f"{POST}Content-Length: -1\r\n\r\n",
    "a signed length": f"{POST}Content-Length: +0\r\n\r\n",
    "a length in hex": f"{POST}Content-Length: 0x0\r\n\r\n",
    "a length with a space": f"{POST}Content-Length : 0\r\n\r\n",
    "a length with an underscore": f"{POST}Content-Length: 1_0\r\n\r\n",
    "a vast length": f"{POST}Content-Length: 99999999999999999999999999\r\n\r\n",
    "an unknown coding": f"{POST}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunked, then identity": f"{POST}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "chunked twice": f"{POST}Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n",
    "a folded coding": f"{POST}Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    "a tab before the colon": f"{POST}Transfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n",
    "a chunk size with a sign": f"{POST}Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n",
    "a chunk size in other digits": f"{POST}Transfer-Encoding: chunked\r\n\r\nzz\r\n\r\n",
    "a chunk without its end": f"{POST}Transfer-Encoding: chunked\r\n\r\n1\r\naGET\r\n\r\n",
    "a bare line feed in a header": f"{POST}X: a\nContent-Length: 0\r\n\r\n",
    "a bare carriage return in a header": f"{POST}X: a\rContent-Length: 0\r\n\r\n",
    "a NUL in a header": f"{POST}X: a\x00b\r\n\r\n",
    "a header without a name": f"{POST}: a\r\n\r\n",
    "no version": "GET /api/v1/usage\r\n\r\n",
    "version 3": "GET /api/v1/usage HTTP/3.0\r\nHost: x\r\n\r\n",
    "a space in the path": "GET /api/v1/usage x HTTP/1.1\r\nHost: x\r\n\r\n",
    "an unknown method": "G\x01T / HTTP/1.1\r\nHost: x\r\n\r\n",
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_an_ambiguous_request_carries_no_second_request(attacked: AttackedServer, shape: str) -> None:
    with attacked.connect(timeout_seconds=2) as connection:
        connection.send(shape.encode("latin-1") + INNER)
        statuses = []
        while (response := connection.read_response()).status:
            statuses.append(response.status)
    assert len(statuses) <= 1, statuses
    assert all(400 <= status < 600 and status != 500 for status in statuses), statuses


def test_an_honest_pair_of_requests_gets_two_answers(attacked: AttackedServer) -> None:
    with attacked.connect(timeout_seconds=5) as connection:
        connection.send(request_bytes("GET", "/health/live") * 2)
        assert [connection.read_response().status for _ in range(2)] == [200, 200]
