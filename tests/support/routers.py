"""Routers and balancers in processes of their own, in front of servers that a test runs."""

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx2 as httpx

from tests.support.requirements import require_program, skip_or_fail
from tests.support.servers import free_port, until_open

# As the page on scaling and deploy/ start it.
STICKY = (
    "--policy",
    "cache_aware",
    "--routing-key-override",
    "--routing-key-headers",
    "x-session-id",
    "--disable-retries",
)


@contextmanager
def running_smg(
    engines: Sequence[str], *options: str, models: int | None = None
) -> Iterator[tuple[str, "subprocess.Popen[bytes]"]]:
    """Run smg in front of `engines`, base URLs of servers. Yields its base URL when all have joined it."""
    program = Path(sys.executable).parent / "smg"
    if not program.exists():
        skip_or_fail("smg is not installed: make .venv/proofs")
    port = free_port()
    origins = [f"{parts.scheme}://{parts.netloc}" for parts in map(urlsplit, engines)]
    command = [str(program), "launch", "--host", "127.0.0.1", "--port", str(port), *options]
    command += ["--prometheus-port", str(free_port()), "--worker-urls", *origins]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until_open(port, seconds=60)
        _wait_for_workers(f"http://127.0.0.1:{port}", len(engines) if models is None else models, process)
        yield f"http://127.0.0.1:{port}/v1", process
    finally:
        process.kill()
        process.wait(20)


def _wait_for_workers(url: str, number: int, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 90
    while True:
        answer = httpx.get(f"{url}/workers", timeout=5)
        if answer.status_code == 200 and answer.json().get("total", 0) >= number:
            return
        assert process.poll() is None, "smg has ended"
        assert time.monotonic() < deadline, f"{answer.status_code} {answer.text}"
        time.sleep(0.2)


@contextmanager
def running_haproxy(
    folder: Path, servers: Sequence[str], *lines: str, port: int = 0
) -> Iterator[tuple[str, "subprocess.Popen[bytes]"]]:
    """Run HAProxy in front of `servers`, URLs of which the host and port count, and yield its origin."""
    program = require_program("haproxy", "apt install haproxy")
    port = port or free_port()
    config = folder / "haproxy.cfg"
    text = [
        "defaults",
        "    mode http",
        "    timeout connect 2s",
        "    timeout client 120s",
        "    timeout server 120s",
        "frontend front",
        f"    bind 127.0.0.1:{port}",
        "    default_backend servers",
        "backend servers",
        *(f"    {line}" for line in lines),
        *(
            f"    server s{number} {urlsplit(url).netloc} check inter 200ms fall 2 rise 1"
            for number, url in enumerate(servers)
        ),
    ]
    config.write_text("\n".join(text) + "\n", encoding="utf-8")
    process = subprocess.Popen([program, "-db", "-f", str(config)], stderr=subprocess.DEVNULL)
    try:
        until_open(port)
        yield f"http://127.0.0.1:{port}", process
    finally:
        process.kill()
        process.wait(20)
