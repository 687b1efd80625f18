"""
Kill a worker in the middle of its runs, again and again: do the books still balance?

    python -m bench.crashes [--times 100] [--runs 100] [--json]

Two workers on SQLite answer `--runs` runs at once, from an upstream that takes its time. As many clients
again open a WebSocket, send a turn and leave while it is being admitted. One worker is killed (SIGKILL)
at a random moment. All of that is repeated `--times` times. Then the leases run out: the ledger's sum
has to be the balance, with nothing held, and what was answered has to have been paid. At no time may
a reservation be older than two leases: no run lasts a second here, so such a one has no owner.
"""

import argparse
import asyncio
import os
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import aiohttp
import psutil

from bench.report import show
from bench.wire import first_line, process
from mavera.accounts import workspaces
from mavera.accounts.keys.delegation import KeyTerms
from mavera.accounts.keys.keyring import Keyring
from mavera.accounts.plans import Overrides
from mavera.accounts.workspaces import NewWorkspace
from mavera.settings import Settings
from mavera.storage.database import Database
from mavera.storage.schema import ensure_schema

CREDITS = 1_000_000
LEASE_SECONDS = 6


async def make_key(settings: Settings) -> str:
    now = int(time.time())
    async with Database.open(settings) as database, Keyring(database) as keyring:
        await ensure_schema(database)
        new = NewWorkspace("Crashes", "enterprise", Overrides(monthly_credits=0))
        workspace_id = await workspaces.create(database, new, now=now)
        await workspaces.top_up(database, workspace_id, CREDITS, note=None, now=now)
        return (await keyring.make(workspace_id, KeyTerms("crashes"))).text


async def books(settings: Settings) -> dict[str, int]:
    """Return the balance, the ledger's sum, what is held, and what runs were charged."""
    async with Database.open(settings) as database:
        row = await database.fetch_one(
            """
            SELECT (SELECT SUM(balance) FROM workspaces WHERE unlimited = 0) AS balance,
                   (SELECT SUM(credits) FROM ledger) AS ledger,
                   (SELECT COUNT(*) FROM reservations) AS held,
                   (SELECT SUM(credits) FROM usage) AS charged,
                   (SELECT COUNT(*) FROM usage WHERE credits > 0) AS paid_runs
            """
        )
        assert row is not None
        return {name: int(row[name] or 0) for name in row}


async def count_ownerless(settings: Settings) -> int:
    """Return how many reservations are older than any run or lease can be."""
    async with Database.open(settings) as database:
        row = await database.fetch_one(
            "SELECT COUNT(*) AS number FROM reservations WHERE created_at < :before",
            before=int(time.time()) - 2 * LEASE_SECONDS,
        )
        assert row is not None
        return int(row["number"])


async def leave(session: aiohttp.ClientSession, url: str) -> None:
    """Send a turn over a WebSocket, and leave a few milliseconds later."""
    try:
        async with session.ws_connect(f"{url}/responses") as connection:
            await connection.send_json({"type": "response.create", "model": "mavera-1", "input": "Hm?"})
            await asyncio.sleep(random.uniform(0, 0.02))
    except (aiohttp.ClientError, OSError):
        return  # its worker was killed


async def ask(session: aiohttp.ClientSession, url: str) -> bool:
    """Return whether a whole answer came."""
    body = {"model": "mavera-1", "messages": [{"role": "user", "content": "Hm?"}]}
    try:
        async with session.post(f"{url}/chat/completions", json=body) as answer:
            return answer.status == 200 and "usage" in await answer.json()
    except aiohttp.ClientError:
        return False


async def crash_often(
    url: str, key: str, parent: psutil.Process, settings: Settings, times: int, runs: int
) -> dict[str, int]:
    counted = {"kills": 0, "answered": 0, "cut off": 0, "left": 0, "without an owner": 0}
    headers = {"Authorization": f"Bearer {key}"}
    for _ in range(times):
        # Connections of its own for each round: a worker that has just come takes its part of them.
        connector = aiohttp.TCPConnector(limit=0, force_close=True)
        async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
            asking = [asyncio.create_task(ask(session, url)) for _ in range(runs)]
            leaving = [asyncio.create_task(leave(session, url)) for _ in range(runs)]
            await asyncio.sleep(random.uniform(0.05, 0.6))
            while not (victims := parent.children()):  # noqa: ASYNC110 - both are being started again
                await asyncio.sleep(0.05)
            random.choice(victims).kill()
            counted["kills"] += 1
            answers = await asyncio.gather(*asking)
            await asyncio.gather(*leaving)
        counted["answered"] += sum(answers)
        counted["cut off"] += runs - sum(answers)
        counted["left"] += runs
        counted["without an owner"] = max(counted["without an owner"], await count_ownerless(settings))
    return counted


def until_settled(settings: Settings) -> dict[str, int]:
    deadline = time.monotonic() + 5 * LEASE_SECONDS
    while (found := asyncio.run(books(settings)))["held"] and time.monotonic() < deadline:
        time.sleep(0.5)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--times", type=int, default=100)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as data_dir:
        settings = Settings(data_dir=Path(data_dir))
        key = asyncio.run(make_key(settings))
        with (
            process("bench.upstream", "--tokens", "10", "--every-ms", "30") as upstream,
            process(
                *("mavera", "serve", "--port", "0", "--workers", "2", "--data-dir", data_dir),
                MAVERA_UPSTREAM_BASE_URL=f"http://127.0.0.1:{first_line(upstream)}/v1",
                MAVERA_UPSTREAM_MODEL="none",
                MAVERA_LEASE_SECONDS=str(LEASE_SECONDS),
                MAVERA_LOG_LEVEL="error",
            ) as server,
        ):
            url = first_line(server, "mavera at").split()[2]
            counted = asyncio.run(
                crash_often(url, key, psutil.Process(server.pid), settings, options.times, options.runs)
            )
            found: dict[str, Any] = {**counted, **until_settled(settings)}
    right = found["ledger"] == found["balance"] == CREDITS - found["charged"] and not found["held"]
    right = right and not found["without an owner"]
    paid = found["answered"] <= found["paid_runs"]
    show(
        "a worker killed in the middle of its runs",
        [found],
        as_json=options.json,
        summary={"ok": right and paid},
    )
    sys.exit(0 if right and paid else os.EX_SOFTWARE)


if __name__ == "__main__":
    main()
