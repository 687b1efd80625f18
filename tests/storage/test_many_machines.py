"""Processes on several machines share one database: its clock, a good connection, and rows of each other."""

import asyncio
import functools
import re
import subprocess
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog

from mavera.accounts.plans import month_of
from mavera.errors import ConfigurationError, ServiceUnavailable
from mavera.settings import Settings
from mavera.storage import postgres, schema
from mavera.storage.clock import StoreClock
from mavera.storage.database import Database
from mavera.storage.engine import parse_url
from mavera.storage.moment import moment_of
from mavera.storage.postgres_checks import warn_of_few_connections
from mavera.storage.presence import Presence, list_differences
from mavera.storage.same_everywhere import fingerprint
from mavera.storage.schema import apply_migrations
from tests.support import servers
from tests.support.opening import Open
from tests.support.requirements import require_program

SOURCES = Path(__file__).parents[2] / "src" / "mavera"


def on_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    @functools.wraps(test)
    def run(*given: Any, **named: Any) -> None:
        asyncio.run(test(*given, **named))

    return run


def names_of(entries: list[structlog.typing.EventDict]) -> list[str]:
    return [str(entry["event"]) for entry in entries]


def test_the_clock_of_a_server_that_is_ahead_is_that_of_the_database() -> None:
    now, ticks = 1_000_090.0, 50.0
    clock = StoreClock(wall=lambda: now, monotonic=lambda: ticks)

    async def read() -> float:
        return 1_000_000.0

    with structlog.testing.capture_logs() as entries:
        asyncio.run(clock.sync(read))
        asyncio.run(clock.sync(read))

    assert clock() == 1_000_000.0
    assert clock.skew_seconds == 90.0
    assert names_of(entries) == ["clock_skewed"], "a lasting skew is logged once"


def test_a_clock_that_jumps_changes_no_time_of_the_store() -> None:
    walls = iter([1_000_000.0] * 5 + [9_000_000.0] * 5)
    clock = StoreClock(wall=lambda: next(walls), monotonic=lambda: 7.0)

    async def read() -> float:
        return 1_000_000.0

    asyncio.run(clock.sync(read))
    assert clock() == clock() == 1_000_000.0


@pytest.mark.postgres
@on_loop
async def test_postgres_gives_the_time_of_leases_and_months(opened: Open) -> None:
    async with opened() as database:
        database.clock._wall = lambda: 32_503_680_000.0  # the year 3000
        await database.sync_clock()

        assert abs(database.clock() - time.time()) < 5
        assert month_of(moment_of(database, None).now) == month_of(time.time())
        assert database.clock.skew_seconds > 5


@on_loop
async def test_processes_know_how_many_of_them_live(opened: Open) -> None:
    async with (
        opened() as one,
        opened() as other,
        Presence(one, role="server", connections=10, state={}) as first,
    ):
        async with Presence(other, role="worker", connections=20, state={}) as second:
            await first.look()
            await second.look()
            assert (first.living, second.living) == (2, 2)
        await first.look()
        assert first.living == 1


@on_loop
async def test_a_process_that_was_stopped_for_long_counts_again(opened: Open) -> None:
    async with opened() as database, Presence(database, role="server", connections=10, state={}) as presence:
        await database.execute("DELETE FROM processes")
        await presence.look()
        rows = await database.fetch_all("SELECT id FROM processes")
        assert [row["id"] for row in rows] == [presence.id]


@on_loop
async def test_a_start_names_what_differs_between_machines(opened: Open, tmp_path: Path) -> None:
    here, there = (Settings(data_dir=tmp_path / name, key_pepper="p" * 32) for name in ("here", "there"))
    for settings in (here, there):
        settings.data_dir.mkdir()
    (there.data_dir / "models.toml").write_text("[models.a]\n")
    states = fingerprint(here), fingerprint(there)
    async with opened() as database, Presence(database, role="server", connections=10, state=states[0]):
        with structlog.testing.capture_logs() as entries:
            async with Presence(database, role="server", connections=10, state=states[1]):
                found = await list_differences(database, states[0])

    assert [entry["differs"] for entry in entries if entry["event"] == "machines_differ"] == [["models.toml"]]
    assert list(found.values()) == [("models.toml",)]
    assert "p" * 32 not in repr(states)


def test_pools_that_need_more_connections_than_postgres_has_are_named() -> None:
    with structlog.testing.capture_logs() as entries:
        warn_of_few_connections(needed=90, most=100)
        warn_of_few_connections(needed=110, most=100)

    assert [(entry["event"], entry["needed"]) for entry in entries] == [("too_few_connections", 110)]


@pytest.mark.postgres
@on_loop
async def test_a_demoted_primary_is_left_with_all_connections(database_url: str) -> None:
    async with Database.at(parse_url(database_url)) as database:
        await database.execute("CREATE TABLE things (id BIGINT)")
        before = await _pid(database)
        # New transactions of this connection are read-only, as on a primary that was demoted.
        await database.execute("SET default_transaction_read_only TO on")
        with pytest.raises(ServiceUnavailable):
            await database.execute("INSERT INTO things (id) VALUES (1)")

        assert await database.execute("INSERT INTO things (id) VALUES (2)") == 1
        assert await _pid(database) != before


@pytest.mark.postgres
@on_loop
async def test_a_process_that_stops_in_a_transaction_gives_up_its_locks(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "IDLE_TRANSACTION_SECONDS", 1)
    url = parse_url(database_url)
    async with Database.at(url) as stopped, Database.at(url) as other:
        await other.execute("CREATE TABLE things (id BIGINT)")
        await other.execute("INSERT INTO things (id) VALUES (1)")

        async def stop_in_a_transaction() -> None:
            async with stopped.transaction() as transaction:
                await transaction.execute("UPDATE things SET id = 2")
                assert await asyncio.wait_for(other.execute("UPDATE things SET id = 3"), 30) == 1
                await transaction.execute("UPDATE things SET id = 4")

        with pytest.raises(ServiceUnavailable):
            await stop_in_a_transaction()
        assert [row["id"] for row in await stopped.fetch_all("SELECT id FROM things")] == [3]


async def _pid(database: Database) -> int:
    row = await database.fetch_one("SELECT pg_backend_pid() AS pid")
    assert row is not None
    return int(row["pid"])


@contextmanager
def running_pgbouncer(folder: Path, url: str, mode: str) -> Iterator[str]:
    """Run PgBouncer in front of the database at `url`, and yield its own URL."""
    program = require_program("pgbouncer", "apt install pgbouncer")
    parts = parse_url(url)
    host = str(parts.query.get("host") or parts.host or "127.0.0.1")
    port = servers.free_port()
    line = f"* = host={host} port={parts.port or 5432} user={parts.username or 'postgres'}"
    if parts.password:
        line += f" password={parts.password}"
    # PgBouncer does not run as root. Only the owner of the socket's folder reaches Postgres.
    user = Path(host).owner() if host.startswith("/") else "nobody"
    config = folder / "pgbouncer.ini"
    config.write_text(
        f"[databases]\n{line}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n"
        f"unix_socket_dir =\nauth_type = any\npool_mode = {mode}\n"
        f"ignore_startup_parameters = extra_float_digits,jit\nuser = {user}\n"
    )
    config.chmod(0o644)
    folder.chmod(0o755)
    process = subprocess.Popen([program, "-q", str(config)], stderr=subprocess.DEVNULL)
    try:
        servers.until_open(port)
        yield f"postgresql://{parts.username or 'postgres'}@127.0.0.1:{port}/{parts.database}"
    finally:
        process.terminate()
        process.wait(20)


@pytest.mark.postgres
@pytest.mark.parametrize("mode", ["transaction", "session"])
@on_loop
async def test_a_transaction_pool_is_named_and_a_session_pool_is_not(
    database_url: str, tmp_path: Path, mode: str
) -> None:
    with running_pgbouncer(tmp_path, database_url, mode) as url:
        async with Database.at(parse_url(url)) as database:
            if mode == "session":
                await database.refuse_transaction_pool()
            else:
                with pytest.raises(ConfigurationError, match="pool_mode = session"):
                    await database.refuse_transaction_pool()


@pytest.mark.postgres
@on_loop
async def test_a_direct_connection_is_no_transaction_pool(database_url: str) -> None:
    async with Database.at(parse_url(database_url)) as database:
        await database.refuse_transaction_pool()


@pytest.mark.postgres
@on_loop
async def test_a_migration_that_meets_a_lock_lets_others_pass_and_tries_again(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Database.at(parse_url(database_url)) as one, Database.at(parse_url(database_url)) as other:
        await apply_migrations(one, up_to="0016_audit_log")
        monkeypatch.setattr(schema, "LOCK_SECONDS", 1)
        async with other.transaction() as transaction:
            await transaction.execute("LOCK TABLE reservations IN ACCESS SHARE MODE")
            migrating = asyncio.create_task(apply_migrations(one))
            await asyncio.sleep(1.5)
            assert not migrating.done()
        await asyncio.wait_for(migrating, 30)
        assert await schema.find_version(one) == schema.list_versions()[-1]


def test_no_statement_selects_all_columns() -> None:
    """An old server that reads `*` gets columns that it does not know, and would break during an upgrade."""
    # An export gives whatever there is.
    for path in set(SOURCES.rglob("*.py")) - {SOURCES / "accounts" / "data" / "export.py"}:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"\bSELECT\s+(?:DISTINCT\s+)?(?:\w+\.)?\*", text, re.IGNORECASE), path
