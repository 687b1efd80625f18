"""Several real processes on one store: together they give out no more than there is, and one may die."""

import asyncio
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx2 as httpx
import pytest

from mavera.settings import Settings
from tests.support import servers
from tests.support.processes import ASK, ask_at_once, books, make_key, serving
from tests.support.tables import make_tables

pytestmark = pytest.mark.proof


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
