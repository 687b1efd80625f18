"""
nginx as a model's server that answers at once, and wrk as its client: both from apt, started by the bench.

    with static_upstream(folder, cores) as url:
        read = drive(Target(…), connections=32, seconds=10, folder=folder, cores=cores)

A rate below the most is made of many connections that each wait a random while between requests, so
that what is measured is how long an answer takes and not how long it queued behind our own load.
"""

import json
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1_763_000_000,
    "model": "m",
    "choices": [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": "I would look at the label first, then at the price, and put it back on the rack.",
            },
            "finish_reason": "stop",
        }
    ],
    "usage": {"prompt_tokens": 700, "completion_tokens": 22, "total_tokens": 722},
}

_NGINX = """
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  keepalive_requests 100000000;
  client_body_buffer_size 128k;
  client_body_temp_path {folder};
  proxy_temp_path {folder};
  fastcgi_temp_path {folder};
  uwsgi_temp_path {folder};
  scgi_temp_path {folder};
  server {{
    listen 127.0.0.1:{port};
    location / {{ default_type application/json; return 200 '{answer}'; }}
  }}
}}
"""

_WRK = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
{headers}
wrk.body = {body}
{delay}
function done(summary, latency, requests)
  io.write(string.format(
    '{{"requests": %d, "microseconds": %d, "refused": %d, "broken": %d, "p50": %d, "p95": %d, "p99": %d}}\\n',
    summary.requests, summary.duration, summary.errors.status,
    summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout,
    latency:percentile(50), latency:percentile(95), latency:percentile(99)))
end
"""


@dataclass(frozen=True)
class Cores:
    """
    Where the gateway runs, and where all else does; the same one on a machine that has no second.

    None lets the system choose.
    """

    gateway: int | None
    rest: int | None

    def pinned(self, core: int | None, *command: str) -> list[str]:
        return list(command) if core is None else ["taskset", "-c", str(core), *command]


@dataclass(frozen=True)
class Target:
    """What is asked. `pids` are the gateway's processes, none where there is no gateway."""

    url: str
    model: str = "m"
    headers: dict[str, str] = field(default_factory=dict)
    members: dict[str, Any] = field(default_factory=dict)
    pids: tuple[int, ...] = ()

    @property
    def body(self) -> str:
        question = [{"role": "user", "content": "How do you feel about sustainable fashion?"}]
        return json.dumps({"model": self.model, "messages": question, **self.members})


@dataclass(frozen=True)
class Reading:
    """Latencies in ms as the client saw them; CPU in µs a request, of the gateway alone; memory in MB."""

    requests: int
    requests_per_second: float
    p50: float
    p95: float
    p99: float
    cpu: float
    megabytes: float


@contextmanager
def static_upstream(folder: Path, cores: Cores) -> Iterator[str]:
    """Run an nginx that answers everything with `ANSWER`; yield what goes before /chat/completions."""
    port = free_port()
    config = folder / "nginx.conf"
    config.write_text(_NGINX.format(folder=folder, port=port, answer=json.dumps(ANSWER)))
    command = cores.pinned(cores.rest, _program("nginx"), "-c", str(config), "-e", str(folder / "nginx.log"))
    with subprocess.Popen(command) as process:
        try:
            until_answered(f"http://127.0.0.1:{port}/", seconds=10)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.terminate()


def drive(
    target: Target,
    *,
    connections: int,
    seconds: int,
    folder: Path,
    cores: Cores,
    rate: float | None = None,
) -> Reading:
    """Ask for `seconds`, as fast as `target` answers or at about `rate` a second. Raises where it refuses."""
    script = folder / "wrk.lua"
    script.write_text(_script(target, connections / rate if rate else None))
    processes = _family(target.pids)
    before = _cpu_seconds(processes)
    command = cores.pinned(cores.rest, _program("wrk"), "-t1", f"-c{connections}", f"-d{seconds}s")
    command += ["--timeout", "30s", "-s", str(script), f"{target.url}/chat/completions"]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1]
    read = json.loads(said)
    if read["refused"] or read["broken"] or not read["requests"]:
        raise RuntimeError(f"{target.url} did not answer every request: {read}")
    return Reading(
        read["requests"],
        read["requests"] / read["microseconds"] * 1e6,
        p50=read["p50"] / 1000,
        p95=read["p95"] / 1000,
        p99=read["p99"] / 1000,
        cpu=(_cpu_seconds(processes) - before) / read["requests"] * 1e6,
        megabytes=sum(process.memory_info().rss for process in processes) / 1e6,
    )


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def until_answered(url: str, *, seconds: float) -> None:
    """Return once something answers HTTP at `url`, whatever it says."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except urllib.error.HTTPError:
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def _script(target: Target, period_seconds: float | None) -> str:
    headers = "\n".join(
        f"wrk.headers[{json.dumps(name)}] = {json.dumps(value)}" for name, value in target.headers.items()
    )
    delay = ""
    if period_seconds is not None:
        delay = f"function delay() return math.random(0, {round(period_seconds * 2000)}) end"
    return _WRK.format(headers=headers, body=json.dumps(target.body), delay=delay)


def _program(name: str) -> str:
    found = shutil.which(name, path=None) or shutil.which(name, path="/usr/sbin:/usr/bin")
    if found is None:
        raise SystemExit(f"This bench needs {name}: apt install nginx-light wrk")
    return found


def _family(pids: Sequence[int]) -> list[psutil.Process]:
    processes = [psutil.Process(pid) for pid in pids]
    return [*processes, *(child for each in processes for child in each.children(recursive=True))]


def _cpu_seconds(processes: Sequence[psutil.Process]) -> float:
    return float(sum(sum(process.cpu_times()[:2]) for process in processes))
