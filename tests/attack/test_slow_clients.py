"""Clients that say nothing, send a byte now and then, or do not read: they are closed, the others served."""

import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from tests.attack.conftest import Attack
from tests.attack.serving import AttackedServer
from tests.attack.websockets import BINARY, CONTINUATION, frame, frame_head, open_websocket
from tests.attack.wire import RawConnection, request_bytes

QUICK = {
    "head_timeout_seconds": 1,
    "body_timeout_seconds": 1,
    "keep_alive_seconds": 2,
    "write_timeout_seconds": 2,
    "metrics": "all",
}
ALIVE = request_bytes("GET", "/health/live")
WAIT_SECONDS = 12


def closes(connection: RawConnection, trickle: bytes = b"") -> bytes | None:
    """Send `trickle` until the server closes. Return what it has said, or None if it does not close."""
    end, said = time.monotonic() + WAIT_SECONDS, b""
    while time.monotonic() < end:
        if trickle:
            connection.send(trickle)
        piece = connection.receive(0.25)
        if piece == b"":
            return said
        said += piece or b""
    return None


def test_slow_clients_are_closed(attack: Attack) -> None:
    server = attack(**QUICK)
    head = ALIVE[:-2]
    body = json.dumps({"model": "mavera-1", "input": "Hi" * 5000}).encode()
    post = request_bytes("POST", "/api/v1/responses", key=server.keys.test, body=body)[: -len(body) + 1]

    def outcome(start: bytes, trickle: bytes) -> bytes | None:
        with server.connect() as connection:
            connection.send(start)
            return closes(connection, trickle)

    silent = (b"", b"")
    late = ((head, b""), (head + b"X: ", b"a"), (post, b""), (post, b"i"))
    idle, next_is_late = (ALIVE, b""), (ALIVE + head, b"a")
    # Each one waits for a deadline, so all wait at once.
    with ThreadPoolExecutor(7) as pool:
        said = list(pool.map(outcome, *zip(silent, *late, idle, next_is_late, strict=True)))

    assert said[0] == b""
    for answered in said[1:5]:
        assert b" 408 " in (answered or b"")
    assert (said[5] or b"").count(b"HTTP/1.1") == 1
    assert (said[6] or b"").startswith(b"HTTP/1.1 200")
    timed_out = server.client().get("/metrics").text
    assert 'mavera_connections_timed_out_total{phase="head"}' in timed_out
    assert 'mavera_connections_timed_out_total{phase="body"}' in timed_out


def test_a_request_in_time_outlasts_every_deadline_of_the_next(attack: Attack) -> None:
    server = attack(**QUICK)

    with server.connect() as connection:
        for _ in range(6):
            connection.send(ALIVE[:10])
            time.sleep(0.3)
            connection.send(ALIVE[10:])
            assert connection.read_response().status == 200
            time.sleep(0.3)


def test_a_websocket_message_that_never_ends_is_closed(attack: Attack) -> None:
    server = attack(**QUICK)

    with server.connect() as half, server.connect() as fragments, server.connect() as idle:
        for connection in (half, fragments, idle):
            open_websocket(connection, server.keys.test)
        half.send(frame_head(1_000_000))
        fragments.send(frame(b"a", BINARY, fin=False))
        assert closes(half, b"a") is not None
        assert closes(fragments, frame(b"", CONTINUATION, fin=False)) is not None
        assert not idle.is_closed(0.5)


def test_a_client_that_does_not_read_is_closed(attack: Attack) -> None:
    server = attack(**QUICK)
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.connect(("127.0.0.1", server.port))
    with sock:
        sock.settimeout(1)
        try:
            for _ in range(200):
                sock.sendall(request_bytes("GET", "/openapi.json") * 4)
        except OSError:
            pass
        server.wait_for(lambda: connections_of(server) <= 1, 20)


def connections_of(server: AttackedServer) -> int:
    """Return how many connections the server has, this question's own included."""
    for line in server.client().get("/metrics").text.splitlines():
        if line.startswith("mavera_connections "):
            return int(float(line.split()[1]))
    raise AssertionError("no such metric")


def from_address(server: AttackedServer, host: str) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), 5, source_address=(host, 0))


def status_from(server: AttackedServer, host: str) -> int:
    """Return the status that a client from `host` gets, 0 if it is closed without an answer."""
    with from_address(server, host) as sock:
        try:
            sock.sendall(ALIVE)
            answer = sock.recv(4096)
        except ConnectionError:
            return 0
    return int(answer.split(b" ")[1]) if answer else 0


def test_silent_connections_do_not_use_up_the_descriptors(attack: Attack) -> None:
    server = attack(file_limit=256)

    with ExitStack() as stack:
        kept = stack.enter_context(server.connect())
        kept.send(ALIVE)
        assert kept.read_response().status == 200
        cpu = server.resources().cpu_seconds
        for _ in range(400):
            stack.enter_context(server.connect())
        for host in ("127.0.0.2", "127.0.0.3"):
            assert status_from(server, host) == 200
        kept.send(ALIVE)
        assert kept.read_response().status == 200
        assert server.resources().open_files < 256
        assert server.resources().cpu_seconds - cpu < 5

    server.wait_for(lambda: status_from(server, "127.0.0.1") == 200, 20)
    assert "connections_capped" in server.log()
    server.wait_for(lambda: "connections_refused" in server.log())


@pytest.mark.parametrize("cap", ["address", "total"])
def test_connections_beyond_a_cap_are_told_so_and_the_others_go_on(attack: Attack, cap: str) -> None:
    name, most = ("max_connections_per_address", 8) if cap == "address" else ("max_connections", 16)
    server = attack(metrics="all", **{name: most})

    with ExitStack() as stack:
        opened = [stack.enter_context(server.connect()) for _ in range(8)]
        for connection in opened:
            connection.send(ALIVE)
            assert connection.read_response().status == 200
        if cap == "total":
            for number in range(8):
                stack.enter_context(from_address(server, f"127.0.0.{3 + number}"))
        refused = stack.enter_context(server.connect())
        refused.send(ALIVE)
        answer = refused.read_response()
        assert answer.status == (429 if cap == "address" else 503)
        assert answer.headers["retry-after"] == "5"
        assert refused.is_closed(5)
        if cap == "address":
            assert status_from(server, "127.0.0.2") == 200
        opened[0].send(ALIVE)
        assert opened[0].read_response().status == 200

    server.wait_for(lambda: status_from(server, "127.0.0.1") == 200, 5)
    metrics = server.client().get("/metrics").text
    assert f'mavera_connections_refused_total{{cap="{cap}"}}' in metrics


def test_idle_connections_make_room_when_places_run_out(attack: Attack) -> None:
    server = attack(metrics="all", max_connections=20, max_connections_per_address=20)

    with ExitStack() as stack:
        for _ in range(19):
            stack.enter_context(server.connect())
        server.wait_for(lambda: connections_of(server) <= 1, 10)


def test_each_worker_keeps_the_limits(attack: Attack) -> None:
    server = attack("--workers", "2", **QUICK)

    with server.connect() as silent, server.connect() as large:
        assert closes(silent) == b""
        large.send(ALIVE[:-2] + b"X: ")
        assert large.send_repeatedly(b"a" * 65536, limit_bytes=8 << 20) < 8 << 20
