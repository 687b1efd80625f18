"""The store goes away under a running server: 503 until it is back, then answers again; the books hold."""

import asyncio
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

import httpx2 as httpx
import pytest

from mavera.settings import Settings
from tests.support import servers
from tests.support.processes import ASK, books, make_key, serving
from tests.support.tables import make_tables

pytestmark = pytest.mark.proof


def ask(url: str, key: str) -> httpx.Response:
    headers = {"Authorization": f"Bearer {key}"}
    return httpx.post(url, json=ASK, headers=headers, timeout=30, verify=False)


def assert_unavailable(answer: httpx.Response) -> None:
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "service_unavailable"
    assert int(answer.headers["retry-after"]) >= 1


def until_answered(url: str, key: str) -> None:
    deadline = time.monotonic() + 20
    while ask(url, key).status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_a_postgres_that_goes_away_and_comes_back(tmp_path: Path) -> None:
    with servers.postgres() as server_url, servers.new_database(server_url) as url:
        settings = Settings(data_dir=tmp_path, database_url=url)
        make_tables(url)
        key = asyncio.run(make_key(settings, 100))
        name = url.partition("?")[0].rpartition("/")[2]
        away = f"UPDATE pg_database SET datallowconn = false WHERE datname = '{name}'"
        kill = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
        with serving({"MAVERA_DATABASE_URL": url}, tmp_path) as (address, _):
            assert ask(address, key).status_code == 200
            asyncio.run(servers.on_postgres(server_url, away, kill))
            time.sleep(1)  # what is known of a key is known for a second
            for _ in range(3):
                assert_unavailable(ask(address, key))
            ready = httpx.get(address.replace("/api/v1/responses", "/health/ready"))
            assert (ready.status_code, ready.json()["database"]) == (200, "unavailable")
            asyncio.run(servers.on_postgres(server_url, away.replace("= false", "= true")))
            until_answered(address, key)
        balance, added_up, held = asyncio.run(books(settings))
        assert (balance, held) == (added_up, 0)
        assert balance <= 98


def test_an_sqlite_file_that_goes_away_and_comes_back(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    make_tables(f"sqlite:///{tmp_path}/mavera.db")
    key = asyncio.run(make_key(settings, 100))
    away = tmp_path / "away"
    away.mkdir()
    with serving({}, tmp_path) as (address, _):
        assert ask(address, key).status_code == 200
        for file in tmp_path.glob("mavera.db*"):
            shutil.copy(file, away)  # another file with the same bytes, as a backup put back
            file.unlink()
        for _ in range(3):
            assert_unavailable(ask(address, key))
        time.sleep(1)  # what is known of a key is known for a second
        assert_unavailable(ask(address, key))
        assert not list(tmp_path.glob("mavera.db*"))
        for file in away.iterdir():
            shutil.move(file, tmp_path)
        until_answered(address, key)
    balance, added_up, held = asyncio.run(books(settings))
    assert (balance, held) == (added_up, 0)
    assert balance == 98


@pytest.mark.skipif(sys.platform != "linux", reason="limits the files of another process")
def test_a_full_disk_refuses_until_there_is_room(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    make_tables(f"sqlite:///{tmp_path}/mavera.db")
    key = asyncio.run(make_key(settings, 1_000))
    with serving({}, tmp_path) as (address, server):
        assert ask(address, key).status_code == 200
        before = asyncio.run(books(settings))
        room(server, 4_096)
        statuses = {ask(address, key).status_code for _ in range(5)}
        room(server, resource.RLIM_INFINITY)
        assert statuses == {503}
        until_answered(address, key)
    balance, added_up, held = asyncio.run(books(settings))
    assert (balance, held) == (added_up, 0)
    assert balance == before[0] - 1


def room(server: "subprocess.Popen[bytes]", most_bytes: int) -> None:
    """Let no file of `server` grow beyond `most_bytes`; Python ignores the signal, and writes fail."""
    hard = resource.prlimit(server.pid, resource.RLIMIT_FSIZE)[1]
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (most_bytes, hard))
