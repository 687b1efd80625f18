"""
Clients that leave while they are being admitted: every reservation keeps a living owner.

The lease is an hour here, so nothing that is lost comes back by itself while a test looks.
"""

import asyncio
import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import Any

import aiohttp
import pytest

from mavera.storage.database import Database
from tests.attack.conftest import Attack
from tests.attack.serving import AttackedServer
from tests.support import servers
from tests.support.upstream_stub import Upstream, answers_slowly

LEASE_SECONDS = 3_600
CLIENTS, AT_ONCE = 160, 40
STORES = ["sqlite", "postgres, two workers"]


@pytest.fixture(scope="module")
def postgres_url() -> Iterator[str]:
    with servers.postgres() as url:
        yield url


@pytest.fixture(params=STORES)
def server(request: pytest.FixtureRequest, attack: Attack, upstream: Upstream) -> Iterator[AttackedServer]:
    settings: dict[str, object] = {"lease_seconds": LEASE_SECONDS, "upstream_base_url": upstream.url}
    upstream.script = [answers_slowly(0.05)]
    options = ("--workers", "2") if "workers" in request.param else ()
    with ExitStack() as stack:
        if "postgres" in request.param:
            url = request.getfixturevalue("postgres_url")
            settings["database_url"] = stack.enter_context(servers.new_database(url))
        yield attack(*options, model_backend="upstream", upstream_model="stub", metrics="all", **settings)


def held(server: AttackedServer) -> int:
    """Return how many reservations there are, after checking that the ledger adds up."""

    async def read() -> int:
        async with Database.open(server.settings) as database:
            row = await database.fetch_one(
                """
                SELECT (SELECT SUM(balance) FROM workspaces) AS balance,
                       (SELECT SUM(credits) FROM ledger) AS ledger,
                       (SELECT COUNT(*) FROM reservations) AS held
                """
            )
            assert row is not None
            assert int(row["balance"]) == int(row["ledger"])
            return int(row["held"])

    return asyncio.run(read())


def gauges(server: AttackedServer) -> dict[str, float]:
    with server.client() as client:
        lines = [line.split() for line in client.get("/metrics").text.splitlines() if line[:1] != "#"]
    return {line[0]: float(line[1]) for line in lines if "{" not in line[0]}


def assert_nothing_is_lost(server: AttackedServer) -> None:
    server.wait_for(lambda: held(server) == 0)
    found = gauges(server)
    assert found["mavera_reservations_without_owner"] == 0
    assert found["mavera_reservation_oldest_seconds"] == 0
    assert found["mavera_runs_in_progress"] == 0
    with server.client() as client:  # no place in the queue is lost, nor one of the runs at once
        assert client.post("/api/v1/responses", json={"model": "mavera-1", "input": "Hm?"}).status_code == 200
    assert "Traceback" not in server.log()


async def leave(session: aiohttp.ClientSession, server: AttackedServer, kind: str) -> None:
    """Send a turn and leave it a moment later, in the rough or the polite way."""
    url, body = server.responses_url, {"model": "mavera-1", "input": "Hm?"}
    patience = random.choice((0, 0.0005, 0.002, 0.005, 0.02))
    with suppress(aiohttp.ClientError, TimeoutError, OSError):
        if kind == "http":
            async with asyncio.timeout(patience or 0.0001):
                async with session.post(url, json={**body, "stream": random.random() < 0.5}) as answer:
                    await answer.read()
            return
        async with session.ws_connect(url, autoclose=False) as connection:
            await connection.send_json({"type": "response.create", **body})
            await asyncio.sleep(patience)
            if kind == "polite":
                await connection.close()
            else:
                raw: Any = connection
                raw._response.connection.transport.abort()


async def leave_often(server: AttackedServer) -> None:
    random.seed(11)
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    async with aiohttp.ClientSession(connector=connector, headers=server.headers) as session:
        for kind in ("abort", "polite", "http") * (CLIENTS // AT_ONCE):
            await asyncio.gather(*(leave(session, server, kind) for _ in range(AT_ONCE)))


def test_a_client_that_leaves_during_admission_loses_no_credits(server: AttackedServer) -> None:
    asyncio.run(leave_often(server))
    assert_nothing_is_lost(server)


async def ask_once(session: aiohttp.ClientSession, server: AttackedServer) -> None:
    with suppress(aiohttp.ClientError):
        async with session.post(server.responses_url, json={"model": "mavera-1", "input": "Hm?"}) as answer:
            await answer.read()


def test_a_server_that_stops_during_admission_loses_no_credits(attack: Attack, upstream: Upstream) -> None:
    upstream.script = [answers_slowly(0.05)]
    server = attack(
        model_backend="upstream",
        upstream_model="stub",
        upstream_base_url=upstream.url,
        lease_seconds=LEASE_SECONDS,
        shutdown_grace_seconds=0.2,
    )

    async def ask() -> None:
        connector = aiohttp.TCPConnector(limit=0, force_close=True)
        async with aiohttp.ClientSession(connector=connector, headers=server.headers) as session:
            asking = [asyncio.ensure_future(ask_once(session, server)) for _ in range(200)]
            await asyncio.sleep(0.1)
            os.kill(server.process.pid, signal.SIGTERM)
            await asyncio.gather(*asking)

    asyncio.run(ask())
    deadline = time.monotonic() + 20
    while server.process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert held(server) == 0
