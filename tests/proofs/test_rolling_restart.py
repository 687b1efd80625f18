"""
One of two servers is restarted under streams and new requests, and no client notices.

HAProxy asks `/health/ready`. The proof cannot show how long kube-proxy takes to leave a pod.
"""

import asyncio
import signal
import threading
import time
from pathlib import Path

import httpx2 as httpx
import pytest

from mavera.settings import Settings
from tests.support.processes import ASK, books, make_key, serving
from tests.support.routers import running_haproxy
from tests.support.servers import new_database
from tests.support.tables import make_tables
from tests.support.upstream_stub import answers_slowly, running_upstream

pytestmark = pytest.mark.proof

DRAIN_SECONDS = 4
CREDITS = 1_000_000


class Clients:
    """Clients that stream all the time, and count what goes wrong."""

    def __init__(self, url: str, key: str) -> None:
        self._url = url
        self._key = key
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._ask_for_ever) for _ in range(6)]
        self.completed = 0
        self.faults: list[str] = []

    def __enter__(self) -> "Clients":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join(60)

    def _ask_for_ever(self) -> None:
        headers = {"Authorization": f"Bearer {self._key}"}
        while not self._stopping.is_set():
            try:
                with (
                    httpx.Client(headers=headers, timeout=60) as client,
                    client.stream("POST", self._url, json={**ASK, "stream": True}) as answer,
                ):
                    text = "".join(answer.iter_text())
            except httpx.TransportError as error:
                self.faults.append(repr(error))
                continue
            if answer.status_code != 200 or "response.completed" not in text:
                self.faults.append(f"{answer.status_code} {text[-300:]}")
            else:
                self.completed += 1


def test_a_rolling_restart_refuses_no_request_and_cuts_no_stream(tmp_path: Path, postgres_url: str) -> None:
    with new_database(postgres_url) as database_url, running_upstream() as upstream:
        make_tables(database_url)
        upstream.script = [answers_slowly(0.3)]
        settings = Settings(data_dir=tmp_path / "first", database_url=database_url, key_pepper="p" * 32)
        key = asyncio.run(make_key(settings, CREDITS))
        environ = {
            "MAVERA_DATABASE_URL": database_url,
            "MAVERA_KEY_PEPPER": "p" * 32,
            "MAVERA_MODEL_BACKEND": "upstream",
            "MAVERA_UPSTREAM_BASE_URL": upstream.url,
            "MAVERA_UPSTREAM_MODEL": "stub",
            "MAVERA_DRAIN_SECONDS": str(DRAIN_SECONDS),
            "MAVERA_STUDY_WORKER": "off",
        }
        with (
            serving(environ, tmp_path / "first") as (first, process),
            serving(environ, tmp_path / "second") as (second, _),
            running_haproxy(
                tmp_path, [first, second], "option httpchk GET /health/ready", "balance roundrobin"
            ) as (balancer, _),
            Clients(f"{balancer}/api/v1/responses", key) as clients,
        ):
            time.sleep(3)
            origin = first.partition("/api")[0]
            process.send_signal(signal.SIGTERM)
            time.sleep(0.5)
            ready = httpx.get(f"{origin}/health/ready")
            assert ready.status_code == 503, "ready is false first, while the server still answers"
            process.wait(60)
            ended = clients.completed
            time.sleep(3)
        assert clients.faults == []
        assert clients.completed > ended > 0
        balance, added_up, _ = asyncio.run(books(settings))
        assert balance == added_up
