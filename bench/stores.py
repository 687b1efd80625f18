"""A Postgres and a Redis for benches, which read their processor time or keep them off the gateway's core."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import asyncpg
import psutil
import redis
from tests.support import servers

from bench.processor import list_families


@dataclass(frozen=True)
class Store:
    """A running store, and its main process."""

    url: str
    pid: int


@contextmanager
def running_postgres(core: int | None = None) -> Iterator[Store]:
    """Run a Postgres, on `core` alone unless that is None. Raises SystemExit if it is on another machine."""
    with servers.postgres() as url:
        yield _make_store("postgres", url, asyncio.run(_read_postmaster_pid(url)), core)


@contextmanager
def running_redis(core: int | None = None) -> Iterator[Store]:
    """Run a Redis, on `core` alone unless that is None. Raises SystemExit if it is on another machine."""
    with servers.redis() as url:
        with redis.Redis.from_url(url) as client:
            pid = int(client.info("server")["process_id"])
        yield _make_store("redis-server", url, pid, core)


def _make_store(program: str, url: str, pid: int, core: int | None) -> Store:
    if not psutil.pid_exists(pid) or program not in psutil.Process(pid).name():
        raise SystemExit(f"{program} has to run on this machine, where its processes can be read.")
    if core is not None:
        for process in list_families([pid]):
            with suppress(psutil.NoSuchProcess):  # a worker of Postgres that has just ended
                process.cpu_affinity([core])
    return Store(url, pid)


async def _read_postmaster_pid(url: str) -> int:
    connection = await asyncpg.connect(url)
    try:
        return int(str(await connection.fetchval("SELECT pg_read_file('postmaster.pid')")).split()[0])
    finally:
        await connection.close()
