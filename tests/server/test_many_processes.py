"""Several real processes on one store: together they give out no more than there is, and one may die."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx2 as httpx
import pytest

from mavera.accounts import workspaces
from mavera.accounts.keys.delegation import KeyTerms
from mavera.accounts.keys.keyring import Keyring
from mavera.accounts.plans import Overrides
from mavera.accounts.workspaces import NewWorkspace
from mavera.settings import Settings
from mavera.storage.database import Database
from tests.storage import servers
from tests.support.tables import make_tables

pytestmark = pytest.mark.proof

ASK = {"model": "mavera-1", "input": "Would you pay?"}


@contextmanager
def serving(
    environ: dict[str, str], data_dir: Path, *options: str
) -> Iterator[tuple[str, "subprocess.Popen[bytes]"]]:
    """Run `mavera serve` in a process of its own, and yield where it answers."""
    port = servers.free_port()
    command = [sys.executable, "-m", "mavera", "serve", "--port", str(port), "--data-dir", str(data_dir)]
    command += options
    ours = {"MAVERA_LOG_LEVEL": "error", "MAVERA_MODEL_BACKEND": "scripted", "MAVERA_METRICS": "all"}
    environ = {**os.environ, **ours, **environ}
    process = subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL)
    try:
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 30
        while not _alive(url):
            assert process.poll() is None, "the server has stopped"
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield f"{url}/api/v1/responses", process
    finally:
        process.terminate()
        process.wait(20)


def _alive(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health/live", verify=False).status_code == 200
    except httpx.TransportError:
        return False


async def make_key(settings: Settings, credits: int, **limits: int) -> str:
    now = int(time.time())
    async with Database.open(settings) as database, Keyring(database) as keyring:
        new = NewWorkspace("Team", "enterprise", Overrides(monthly_credits=0, **limits))
        workspace_id = await workspaces.create(database, new, now=now)
        await workspaces.top_up(database, workspace_id, credits, note=None, now=now)
        return (await keyring.make(workspace_id, KeyTerms("tests"))).text


async def books(settings: Settings) -> tuple[int, int, int]:
    """Return the balance, the ledger's sum and how many runs hold credits."""
    async with Database.open(settings) as database:
        row = await database.fetch_one(
            """
            SELECT (SELECT SUM(balance) FROM workspaces) AS balance,
                   (SELECT COALESCE(SUM(credits), 0) FROM ledger) AS added_up,
                   (SELECT COUNT(*) FROM reservations) AS held
            """
        )
        assert row is not None
        return int(row["balance"]), int(row["added_up"]), int(row["held"])


def ask_at_once(urls: list[str], key: str, times: int) -> list[int]:
    headers = {"Authorization": f"Bearer {key}"}

    async def main() -> list[int]:
        limits = httpx.Limits(max_connections=times)
        async with httpx.AsyncClient(headers=headers, limits=limits, timeout=60, verify=False) as client:
            asking = (client.post(urls[n % len(urls)], json=ASK) for n in range(times))
            return [answer.status_code for answer in await asyncio.gather(*asking)]

    return asyncio.run(main())


@pytest.fixture(scope="module")
def postgres_url() -> Iterator[str]:
    with servers.postgres() as url:
        yield url


HOUSES = {
    "sqlite, one process": ("sqlite", 1, "1"),
    "sqlite, two workers": ("sqlite", 1, "2"),
    "postgres and redis, two servers": ("postgres", 2, "1"),
}


@pytest.mark.parametrize(("store", "count", "workers"), HOUSES.values(), ids=HOUSES.keys())
def test_ten_credits_and_ten_requests_a_minute_are_given_out_to_two_hundred_who_ask_at_once(
    store: str, count: int, workers: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    with ExitStack() as stack:
        environ = {}
        if store == "postgres":
            server_url = request.getfixturevalue("postgres_url")
            environ["MAVERA_DATABASE_URL"] = stack.enter_context(servers.new_database(server_url))
            environ["MAVERA_RATE_LIMIT_URL"] = stack.enter_context(servers.redis())
        settings = Settings(data_dir=tmp_path, database_url=environ.get("MAVERA_DATABASE_URL", ""))
        make_tables(settings.database_url or f"sqlite:///{tmp_path}/mavera.db")
        options = ("--workers", workers)
        urls = [stack.enter_context(serving(environ, tmp_path, *options))[0] for _ in range(count)]

        poor = asyncio.run(make_key(settings, 10))
        assert sorted(ask_at_once(urls, poor, 200)) == [200] * 10 + [402] * 190
        assert asyncio.run(books(settings)) == (0, 0, 0)

        hurried = asyncio.run(make_key(settings, 1_000, requests_per_minute=10))
        assert sorted(ask_at_once(urls, hurried, 200)) == [200] * 10 + [429] * 190
        balance, added_up, held = asyncio.run(books(settings))
        assert (added_up, held) == (balance, 0)


def test_what_a_killed_process_held_comes_back(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        environ = {
            "MAVERA_LEASE_SECONDS": "6",
            "MAVERA_MODEL_BACKEND": "upstream",
            "MAVERA_UPSTREAM_BASE_URL": f"http://127.0.0.1:{silent.getsockname()[1]}/v1",
            "MAVERA_UPSTREAM_MODEL": "silent",
        }
        settings = Settings(data_dir=tmp_path)
        make_tables(f"sqlite:///{tmp_path}/mavera.db")
        key = asyncio.run(make_key(settings, 20))
        with serving(environ, tmp_path) as (url, process), ThreadPoolExecutor(10) as pool:
            headers = {"Authorization": f"Bearer {key}"}

            def ask(_: int) -> None:
                with pytest.raises(httpx.TransportError):
                    httpx.post(url, json=ASK, headers=headers, timeout=60, verify=False)

            asking = [pool.submit(ask, n) for n in range(10)]
            until_books(settings, held=10)
            process.send_signal(signal.SIGKILL)
            for each in asking:
                each.result()
        assert asyncio.run(books(settings)) == (10, 10, 10)
        with serving(environ, tmp_path):
            until_books(settings, held=0)
        assert asyncio.run(books(settings)) == (20, 20, 0)


def until_books(settings: Settings, *, held: int) -> None:
    deadline = time.monotonic() + 20
    while asyncio.run(books(settings))[2] != held:
        assert time.monotonic() < deadline, asyncio.run(books(settings))
        time.sleep(0.1)
