"""`mavera serve` with a real embedded model, as a process of its own."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import openai
import psutil

from mavera.personas.builtin import PersonaLibrary
from mavera.settings import load_settings
from tests.support.requirements import require_model

GEN_Z = PersonaLibrary.load().find("Gen Z Consumer").id


@dataclass(frozen=True)
class Running:
    """A `mavera serve` of this test's."""

    process: psutil.Process
    base_url: str
    key: str

    def client(self) -> openai.OpenAI:
        return openai.OpenAI(
            base_url=self.base_url,
            api_key=self.key,
            max_retries=0,
            timeout=240,
            _strict_response_validation=True,
        )

    def engine(self) -> psutil.Process:
        """Return the model's process; there is one, however many workers there are."""
        children = self.process.children(recursive=True)
        [engine] = [child for child in children if "mavera.models.embedded.child" in child.cmdline()]
        return engine


@contextmanager
def serving(data_dir: Path, model: str, *options: str) -> Iterator[Running]:
    """Run `mavera serve` on a free port; at the end neither it nor its model is left."""
    require_model(load_settings(model=model))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    # No personas are read in the background: some tests look whether the engine is at work.
    quiet = {"MAVERA_LOG_LEVEL": "warning", "MAVERA_PREFIX_STATES_MIB": "0"}
    environment = {**quiet, **os.environ, "MAVERA_MODEL": model}
    command = [sys.executable, "-m", "mavera", "serve", "--port", str(port), "--data-dir", str(data_dir)]
    command += options
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as server:
        process = psutil.Process(server.pid)
        try:
            assert server.stdout is not None
            key = next(line.split()[-1] for line in server.stdout if "shown this once" in line)
            running = Running(process, f"http://127.0.0.1:{port}/api/v1", key)
            wait_until(lambda: is_up(running), seconds=60)
            yield running
        finally:
            family = [process, *process.children(recursive=True)] if process.is_running() else []
            server.terminate()
            server.wait(60)
            _, alive = psutil.wait_procs(family, timeout=10)
            assert not alive


def is_up(running: Running) -> bool:
    try:
        return bool(running.client().models.list().data)
    except openai.APIConnectionError:
        return False


def wait_until(condition: Callable[[], bool], *, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)
