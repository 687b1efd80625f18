"""
A real `mavera serve` in processes of its own, for tests that attack it.

    with attacked_server(data_dir, settings) as server:
        server.keys.live, .test, .admin     keys of one workspace with a billion credits
        server.make_keys(credits=10)        keys of another workspace
        server.connect()                    a raw connection (tests/attack/wire.py)
        server.resources().rss_bytes        of the server and its children together
        server.wait_for(lambda: server.resources().open_files <= 40)
        server.log()                        what it has written to standard error

Everything has a bound: starting, stopping and waiting raise after a fixed time.
"""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2 as httpx
import psutil

from mavera.accounts import workspaces
from mavera.accounts.keys.delegation import KeyTerms
from mavera.accounts.keys.keyring import Keyring
from mavera.accounts.plans import ADMIN_SCOPES, Overrides
from mavera.accounts.workspaces import NewWorkspace
from mavera.settings import Settings
from mavera.storage.database import Database
from tests.attack.wire import RawConnection
from tests.support.servers import free_port
from tests.support.tables import make_tables

_START_SECONDS = 60
_STOP_SECONDS = 40
_CREDITS = 1_000_000_000


@dataclass(frozen=True)
class Resources:
    """What the processes of a server use together. `rss_bytes` counts a shared page for each process."""

    rss_bytes: int
    open_files: int
    threads: int
    cpu_seconds: float


@dataclass(frozen=True)
class Keys:
    """Keys of one workspace. `live` and `test` have the usual scopes, `admin` has all of them."""

    workspace_id: str
    live: str
    test: str
    admin: str


@dataclass(frozen=True)
class AttackedServer:
    """A running server. `url` has no path: `http://127.0.0.1:PORT`."""

    url: str
    port: int
    keys: Keys
    settings: Settings
    """Only what leads to its store: the data directory and the database's URL."""
    process: "subprocess.Popen[bytes]"
    log_path: Path

    @property
    def responses_url(self) -> str:
        return f"{self.url}/api/v1/responses"

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.keys.live}"}

    def client(self, key: str | None = None, *, timeout_seconds: float = 30) -> httpx.Client:
        """Return a client whose requests carry `key`, the live key by default; "" is none. Close it."""
        key = self.keys.live if key is None else key
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return httpx.Client(base_url=self.url, headers=headers, timeout=timeout_seconds, verify=False)

    def connect(self, timeout_seconds: float = 10) -> RawConnection:
        """Open a raw connection. Close it, or use it in a `with` block."""
        return RawConnection("127.0.0.1", self.port, timeout_seconds)

    def make_keys(self, credits: int = _CREDITS, **limits: int) -> Keys:
        """Make a workspace with `credits` and `limits` (see `Overrides`), and return its keys."""
        return asyncio.run(_make_keys(self.settings, credits, limits))

    def resources(self) -> Resources:
        """Read what the server and its children use now. A child that ends meanwhile is left out."""
        rss_bytes = open_files = threads = 0
        cpu_seconds = 0.0
        parent = psutil.Process(self.process.pid)
        for process in [parent, *parent.children(recursive=True)]:
            try:
                with process.oneshot():
                    rss_bytes += process.memory_info().rss
                    open_files += process.num_fds()
                    threads += process.num_threads()
                    cpu_seconds += sum(process.cpu_times()[:2])
            except psutil.NoSuchProcess:
                if process is parent:
                    raise
        return Resources(rss_bytes, open_files, threads, cpu_seconds)

    def is_alive(self) -> bool:
        """Ask `/health/live`, for at most five seconds."""
        try:
            return httpx.get(f"{self.url}/health/live", timeout=5, verify=False).status_code == 200
        except httpx.TransportError:
            return False

    def log(self) -> str:
        return self.log_path.read_text(encoding="utf-8", errors="replace")

    def wait_for(self, condition: Callable[[], bool], seconds: float = 20) -> None:
        """Return as soon as `condition` holds. Raise AssertionError with the resources after `seconds`."""
        wait_for(condition, seconds, lambda: f"{self.resources()}\n{self.log()[-2000:]}")


def wait_for(
    condition: Callable[[], bool], seconds: float = 20, describe: Callable[[], str] = lambda: ""
) -> None:
    """Return as soon as `condition` holds. Raise AssertionError with `describe()` after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, describe()
        time.sleep(0.05)


@contextmanager
def attacked_server(
    data_dir: Path,
    settings: dict[str, object] | None = None,
    *options: str,
    file_limit: int | None = None,
) -> Iterator[AttackedServer]:
    """
    Run `mavera serve` with the scripted model on a free port of loopback until the block ends.

    `settings` are named as in `mavera.toml` and override the defaults here; `options` are further
    arguments of the command; `file_limit` is the limit of open file descriptors. Raises
    AssertionError if the server does not start or does not stop in time.
    """
    environ = _environ(
        {"model_backend": "scripted", "log_level": "warning", "metrics": "all", **(settings or {})}
    )
    store = Settings(data_dir=data_dir, database_url=environ.get("MAVERA_DATABASE_URL", ""))
    make_tables(store.database_url or f"sqlite:///{data_dir}/mavera.db")
    keys = asyncio.run(_make_keys(store, _CREDITS, {}))
    port = free_port()
    command = [sys.executable, "-m", "mavera", "serve", "--port", str(port), "--data-dir", str(data_dir)]
    if file_limit is not None:
        command = ["sh", "-c", f'ulimit -n {file_limit}; exec "$@"', "sh", *command]
    log_path = data_dir / "server.log"
    with ExitStack() as stack:
        log = stack.enter_context(log_path.open("wb"))
        process = subprocess.Popen([*command, *options], env=environ, stdout=log, stderr=log)
        stack.callback(_stop, process)
        server = AttackedServer(f"http://127.0.0.1:{port}", port, keys, store, process, log_path)
        _wait_until_started(server)
        yield server


async def _make_keys(settings: Settings, credits: int, limits: dict[str, int]) -> Keys:
    now = int(time.time())
    async with Database.open(settings) as database, Keyring(database) as keyring:
        new = NewWorkspace("Attackers", "enterprise", Overrides(monthly_credits=0, **limits))
        workspace_id = await workspaces.create(database, new, now=now)
        await workspaces.top_up(database, workspace_id, credits, note=None, now=now)
        live = await keyring.make(workspace_id, KeyTerms("attack"))
        test = await keyring.make(workspace_id, KeyTerms("attack", "test"))
        admin = await keyring.make(workspace_id, KeyTerms("attack", scopes=ADMIN_SCOPES))
        return Keys(workspace_id, live.text, test.text, admin.text)


def _environ(settings: dict[str, object]) -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("MAVERA_")}
    return own | {f"MAVERA_{name.upper()}": str(value) for name, value in settings.items()}


def _wait_until_started(server: AttackedServer) -> None:
    def has_started() -> bool:
        assert server.process.poll() is None, f"the server has stopped:\n{server.log()}"
        return server.is_alive()

    wait_for(has_started, _START_SECONDS, server.log)


def _stop(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(10)
        raise AssertionError("the server did not stop after SIGTERM") from None
