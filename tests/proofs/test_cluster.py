"""
Two servers on one Postgres and one Redis, behind a balancer and before a router, lose parts under load.

A server is stopped for longer than its lease and goes on, a server is killed, and an engine is cut. Whatever
the clients saw, the ledger adds up and no run is charged twice. All of it runs on one machine, so this shows
nothing about disks, clocks and real networks.
"""

import asyncio
import signal
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from mavera.accounts.credits.holds import Credits
from mavera.settings import Settings
from mavera.storage.database import Database
from tests.support.load import PERSONAS, Load
from tests.support.processes import books, make_key, serving
from tests.support.routers import STICKY, running_haproxy, running_smg
from tests.support.servers import new_database
from tests.support.tables import make_tables
from tests.support.upstream_stub import hangs_up, repeats_question, running_upstream

pytestmark = pytest.mark.proof

CREDITS = 1_000_000
LEASE_SECONDS = 6


def test_the_ledger_adds_up_whatever_part_is_lost(tmp_path: Path, postgres_url: str, redis_url: str) -> None:
    with ExitStack() as stack:
        enter = stack.enter_context
        database_url = enter(new_database(postgres_url))
        make_tables(database_url)
        engines = [enter(running_upstream()) for _ in range(2)]
        for engine in engines:
            engine.models = (200, ["stub"])
            engine.script = [repeats_question(0.02)]
        router, _ = enter(running_smg([engine.url for engine in engines], *STICKY))
        settings = Settings(data_dir=tmp_path / "tests", database_url=database_url, key_pepper="p" * 32)
        key = asyncio.run(make_key(settings, CREDITS, concurrent_runs=200))
        environ = {
            "MAVERA_DATABASE_URL": database_url,
            "MAVERA_RATE_LIMIT_URL": redis_url,
            "MAVERA_KEY_PEPPER": "p" * 32,
            "MAVERA_MODEL_BACKEND": "upstream",
            "MAVERA_UPSTREAM_BASE_URL": router,
            "MAVERA_UPSTREAM_MODEL": "stub",
            "MAVERA_LEASE_SECONDS": str(LEASE_SECONDS),
            "MAVERA_STUDY_WORKER": "off",
        }
        first, stopped = enter(serving(environ, tmp_path / "first"))
        second, killed = enter(serving(environ, tmp_path / "second"))
        balancer, _ = enter(
            running_haproxy(
                tmp_path,
                [first, second],
                "option httpchk GET /health/ready",
                "timeout check 500ms",
                "balance roundrobin",
                "option redispatch",
            )
        )
        with Load(f"{balancer}/api/v1/responses", key) as load:
            load.wait_for_answers(100)
            stopped.send_signal(signal.SIGSTOP)
            load.wait_for_answers(50)
            time.sleep(LEASE_SECONDS + 2)  # the other server gives back what this one held
            stopped.send_signal(signal.SIGCONT)
            load.wait_for_answers(50)
            killed.kill()
            load.wait_for_answers(50)
            engines[0].script = [hangs_up]  # an engine is cut behind the router
            load.wait_for_answers(50)
        stopped.terminate()
        stopped.wait(60)
        asyncio.run(_expire(settings))

        balance, added_up, held = asyncio.run(books(settings))
        used = asyncio.run(_read_usage(settings))
        assert load.wrong == []
        assert held == 0, "a hold outlived its lease"
        assert balance == added_up
        assert balance == CREDITS - used["credits"], "a run was charged twice, or without a row"
        assert used["runs"] == used["ids"]
        assert used["completed"] <= load.outcomes["completed"] + 16 * len(PERSONAS)


async def _expire(settings: Settings) -> None:
    """Wait until the leases of the killed server have run out, and give back what it held."""
    await asyncio.sleep(LEASE_SECONDS + 1)
    async with Database.open(settings) as database:
        await database.sync_clock()
        credits = Credits(database, lease_seconds=LEASE_SECONDS)
        await credits.sweep()
        await credits.close()


async def _read_usage(settings: Settings) -> dict[str, Any]:
    async with Database.open(settings) as database:
        row = await database.fetch_one(
            """
            SELECT COALESCE(SUM(credits), 0) AS credits, COUNT(*) AS runs, COUNT(DISTINCT run_id) AS ids,
                   SUM(CASE WHEN status = 'completed' THEN 1 ELSE 0 END) AS completed
              FROM usage
            """
        )
        assert row is not None
        return {name: int(value) for name, value in row.items()}
