"""`mavera serve --workers 2`: one port, workers that may die, a parent that takes them with it."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx2 as httpx
import psutil
import pytest

from mavera.accounts.keys.keyring import Keyring
from mavera.settings import Settings
from mavera.storage.database import Database
from tests.support.processes import ASK, books, make_key, serving
from tests.support.tables import make_tables
from tests.support.upstream_stub import Upstream, answers_slowly

pytestmark = pytest.mark.proof


@dataclass(frozen=True)
class House:
    url: str
    parent: "subprocess.Popen[bytes]"
    settings: Settings
    key: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}

    def ask(self, **headers: str) -> httpx.Response:
        # A connection of its own each time: either worker may take it.
        headers = {**self.headers, **headers}
        return httpx.post(self.url, json=ASK, headers=headers, timeout=30, verify=False)

    def workers(self) -> list[psutil.Process]:
        return psutil.Process(self.parent.pid).children()


@pytest.fixture
def house(tmp_path: Path, upstream: Upstream) -> Iterator[House]:
    make_tables(f"sqlite:///{tmp_path}/mavera.db")
    settings = Settings(data_dir=tmp_path)
    key = asyncio.run(make_key(settings, 1_000))
    environ = {
        "MAVERA_MODEL_BACKEND": "upstream",
        "MAVERA_UPSTREAM_BASE_URL": upstream.url,
        "MAVERA_UPSTREAM_MODEL": "stub",
        "MAVERA_LEASE_SECONDS": "6",
    }
    with serving(environ, tmp_path, "--workers", "2") as (url, parent):
        until(lambda: len(psutil.Process(parent.pid).children()) == 2)
        yield House(url, parent, settings, key)


def until(true: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_worker_that_is_killed_is_started_again_and_what_it_held_comes_back(
    house: House, upstream: Upstream
) -> None:
    upstream.script = [answers_slowly(0.2)]
    with ThreadPoolExecutor(20) as pool:
        asking = [pool.submit(house.ask) for _ in range(20)]
        upstream.wait_until_busy(20)
        victim = house.workers()[0]
        victim.send_signal(signal.SIGKILL)
        ended = [each.exception() for each in asking]
    until(lambda: len(house.workers()) == 2 and victim.pid not in {w.pid for w in house.workers()})
    assert all(error is None or isinstance(error, httpx.TransportError) for error in ended)
    assert house.ask().status_code == 200
    until(lambda: asyncio.run(books(house.settings))[2] == 0)
    balance, added_up, _ = asyncio.run(books(house.settings))
    assert (balance, added_up) == (1_000 - ended.count(None) - 1,) * 2


def test_an_answer_that_one_worker_kept_is_found_by_all(house: House) -> None:
    with ThreadPoolExecutor(8) as pool:
        asked = [*pool.map(lambda _: house.ask(**{"Idempotency-Key": "once"}), range(16))]
    asked += [house.ask(**{"Idempotency-Key": "once"}) for _ in range(16)]
    assert {answer.status_code for answer in asked} <= {200, 409}
    answers = [answer for answer in asked if answer.status_code == 200]
    assert sum("idempotent-replayed" not in answer.headers for answer in answers) == 1
    assert len({answer.content for answer in answers}) == 1
    assert len(answers) >= 17, "only those that came while the first one ran were told to wait"
    assert asyncio.run(books(house.settings)) == (999, 999, 0)


def test_a_workspaces_cap_holds_for_all_workers_together_and_outlives_a_killed_one(
    house: House, upstream: Upstream
) -> None:
    upstream.script = [answers_slowly(0.5)]
    capped = asyncio.run(make_key(house.settings, 100, concurrent_runs=3))

    def ask(_: int) -> int:
        try:
            headers = {"Authorization": f"Bearer {capped}"}
            return httpx.post(house.url, json=ASK, headers=headers, timeout=30, verify=False).status_code
        except httpx.TransportError:
            return 0

    with ThreadPoolExecutor(12) as pool:
        assert sorted(pool.map(ask, range(12))) == [200] * 3 + [429] * 9
        asking = [pool.submit(ask, n) for n in range(3)]
        upstream.wait_until_busy(3)
        for worker in house.workers():
            worker.send_signal(signal.SIGKILL)
        assert [each.result() for each in asking] == [0] * 3
        until(lambda: ask(0) == 200)
        assert sorted(pool.map(ask, range(12))) == [200] * 3 + [429] * 9


def test_a_parent_that_is_killed_leaves_nothing_behind(house: House) -> None:
    family = psutil.Process(house.parent.pid).children(recursive=True)
    assert len(family) >= 2
    house.parent.send_signal(signal.SIGKILL)
    house.parent.wait(10)
    until(lambda: not any(each.is_running() and each.status() != "zombie" for each in family), seconds=5)


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 0), (signal.SIGHUP, 0)]
)
def test_told_to_stop_every_worker_finishes_what_it_has_begun(
    house: House, upstream: Upstream, number: signal.Signals, status: int
) -> None:
    upstream.script = [answers_slowly(0.3)]
    with ThreadPoolExecutor(8) as pool:
        asking = [pool.submit(house.ask) for _ in range(8)]
        upstream.wait_until_busy(8)
        house.parent.send_signal(number)
        assert [each.result().status_code for each in asking] == [200] * 8
    assert house.parent.wait(20) == status
    assert asyncio.run(books(house.settings)) == (992, 992, 0)


def test_a_worker_that_is_hung_up_finishes_what_it_has_begun_and_is_started_again(
    house: House, upstream: Upstream
) -> None:
    upstream.script = [answers_slowly(0.3)]
    with ThreadPoolExecutor(8) as pool:
        asking = [pool.submit(house.ask) for _ in range(8)]
        upstream.wait_until_busy(8)
        before = {worker.pid for worker in house.workers()}
        for worker in house.workers():
            worker.send_signal(signal.SIGHUP)
        assert [each.result().status_code for each in asking] == [200] * 8
    until(lambda: len({worker.pid for worker in house.workers()} - before) == 2)
    until(lambda: house.ask().status_code == 200)


def test_a_revoked_key_stops_within_a_second_on_every_worker(house: House) -> None:
    assert {house.ask().status_code for _ in range(10)} == {200}

    async def revoke() -> None:
        async with Database.open(house.settings) as database, Keyring(database) as keyring:
            rows = await database.fetch_all("SELECT workspace_id FROM api_keys WHERE name = 'tests'")
            await keyring.revoke(rows[0]["workspace_id"], house.key)

    asyncio.run(revoke())
    time.sleep(1)
    assert {house.ask().status_code for _ in range(20)} == {401}


def test_the_first_key_is_shown_once_however_many_workers_there_are(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mavera", "serve", "--port", "0", "--workers", "3"]
    command += ["--data-dir", str(tmp_path)]
    environ = {**os.environ, "MAVERA_MODEL_BACKEND": "scripted", "MAVERA_LOG_LEVEL": "error"}
    said = []
    for _ in range(2):
        with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None
            greeting = "".join(server.stdout.readline() for _ in range(4))
            server.terminate()
            said.append(greeting + server.stdout.read())
    assert said[0].count("shown this once: mvra_live_") == 1
    assert "shown this once: mvra_live_" not in said[1]
