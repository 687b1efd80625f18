"""
Other gateways, each in a folder of its own that nothing of ours depends on, and mavera beside them.

    folder/portkey      npm install @portkey-ai/gateway
    folder/tensorzero   a virtual environment with tensorzero and openai
    folder/litellm      a virtual environment with litellm[proxy], some 700 MB

mavera runs on SQLite, on Postgres, and on Postgres with Redis. Both stores run on the core of the clients.

`install` makes what is missing. A peer that cannot be installed or started raises Unavailable.
"""

import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

from tests.support import servers

from bench.load import Cores, Target, free_port, until_answered
from bench.stores import running_postgres, running_redis
from mavera.personas.builtin import PersonaLibrary

PORTKEY, TENSORZERO, LITELLM = "@portkey-ai/gateway@1.15.2", "tensorzero==2026.6.0", "litellm[proxy]==1.106.2"
# LiteLLM imports for a minute on a quiet machine, and for several beside other work.
START_SECONDS = 420.0


class Unavailable(Exception):
    """This peer is not to be had here; the message says why."""


Peer = Callable[[str, Path, Cores], AbstractContextManager[Target]]


class Mavera(Protocol):
    """A peer that takes more of the environment, which says whose code runs."""

    def __call__(
        self, upstream: str, folder: Path, cores: Cores, further: Mapping[str, str] | None = None
    ) -> AbstractContextManager[Target]: ...


def install(name: str, folder: Path) -> None:
    """Install the peer called `name` under `folder`, unless it is there already."""
    place = folder / name
    if name not in ("portkey", "tensorzero", "litellm") or place.exists():
        return
    try:
        if name == "portkey":
            place.mkdir(parents=True)
            subprocess.run(["npm", "install", "--silent", "--no-audit", PORTKEY], cwd=place, check=True)
            return
        subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
        wanted = [TENSORZERO, "openai"] if name == "tensorzero" else [LITELLM]
        subprocess.run([str(place / "bin" / "pip"), "install", "--quiet", *wanted], check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise Unavailable(f"could not be installed ({type(error).__name__})") from error


@contextmanager
def relay(upstream: str, folder: Path, cores: Cores) -> Iterator[Target]:
    command = [sys.executable, "-m", "bench.relay", "--upstream", upstream]
    with _running(cores, command) as process:
        yield Target(f"http://127.0.0.1:{_first_line(process)}/v1", pids=(process.pid,))


@contextmanager
def mavera(
    upstream: str, folder: Path, cores: Cores, further: Mapping[str, str] | None = None
) -> Iterator[Target]:
    """
    One worker, with a key, a persona, limits and the ledger, on SQLite; its log is at `warning`.

    `further`: more of the environment, such as other stores, or the checkout whose code runs.
    """
    environ = {
        **(further or {}),
        "MAVERA_DATA_DIR": str(folder / f"mavera-{secrets.token_hex(4)}"),
        "MAVERA_UPSTREAM_BASE_URL": upstream,
        "MAVERA_UPSTREAM_MODEL": "m",
        "MAVERA_LOG_LEVEL": "warning",
    }
    with _running(cores, [sys.executable, "-m", "mavera", "serve", "--port", "0"], environ) as process:
        url = _first_line(process, "mavera at").split()[2]
        key = _first_line(process, "Your API key").split()[-1]
        until_answered(f"{url}/models", seconds=START_SECONDS)
        yield Target(
            url,
            model="mavera-1",
            headers={"Authorization": f"Bearer {key}"},
            members={"persona_id": PersonaLibrary.load().find("Gen Z Consumer").id},
            pids=(process.pid,),
        )


@contextmanager
def mavera_on_postgres(
    upstream: str, folder: Path, cores: Cores, further: Mapping[str, str] | None = None
) -> Iterator[Target]:
    """mavera, with its ledger in a Postgres of its own."""
    with running_postgres(cores.rest) as postgres, servers.new_database(postgres.url) as url:
        stores = {"MAVERA_DATABASE_URL": url}
        with mavera(upstream, folder, cores, {**(further or {}), **stores}) as target:
            yield target


@contextmanager
def mavera_on_postgres_and_redis(
    upstream: str, folder: Path, cores: Cores, further: Mapping[str, str] | None = None
) -> Iterator[Target]:
    """mavera, with its ledger in Postgres and its limits in Redis."""
    with running_redis(cores.rest) as redis:
        stores = {"MAVERA_RATE_LIMIT_URL": redis.url}
        with mavera_on_postgres(upstream, folder, cores, {**(further or {}), **stores}) as target:
            yield target


@contextmanager
def portkey(upstream: str, folder: Path, cores: Cores) -> Iterator[Target]:
    port = free_port()
    program = folder / "portkey" / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"
    headers = {
        "Authorization": "Bearer x",
        "x-portkey-provider": "openai",
        "x-portkey-custom-host": upstream,
    }
    with _running(cores, ["node", str(program), "--headless", f"--port={port}"], read=False) as process:
        until_answered(f"http://127.0.0.1:{port}/", seconds=START_SECONDS)
        yield Target(f"http://127.0.0.1:{port}/v1", headers=headers, pids=(process.pid,))


_TENSORZERO_CONFIG = """
[gateway]
observability.enabled = false

[models.m]
routing = ["static"]

[models.m.providers.static]
type = "openai"
model_name = "m"
api_base = "{upstream}/"
api_key_location = "none"
"""
_TENSORZERO_PROGRAM = """
import sys, threading, openai, tensorzero
client = tensorzero.patch_openai_client(
    openai.OpenAI(api_key="x"), config_file=sys.argv[1], clickhouse_url=None, async_setup=False)
print(client.base_url, flush=True)
threading.Event().wait()
"""


@contextmanager
def tensorzero(upstream: str, folder: Path, cores: Cores) -> Iterator[Target]:
    config = folder / "tensorzero.toml"
    config.write_text(_TENSORZERO_CONFIG.format(upstream=upstream))
    program = str(folder / "tensorzero" / "bin" / "python")
    with _running(cores, [program, "-c", _TENSORZERO_PROGRAM, str(config)]) as process:
        url = _first_line(process, "http").rstrip("/")
        yield Target(
            url,
            model="tensorzero::model_name::m",
            headers={"Authorization": "Bearer x"},
            pids=(process.pid,),
        )


@contextmanager
def litellm(upstream: str, folder: Path, cores: Cores) -> Iterator[Target]:
    port, key = free_port(), f"sk-{secrets.token_hex(24)}"
    config = folder / "litellm.yaml"
    config.write_text(
        "model_list:\n  - model_name: m\n    litellm_params:\n"
        f"      {{model: openai/m, api_base: {upstream}, api_key: x}}\n"
        f"general_settings: {{master_key: {key}}}\n"
    )
    command = [str(folder / "litellm" / "bin" / "litellm"), "--config", str(config)]
    command += ["--host", "127.0.0.1", "--port", str(port), "--num_workers", "1"]
    # Without this, it asks a site for prices before it starts.
    environ = {"LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    with _running(cores, command, environ, read=False) as process:
        until_answered(f"http://127.0.0.1:{port}/health/liveliness", seconds=START_SECONDS)
        yield Target(
            f"http://127.0.0.1:{port}/v1", headers={"Authorization": f"Bearer {key}"}, pids=(process.pid,)
        )


STORES: dict[str, Mavera] = {
    "mavera": mavera,
    "mavera-postgres": mavera_on_postgres,
    "mavera-postgres-redis": mavera_on_postgres_and_redis,
}
PEERS: dict[str, Peer] = {
    "relay": relay,
    **STORES,
    "tensorzero": tensorzero,
    "portkey": portkey,
    "litellm": litellm,
}


@contextmanager
def _running(
    cores: Cores, command: list[str], environ: dict[str, str] | None = None, *, read: bool = True
) -> Iterator["subprocess.Popen[str]"]:
    """
    Run `command` on the gateway's core; it ends with the block.

    `read`: whether its first lines are. One that logs each request would stop at a full pipe.
    """
    if not Path(command[0]).exists() and "/" in command[0]:
        raise Unavailable("is not installed")
    with subprocess.Popen(
        cores.pinned(cores.gateway, *command),
        env={**os.environ, **(environ or {})},
        stdout=subprocess.PIPE if read else subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        try:
            yield process
        except OSError as error:
            raise Unavailable(f"did not start ({type(error).__name__})") from error
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


def _first_line(process: "subprocess.Popen[str]", start: str = "") -> str:
    assert process.stdout is not None
    deadline = time.monotonic() + START_SECONDS
    for line in process.stdout:
        if line.startswith(start):
            return line.strip()
        if time.monotonic() > deadline:
            break
    raise Unavailable("ended before it could be asked")
