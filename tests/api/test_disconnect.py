"""
A client that leaves stops the work; one that stays gets each event at once, also at shutdown.

"Within a second" is promised; these tests allow for a loaded machine.
"""

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mavera.models.scripted import ScriptedModel
from tests.conftest import Serve, Served, running_server
from tests.support.upstream_stub import (
    SAID,
    Behaviour,
    Upstream,
    answers_slowly,
    holds_its_headers,
    is_silent,
    running_upstream,
    text,
)

RESPONSES, CHAT = "/responses", "/chat/completions"
BODIES: dict[str, dict[str, Any]] = {
    RESPONSES: {"model": "mavera-1", "input": "Would you pay?"},
    CHAT: {"model": "mavera-1", "messages": [{"role": "user", "content": "Would you pay?"}]},
}
SECRET = "sk-upstream-secret-7d1f"

both_formats = pytest.mark.parametrize("path", [RESPONSES, CHAT])


class Watched(ScriptedModel):
    """A scripted model that knows the event loop it is served by."""

    async def start(self) -> None:
        self.loop = asyncio.get_running_loop()

    def tasks(self) -> list[str]:
        return sorted(str(task.get_coro()) for task in asyncio.all_tasks(self.loop))

    def runs_left(self) -> list[str]:
        return [name for name in self.tasks() if re.search("run_asgi|run_response|stream|anext|asend", name)]


def sent(url: str, key: str, path: str, *, stream: bool) -> socket.socket:
    """Return a connection over which the request has gone out whole."""
    body = json.dumps({**BODIES[path], "stream": stream})
    host, port = url.removeprefix("http://").split(":")
    connection = socket.create_connection((host, int(port)), timeout=10)
    connection.sendall(
        f"POST /api/v1{path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
    )
    return connection


def read_until(connection: socket.socket, wanted: bytes) -> bytes:
    read = b""
    while wanted not in read:
        data = connection.recv(65536)
        assert data, read
        read += data
    return read


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 4
    while not holds():
        assert time.monotonic() < deadline, "it did not come within the second we promise, nor the slack"
        time.sleep(0.01)


@pytest.fixture(scope="module")
def shared_upstream() -> Iterator[Upstream]:
    with running_upstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory, shared_upstream: Upstream) -> Iterator[Served]:
    """A server before the shared upstream, with a short heartbeat."""
    with running_server(
        tmp_path_factory.mktemp("data"),
        model_backend="upstream",
        upstream_base_url=shared_upstream.url,
        upstream_model="stub",
        heartbeat_seconds=0.2,
    ) as served:
        yield served


@pytest.fixture
def upstream(shared_upstream: Upstream) -> Upstream:
    shared_upstream.asked.clear()
    return shared_upstream


@both_formats
@pytest.mark.parametrize("stream", [False, True], ids=["unstreamed", "streamed"])
@pytest.mark.parametrize(
    "behaviour",
    [holds_its_headers, is_silent(), is_silent(text("Well,"))],
    ids=["in the prompt phase", "after the headers", "within the answer"],
)
def test_the_upstream_is_left_when_the_client_leaves(
    relay: Served, upstream: Upstream, path: str, stream: bool, behaviour: Behaviour
) -> None:
    upstream.script = [behaviour]
    connection = sent(relay.url, relay.key, path, stream=stream)
    upstream.wait_until_busy(1)

    connection.close()

    upstream.wait_until_busy(0)
    assert len(upstream.asked) == 1


@both_formats
def test_the_upstream_is_left_when_the_client_leaves_within_the_stream(
    relay: Served, upstream: Upstream, path: str
) -> None:
    upstream.script = [is_silent(text("Well,"))]
    connection = sent(relay.url, relay.key, path, stream=True)
    read_until(connection, b"Well,")

    connection.close()

    upstream.wait_until_busy(0)


@both_formats
def test_the_upstream_is_left_when_the_client_is_cut_off(
    relay: Served, upstream: Upstream, path: str
) -> None:
    upstream.script = [is_silent(text("Well,"))]
    connection = sent(relay.url, relay.key, path, stream=True)
    read_until(connection, b"Well,")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    connection.close()  # with a reset, as when a machine dies

    upstream.wait_until_busy(0)


def test_a_hundred_clients_may_leave_at_once(relay: Served, upstream: Upstream) -> None:
    upstream.script = [is_silent(text("Well,"))]
    connections = [
        sent(relay.url, relay.key, (RESPONSES, CHAT)[number % 2], stream=number % 4 < 2)
        for number in range(100)
    ]
    upstream.wait_until_busy(100)

    for connection in connections:
        connection.close()

    upstream.wait_until_busy(0)


@both_formats
@pytest.mark.parametrize("stream", [False, True], ids=["unstreamed", "streamed"])
def test_nothing_of_a_run_is_left_when_the_client_leaves(serve: Serve, path: str, stream: bool) -> None:
    model = Watched(["Well,"] * 10_000, delay_seconds=0.05)
    served = serve(model)
    connections = [sent(served.url, served.key, path, stream=stream) for _ in range(10)]
    wait_until(lambda: model.running == 10)
    assert model.runs_left()

    for connection in connections:
        connection.close()

    wait_until(lambda: model.running == 0)
    wait_until(lambda: model.runs_left() == [])


@both_formats
def test_nothing_of_a_run_is_left_when_it_has_ended(serve: Serve, path: str) -> None:
    model = Watched(["Well,"])
    served = serve(model)

    for stream in (True, False):
        with sent(served.url, served.key, path, stream=stream) as connection:
            read_until(connection, b"data: [DONE]" if stream else b"Well,")

    wait_until(lambda: model.running == 0)
    wait_until(lambda: model.runs_left() == [])


def chunks_of(read: bytes) -> list[bytes]:
    """Return the HTTP chunks in which the body came."""
    rest = read.partition(b"\r\n\r\n")[2]
    chunks = []
    while b"\r\n" in rest:
        length, _, rest = rest.partition(b"\r\n")
        chunks.append(rest[: int(length, 16)])
        rest = rest[int(length, 16) + 2 :]
    return chunks


@pytest.mark.parametrize(
    ("path", "first"),
    [(RESPONSES, b"event: response.created\ndata: "), (CHAT, b'data: {"id":"chatcmpl_')],
)
def test_the_first_event_comes_alone_and_before_the_model_says_anything(
    relay: Served, upstream: Upstream, path: str, first: bytes
) -> None:
    upstream.script = [is_silent()]

    with sent(relay.url, relay.key, path, stream=True) as connection:
        read = read_until(connection, b"\n\n\r\n")

    [alone, *_] = chunks_of(read)
    assert alone.startswith(first)
    assert alone.count(b"\n\n") == 1
    assert alone.endswith(b"\n\n")


@both_formats
def test_every_event_comes_when_it_happens(relay: Served, upstream: Upstream, path: str) -> None:
    upstream.script = [is_silent(text("Well,"), text(" hm"))]

    with sent(relay.url, relay.key, path, stream=True) as connection:
        read = read_until(connection, b" hm")

    assert b"[DONE]" not in read


@both_formats
def test_a_stream_says_that_it_is_one_and_that_no_proxy_may_hold_it_back(
    relay: Served, upstream: Upstream, path: str
) -> None:
    upstream.script = [is_silent()]

    with sent(relay.url, relay.key, path, stream=True) as connection:
        head = read_until(connection, b"\r\n\r\n").partition(b"\r\n\r\n")[0].decode().lower()

    lines = head.split("\r\n")
    assert lines[0] == "http/1.1 200 ok"
    assert "content-type: text/event-stream; charset=utf-8" in lines
    assert "cache-control: no-cache" in lines
    assert "x-accel-buffering: no" in lines
    assert "x-request-id: req_" in head
    assert "content-length" not in head


@both_formats
@pytest.mark.parametrize(
    "behaviour",
    [holds_its_headers, is_silent(), is_silent(text("Well,"))],
    ids=["in the prompt phase", "after the headers", "within the answer"],
)
def test_silence_is_broken_by_comments(
    relay: Served, upstream: Upstream, path: str, behaviour: Behaviour
) -> None:
    upstream.script = [behaviour]

    with sent(relay.url, relay.key, path, stream=True) as connection:
        read = read_until(connection, b"\n\n")
        while read.count(b": still here\n\n") < 3:
            read += read_until(connection, b": still here\n\n")

    comments = [chunk for chunk in chunks_of(read) if chunk.startswith(b":")]
    assert set(comments) == {b": still here\n\n"}


def test_a_stream_that_is_not_silent_has_no_comments(relay: Served, upstream: Upstream) -> None:
    upstream.script = [answers_slowly(0.02)]

    with sent(relay.url, relay.key, CHAT, stream=True) as connection:
        read = read_until(connection, b"[DONE]")

    assert b"still here" not in read


@contextmanager
def command(data_dir: Path, upstream: Upstream, **more: str) -> Iterator[subprocess.Popen[str]]:
    """Run `mavera serve` as an operator does; `more` are further variables."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MAVERA_")}
    settings = {
        "MAVERA_MODEL_BACKEND": "upstream",
        "MAVERA_UPSTREAM_BASE_URL": upstream.url,
        "MAVERA_UPSTREAM_API_KEY": SECRET,
        "MAVERA_UPSTREAM_MODEL": "stub",
        "MAVERA_LOG_LEVEL": "debug",
        "MAVERA_DATA_DIR": str(data_dir),
        **more,
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "mavera", "serve", "--port", "0"],
        env={**kept, **settings},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def greeting(process: subprocess.Popen[str]) -> tuple[str, str]:
    """Return the URL and the key that the first start shows."""
    assert process.stdout is not None
    shown = ""
    for line in process.stdout:
        shown += line
        if "-d '" in line:
            break
    url = re.search(r"http://127\.0\.0\.1:\d+", shown)
    key = re.search(r"mvra_live_\w+", shown)
    assert url, shown
    assert key, shown
    return url[0], key[0]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_running_stream_ends_before_the_server_does(
    tmp_path: Path, upstream: Upstream, number: signal.Signals
) -> None:
    upstream.script = [answers_slowly(0.5)]

    with command(tmp_path, upstream) as process:
        url, key = greeting(process)
        with sent(url, key, CHAT, stream=True) as connection:
            read = read_until(connection, b"I would ")
            process.send_signal(number)
            read += read_until(connection, b"data: [DONE]\n\n")
        _, log = process.communicate(timeout=20)

    events = [json.loads(line[6:]) for line in read.decode().splitlines() if line.startswith("data: {")]
    assert "".join(event["choices"][0]["delta"].get("content") or "" for event in events) == SAID
    assert events[-1]["choices"][0]["finish_reason"] == "stop"
    assert process.returncode in (0, -signal.SIGTERM), log
    assert '"status":200' in log.replace(" ", "")
    assert SECRET not in log
    assert key not in log


def test_a_stream_that_outlasts_the_grace_ends_as_a_failure(tmp_path: Path, upstream: Upstream) -> None:
    upstream.script = [is_silent(text("Well,"))]

    with command(tmp_path, upstream, MAVERA_SHUTDOWN_GRACE_SECONDS="1") as process:
        url, key = greeting(process)
        with (
            sent(url, key, RESPONSES, stream=True) as streamed,
            sent(url, key, CHAT, stream=False) as whole,
        ):
            read = read_until(streamed, b"Well,")
            upstream.wait_until_busy(2)
            process.send_signal(signal.SIGTERM)
            read += read_until(streamed, b"data: [DONE]\n\n")
            status = read_until(whole, b"\r\n").partition(b"\r\n")[0]
        process.communicate(timeout=20)

    assert b"event: response.failed" in read
    assert b"response.completed" not in read
    assert status.startswith(b"HTTP/1.1 503")
    upstream.wait_until_busy(0)
