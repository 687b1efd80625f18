"""Servers in processes of their own, on one store."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2 as httpx

from mavera.accounts import workspaces
from mavera.accounts.keys.delegation import KeyTerms
from mavera.accounts.keys.keyring import Keyring
from mavera.accounts.plans import Overrides
from mavera.accounts.workspaces import NewWorkspace
from mavera.settings import Settings
from mavera.storage.database import Database
from tests.support import servers

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
        deadline = time.monotonic() + 90  # a busy machine takes long to start two servers
        while not _alive(url):
            assert process.poll() is None, "the server has stopped"
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield f"{url}/api/v1/responses", process
    finally:
        process.send_signal(signal.SIGCONT)  # a test that failed may have left it stopped
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            raise


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
