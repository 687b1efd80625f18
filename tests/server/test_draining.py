"""A server that is asked to stop: not ready at once, answering for the drain, then ending its answers."""

import asyncio
import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2 as httpx
import pytest

from mavera.settings import Settings
from tests.support.processes import ASK, books, make_key, serving
from tests.support.tables import make_tables
from tests.support.upstream_stub import Upstream, is_silent, running_upstream, text

CREDITS = 1000


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "data").mkdir()
    make_tables(f"sqlite:///{tmp_path}/data/mavera.db")
    return Settings(data_dir=tmp_path / "data")


@pytest.fixture
def key(settings: Settings) -> str:
    return asyncio.run(make_key(settings, CREDITS))


@pytest.fixture
def silent_upstream() -> Iterator[Upstream]:
    with running_upstream() as upstream:
        upstream.script = [is_silent(text("I would "))]
        yield upstream


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_server_that_drains_is_not_ready_and_still_answers(
    settings: Settings, key: str, workers: str
) -> None:
    environ = {"MAVERA_DRAIN_SECONDS": "3", "MAVERA_WORKERS": workers}
    headers = {"Authorization": f"Bearer {key}"}
    with serving(environ, settings.data_dir) as (url, process), httpx.Client(headers=headers) as client:
        origin = url.partition("/api")[0]
        before = client.post(url, json=ASK)
        assert before.headers.get("connection") != "close"
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        ready = _wait_until_not_ready(client, origin)
        assert ready["draining"] is True

        answered = client.post(url, json=ASK)

        assert answered.status_code == 200
        assert answered.headers["connection"] == "close"
        assert httpx.get(f"{origin}/health/live").status_code == 200
        process.wait(20)
        assert time.monotonic() - began >= 3
        with pytest.raises(httpx.TransportError):
            httpx.get(f"{origin}/health/live")


def _wait_until_not_ready(client: httpx.Client, origin: str) -> dict[str, object]:
    """Return the first answer that is not ready. The signal takes a moment to arrive."""
    deadline = time.monotonic() + 2.5
    while True:
        answer = client.get(f"{origin}/health/ready")
        if answer.status_code == 503:
            return dict(answer.json())
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_ctrl_c_skips_the_drain(settings: Settings, key: str) -> None:
    with serving({"MAVERA_DRAIN_SECONDS": "60"}, settings.data_dir) as (_, process):
        process.send_signal(signal.SIGINT)
        process.wait(20)


def test_a_second_signal_ends_the_drain(settings: Settings, key: str) -> None:
    with serving({"MAVERA_DRAIN_SECONDS": "60"}, settings.data_dir) as (url, process):
        process.send_signal(signal.SIGTERM)
        with httpx.Client() as client:
            _wait_until_not_ready(client, url.partition("/api")[0])
        process.send_signal(signal.SIGTERM)
        process.wait(20)


def test_an_answer_that_outlasts_the_grace_ends_with_an_error_and_its_credits_are_back(
    settings: Settings, key: str, silent_upstream: Upstream
) -> None:
    environ = {
        "MAVERA_MODEL_BACKEND": "upstream",
        "MAVERA_UPSTREAM_BASE_URL": silent_upstream.url,
        "MAVERA_UPSTREAM_MODEL": "stub",
        "MAVERA_DRAIN_SECONDS": "1",
        "MAVERA_SHUTDOWN_GRACE_SECONDS": "1",
    }
    assert "MAVERA_LEASE_SECONDS" not in os.environ
    headers = {"Authorization": f"Bearer {key}"}
    with serving(environ, settings.data_dir) as (url, process):
        body = {**ASK, "stream": True}
        with httpx.stream("POST", url, json=body, headers=headers, timeout=30) as answer:
            lines = answer.iter_lines()
            assert next(line for line in lines if "I would" in line)
            process.send_signal(signal.SIGTERM)
            rest = [line for line in lines if line.startswith("data:")]
        process.wait(20)

    assert rest[-1] == "data: [DONE]"
    assert json.loads(rest[-2].removeprefix("data:"))["type"] == "response.failed"
    # The run was settled before the process ended, and not by a lease that runs out later.
    assert asyncio.run(books(settings)) == (CREDITS, CREDITS, 0)
