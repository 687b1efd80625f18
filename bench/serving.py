"""
mavera with its embedded model, in a process of its own, whose engine can also be asked directly.

    python -m bench.serving   →   {"url", "key", "engine_url", "engine_key"} on standard output

Both ways lead to the same engine process with the same flags, so what differs is mavera.
"""

import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import uvicorn
import uvloop

from mavera.accounts.first_run import make_first_key
from mavera.accounts.keys.keyring import Keyring
from mavera.accounts.keys.repository import find_first_workspace_id
from mavera.accounts.keys.text import peppers_of
from mavera.app import create_app
from mavera.logs import configure_logs
from mavera.models.embedded.model import EmbeddedModel
from mavera.models.embedded.prefixes import PrefixStates
from mavera.models.embedded.supervisor import EmbeddedEngine
from mavera.settings import Settings, load_settings
from mavera.storage.database import Database
from mavera.storage.schema import ensure_schema


@dataclass(frozen=True)
class Addresses:
    """Where to ask through mavera, and where to ask its engine directly."""

    url: str
    key: str
    engine_url: str
    engine_key: str
    pid: int


@contextmanager
def serving(**environment: str) -> Iterator[Addresses]:
    """Run this module in a process of its own; it ends with the block."""
    with tempfile.TemporaryDirectory() as data_dir:
        given = {**os.environ, "MAVERA_DATA_DIR": data_dir, "MAVERA_LOG_LEVEL": "warning", **environment}
        command = [sys.executable, "-m", "bench.serving"]
        with subprocess.Popen(command, env=given, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                yield Addresses(**json.loads(process.stdout.readline()), pid=process.pid)
            finally:
                process.terminate()


async def _first_key(settings: Settings) -> str:
    async with Database.open(settings) as database:
        await ensure_schema(database)
        key = await make_first_key(database)
        if key is not None:
            return key
        workspace_id = await find_first_workspace_id(database)
        assert workspace_id is not None
        async with Keyring(database, peppers=peppers_of(settings)) as keyring:
            return (await keyring.create(workspace_id, "bench", "live")).text


async def _serve(settings: Settings) -> None:
    configure_logs(settings)
    key = await _first_key(settings)
    engine = EmbeddedEngine(settings)
    listener = socket.create_server(("127.0.0.1", 0))
    states = PrefixStates(engine, settings.states_dir, settings.prefix_states_mib << 20)
    app = create_app(settings, live_model=EmbeddedModel(engine, states))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False))
    serving_task = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started:  # noqa: ASYNC110 - uvicorn has no event to wait for
        await asyncio.sleep(0.05)
    address = await engine.endpoint()
    said = {
        "url": f"http://127.0.0.1:{listener.getsockname()[1]}/api/v1",
        "key": key,
        "engine_url": f"{address.base_url}/v1",
        "engine_key": address.api_key,
    }
    print(json.dumps(said), flush=True)
    await serving_task


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(load_settings()))
