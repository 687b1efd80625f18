"""
A real server on a real port for every test that comes in by the front door.

`serve` starts one; its model is scripted unless the test says otherwise, because only
the model may be: the rest is what users run.
"""

import asyncio
import shutil
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
import pytest
import structlog
from hypothesis import settings as hypothesis_settings

from mavera.accounts.first_run import make_first_key
from mavera.accounts.keys.keyring import Keyring
from mavera.accounts.keys.repository import find_first_workspace_id
from mavera.app import create_app
from mavera.fetch.image_reader import is_installed
from mavera.models.model import Model
from mavera.models.scripted import ScriptedModel
from mavera.server.config import build_server
from mavera.settings import Settings, load_settings
from mavera.storage.database import Database
from mavera.storage.schema import ensure_schema
from tests.support.requirements import skip_or_fail
from tests.support.tables import make_tables

pytest_plugins = [
    "tests.support.command",
    "tests.support.outsiders",
    "tests.support.stores",
    "tests.support.upstream_stage",
]

# A shell starts its background jobs so that they ignore Ctrl-C, and all their children with them.
signal.signal(signal.SIGINT, signal.default_int_handler)

# A loaded machine is no reason to fail.
hypothesis_settings.register_profile("mavera", deadline=None)
hypothesis_settings.load_profile("mavera")

# structlog's own default draws a traceback with every local in it, seconds for each logged error,
# and writes to what pytest has put in place of sys.stdout, which ends with a test; a server may not.
structlog.configure(
    logger_factory=structlog.WriteLoggerFactory(file=sys.__stderr__),
    processors=[
        structlog.processors.add_log_level,
        structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
    ],
)


_LOGS = structlog.get_config()


@pytest.fixture(autouse=True)
def own_logs() -> None:
    """Set up the logs again, because commands that ran in this process set them up for themselves."""
    structlog.configure(**_LOGS)


@dataclass(frozen=True)
class Served:
    """A running server and what a client needs to use it."""

    url: str
    key: str
    test_key: str
    model: Any
    settings: Settings
    stop: Callable[[], None]
    """Tell the server to end, and do not wait."""

    @property
    def base_url(self) -> str:
        return f"{self.url}/api/v1"

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}

    def client(self, **options: Any) -> openai.OpenAI:
        options = {"max_retries": 0, "_strict_response_validation": True, **options}
        return openai.OpenAI(base_url=self.base_url, api_key=self.key, **options)

    def async_client(self, **options: Any) -> openai.AsyncOpenAI:
        options = {"max_retries": 0, "_strict_response_validation": True, **options}
        return openai.AsyncOpenAI(base_url=self.base_url, api_key=self.key, **options)


Serve = Callable[..., Served]


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the tables once: the servers of each test begin with a copy, not with a second of Alembic."""
    path = tmp_path_factory.mktemp("store") / "mavera.db"
    make_tables(f"sqlite:///{path}")
    return path


@pytest.fixture
def serve(tmp_path: Path, empty_store: Path) -> Iterator[Serve]:
    """Start servers: `serve(model=…, **settings)`; all are stopped when the test ends."""
    (tmp_path / "data").mkdir(mode=0o700)
    shutil.copy(empty_store, tmp_path / "data")
    with ExitStack() as stack:
        yield lambda model=None, **settings: stack.enter_context(_Running(tmp_path / "data", model, settings))


@pytest.fixture(scope="session")
def needs_ocr() -> None:
    """Skip or fail a test that reads images, if the packages for it are missing."""
    if not is_installed():
        skip_or_fail("the extra 'ocr' is not installed")


def running_server(data_dir: Path, model: Model | None = None, **settings: Any) -> "_Running":
    """Return a server to enter with `with`, for fixtures that share one among the tests of a file."""
    return _Running(data_dir, model, settings)


class _Running:
    def __init__(self, data_dir: Path, model: Model | None, overrides: dict[str, Any]) -> None:
        self._given = {
            "model_backend": "scripted",
            "log_level": "warning",
            "metrics": "all",
            **overrides,
        }
        self._settings = load_settings({}, data_dir=data_dir, **self._given)
        self._model = model if model is not None or "model_backend" in overrides else ScriptedModel()

    def __enter__(self) -> Served:
        key, test_key = asyncio.run(_make_keys(self._settings))
        self._listener = socket.create_server(("127.0.0.1", 0))
        app = create_app(self._settings, live_model=self._model)
        self._server = build_server(app, self._settings)
        self._server.config.timeout_graceful_shutdown = self._given.get("shutdown_grace_seconds", 5)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._listener]})
        self._thread.start()
        while not self._server.started and self._thread.is_alive():
            self._thread.join(0.01)
        if not self._server.started:
            raise RuntimeError("the server did not start; its log says why")
        url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        return Served(url, key, test_key, self._model, self._settings, self._stop)

    def _stop(self) -> None:
        self._server.should_exit = True

    def __exit__(self, *_: object) -> None:
        self._stop()
        self._thread.join(30)
        self._listener.close()
        if self._thread.is_alive():
            raise RuntimeError("the server did not stop")


async def _make_keys(settings: Settings) -> tuple[str, str]:
    database = Database.open(settings)
    try:
        await ensure_schema(database)
        await make_first_key(database)
        workspace_id = await find_first_workspace_id(database)
        if workspace_id is None:
            raise RuntimeError("the first start made no workspace")
        async with Keyring(database) as keyring:
            live = await keyring.create(workspace_id, "tests", "live")
            test = await keyring.create(workspace_id, "tests", "test")
        return live.text, test.text
    finally:
        await database.close()


def revoke(served: Served) -> None:
    """Revoke the live key of `served`, as another process does."""

    async def run() -> None:
        async with Database.open(served.settings) as database, Keyring(database) as keyring:
            workspace_id = await find_first_workspace_id(database)
            assert workspace_id is not None
            await keyring.revoke(workspace_id, served.key)

    asyncio.run(run())
