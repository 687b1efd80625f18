"""
Servers on a Postgres that is read-only, full, ahead of their clock or jumps, and on a Redis that forgets.

Whatever happens, callers get a 503 with a reason or an answer, and the books balance. Once the fault is gone,
the next request is answered without a restart.
"""

import asyncio
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import httpx2 as httpx
import pytest

from mavera.settings import Settings
from tests.support.own_postgres import Server, running_server, wait_until
from tests.support.processes import ASK, books, make_key, serving
from tests.support.servers import free_port, new_database, on_postgres, running_redis
from tests.support.tables import make_tables
from tests.support.upstream_stub import answers_slowly, running_upstream

pytestmark = pytest.mark.proof

LEASE_SECONDS = 6
# Longer than a lease, so a clock that is off would give back the holds of runs that live.
ANSWER_SECONDS = 9.0
FULL = "No space left on device"


# The URL of a database, what fills its disk, and what makes room again.
Disk = tuple[str, Callable[[], None], Callable[[], None]]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running_server() as server:
        yield server


@pytest.fixture
def url(server: Server) -> Iterator[str]:
    with new_database(server.url) as url:
        make_tables(url)
        yield url


def ask(url: str, key: str) -> httpx.Response:
    return httpx.post(url, json=ASK, headers={"Authorization": f"Bearer {key}"}, timeout=60)


def read_body(url: str, path: str) -> str:
    return httpx.get(url.replace("/api/v1/responses", path), timeout=30).text


def read_skew(address: str) -> float:
    """Return by how many seconds the database's clock is ahead, as the server's metrics say."""
    [line] = [
        line
        for line in read_body(address, "/metrics").splitlines()
        if line.startswith("mavera_clock_skew_seconds ")
    ]
    return float(line.split()[1])


def execute(url: str, *statements: str) -> None:
    asyncio.run(on_postgres(url, *statements))


def assert_books(settings: Settings, *, held: int = 0) -> int:
    """Return the balance."""
    wait_until(lambda: asyncio.run(books(settings))[2] == held, seconds=30)
    balance, added_up, _ = asyncio.run(books(settings))
    assert balance == added_up
    return balance


def assert_unavailable(answer: httpx.Response) -> str:
    assert answer.status_code == 503, answer.text
    assert int(answer.headers["retry-after"]) >= 1
    error = answer.json()["error"]
    assert error["code"] == "service_unavailable"
    return str(error["message"])


def set_read_only(server: Server, url: str, state: str) -> None:
    """Let every new transaction of the database be read-only, those of open connections too."""
    execute(
        server.url, f"ALTER SYSTEM SET default_transaction_read_only = {state}", "SELECT pg_reload_conf()"
    )
    wait_until(lambda: server.query("SHOW default_transaction_read_only") == state)


def test_a_read_only_postgres_refuses_runs_until_it_takes_writes(
    server: Server, url: str, tmp_path: Path
) -> None:
    settings = Settings(data_dir=tmp_path, database_url=url)
    key = asyncio.run(make_key(settings, 100))
    with serving({"MAVERA_DATABASE_URL": url}, tmp_path) as (address, _):
        assert ask(address, key).status_code == 200
        set_read_only(server, url, "on")
        try:
            for _ in range(3):
                assert_unavailable(ask(address, key))
            assert json.loads(read_body(address, "/health/ready"))["status"] == "ready"
            for command in (["serve", "--port", str(free_port())], ["worker"]):
                assert "read-only" in run_to_its_end(command, url, tmp_path / "other"), command
        finally:
            set_read_only(server, url, "off")
        wait_until(lambda: ask(address, key).status_code == 200)
    assert_books(settings)


def run_to_its_end(command: list[str], url: str, data_dir: Path) -> str:
    """Run a command that is to fail with one line, and return the line."""
    environ = {
        "MAVERA_DATABASE_URL": url,
        "MAVERA_DATA_DIR": str(data_dir),
        "MAVERA_MODEL_BACKEND": "scripted",
    }
    done = subprocess.run(
        [sys.executable, "-m", "mavera", *command],
        env={"PATH": "/usr/bin:/bin", "MAVERA_MODEL_BACKEND": "scripted", **environ},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


@contextmanager
def fill_a_small_disk(server: Server) -> Iterator[Disk]:
    """Yield a database on a disk of 48 MB, what fills it, and what makes room again."""
    folder = Path(tempfile.mkdtemp(prefix="mavera-small-"))
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", str(folder)], check=False)
    if mounted.returncode != 0:
        folder.rmdir()
        pytest.skip("this machine lets nobody mount a small disk")
    try:
        if server.user is not None:
            shutil.chown(folder, server.user)
        execute(server.url, f"CREATE TABLESPACE small LOCATION '{folder}'")
        execute(server.url, "CREATE DATABASE small TABLESPACE small")
        url = server.url.rpartition("/")[0] + "/small"
        make_tables(url)
        execute(url, "CREATE TABLE filler (text TEXT)")

        insert = "INSERT INTO filler SELECT repeat('x', 1000) FROM generate_series(1, 500)"
        most = 200  # 100 MB

        def fill() -> None:
            with pytest.raises(Exception, match=FULL):
                execute(url, *[insert] * most)

        yield url, fill, lambda: execute(url, "DROP TABLE filler")
        execute(server.url, "DROP DATABASE small WITH (FORCE)", "DROP TABLESPACE small")
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
        folder.rmdir()


@contextmanager
def say_full(server: Server) -> Iterator[Disk]:
    """Yield a database, what makes its writes fail as on a full disk, and what ends that."""
    with new_database(server.url) as url:
        make_tables(url)
        execute(
            url,
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            "RAISE EXCEPTION 'could not extend file' USING ERRCODE = '53100'; END $$",
        )
        make = "CREATE TRIGGER full_{0} BEFORE INSERT ON {0} EXECUTE FUNCTION refuse()"
        end = "DROP TRIGGER full_{0} ON {0}"
        tables = ("usage", "reservations", "ledger")
        yield (
            url,
            lambda: execute(url, *(make.format(table) for table in tables)),
            lambda: execute(url, *(end.format(table) for table in tables)),
        )


@pytest.mark.parametrize("make_full", [fill_a_small_disk, say_full])
def test_a_full_postgres_refuses_runs_until_there_is_room(
    make_full: Callable[[Server], AbstractContextManager[Disk]],
    server: Server,
    tmp_path: Path,
) -> None:
    with make_full(server) as (url, fill, make_room):
        settings = Settings(data_dir=tmp_path, database_url=url)
        key = asyncio.run(make_key(settings, 1_000))
        with serving({"MAVERA_DATABASE_URL": url}, tmp_path) as (address, _):
            assert ask(address, key).status_code == 200
            fill()
            # A page that has room takes a few more rows.
            wait_until(lambda: ask(address, key).status_code == 503, seconds=30)
            assert "disk is full" in assert_unavailable(ask(address, key))
            make_room()
            wait_until(lambda: ask(address, key).status_code == 200)
            assert_books(settings)


def set_clock(url: str, ahead_seconds: int) -> None:
    """Let the database's clock be ahead, for all statements from now on."""
    execute(url, f"UPDATE test_clock SET ahead = interval '{ahead_seconds} seconds'")


def replace_clock(url: str, ahead_seconds: int) -> None:
    """Put a clock before that of Postgres, and let it be ahead."""
    name = url.partition("?")[0].rpartition("/")[2]
    execute(
        url,
        f"CREATE TABLE test_clock AS SELECT interval '{ahead_seconds} seconds' AS ahead",
        "CREATE FUNCTION clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS "
        "'SELECT pg_catalog.clock_timestamp() + ahead FROM test_clock'",
        f"ALTER DATABASE {name} SET search_path = public, pg_catalog",
    )


def test_a_postgres_that_is_ahead_and_jumps_takes_no_hold_from_a_run_that_lives(
    url: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    replace_clock(url, 90)
    settings = Settings(data_dir=tmp_path, database_url=url, key_pepper="p" * 32)
    key = asyncio.run(make_key(settings, 100))
    with running_upstream() as upstream, ThreadPoolExecutor(6) as pool:
        upstream.script = [answers_slowly(ANSWER_SECONDS / 3)]
        environ = {
            "MAVERA_DATABASE_URL": url,
            "MAVERA_KEY_PEPPER": "p" * 32,
            "MAVERA_MODEL_BACKEND": "upstream",
            "MAVERA_UPSTREAM_BASE_URL": upstream.url,
            "MAVERA_UPSTREAM_MODEL": "stub",
            "MAVERA_LEASE_SECONDS": str(LEASE_SECONDS),
            "MAVERA_LOG_LEVEL": "warning",
        }
        with serving(environ, tmp_path / "one") as (one, _), serving(environ, tmp_path / "two") as (two, _):
            running = [pool.submit(ask, address, key) for address in (one, two) * 3]
            assert [each.result().status_code for each in running] == [200] * 6
            assert assert_books(settings) == 94, "a run that lived was not charged, or twice"
            for address in (one, two):
                # A server reads the clock with its leases, and says 0 until the first time.
                wait_until(lambda address=address: read_skew(address) != 0, seconds=30)
                assert 85 < read_skew(address) < 95

            # An hour on, all leases have run out at once. An hour back, those of now seem to be long.
            for ahead in (90 + 3_600, 0):
                running = [pool.submit(ask, address, key) for address in (one, two)]
                time.sleep(2)
                set_clock(url, ahead)
                assert [each.result().status_code for each in running] == [200] * 2
                assert_books(settings)
            assert ask(one, key).status_code == 200
    assert assert_books(settings) >= 94 - 5
    assert capfd.readouterr().err.count("clock_skewed") >= 2


def test_a_redis_that_forgets_is_named_at_the_start(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    make_tables(f"sqlite:///{tmp_path}/mavera.db")
    key = asyncio.run(make_key(Settings(data_dir=tmp_path), 100))
    with (
        running_redis(free_port(), "--maxmemory-policy", "allkeys-lru") as store,
        serving({"MAVERA_RATE_LIMIT_URL": store}, tmp_path) as (address, _),
    ):
        assert ask(address, key).status_code == 200, "a warning, and no refusal"
    assert "rate_limit_store_evicts" in capfd.readouterr().err
