"""
Personas in rotation, embedded model: the first token cold, warm and after a restart; what the list costs.

    python -m bench.personas [--personas 64] [--list-requests 20000] [--data-dir FOLDER] [--json]

Cold: a persona's first question to a new server. Warm: its second, all others between, which
is more than the engine's cache holds. Then the server is left alone until the states of all
personas are on disk, stopped and started: restored is a persona's first question to the new
process. The list is asked on one pinned core; its rate is given by the clock and by the server's
processor time, which a busy machine changes less.
"""

import argparse
import asyncio
import os
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import aiohttp
import psutil

from bench.model import QUESTIONS
from bench.report import median, show
from bench.serving import Addresses, serving
from bench.streams import timed_stream
from bench.wire import first_line, process
from mavera.models.embedded.prefixes import SUFFIX
from mavera.personas.builtin import PersonaLibrary
from mavera.personas.persona import Persona

CONNECTIONS = 32


async def first_tokens(addresses: Addresses, personas: list[Persona], number: int) -> list[float]:
    """Ask each persona one question and return the seconds to each first token."""
    seconds = []
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session:
        for persona in personas:
            body = {
                "model": "mavera-1",
                "persona_id": persona.id,
                "messages": [{"role": "user", "content": QUESTIONS[number % len(QUESTIONS)]}],
                "stream": True,
                "max_tokens": 4,
            }
            timing = await timed_stream(session, addresses.url, addresses.key, body)
            seconds.append(timing.first)
    return seconds


def wait_for_states(data_dir: str, number: int, most_seconds: float) -> int:
    """Return how many states there are, once there are `number` or the time is up."""
    deadline = time.monotonic() + most_seconds
    while True:
        there = len(list(Path(data_dir, "states").glob(f"*{SUFFIX}")))
        if there >= number or time.monotonic() > deadline:
            return there
        time.sleep(1)


async def list_requests(url: str, key: str, requests: int) -> None:
    host, port = url.removeprefix("http://").split("/")[0].split(":")
    head = f"GET /api/v1/personas HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {key}\r\n\r\n".encode()

    async def one(count: int) -> None:
        reader, writer = await asyncio.open_connection(host, int(port))
        for _ in range(count):
            writer.write(head)
            answer = (await reader.readuntil(b"\r\n\r\n")).lower()
            if not answer.startswith(b"http/1.1 200"):
                raise RuntimeError(answer.decode())
            await reader.readexactly(int(answer.split(b"content-length: ")[1].split(b"\r\n")[0]))
        writer.close()

    await asyncio.gather(*(one(requests // CONNECTIONS) for _ in range(CONNECTIONS)))


def list_rate(requests: int) -> dict[str, float]:
    """Return requests a second on one core, by the clock and by the server's processor time."""
    with ExitStack() as stack:
        data_dir = stack.enter_context(tempfile.TemporaryDirectory())
        command = ("mavera", "serve", "--port", "0", "--data-dir", data_dir)
        server = stack.enter_context(
            process(*command, MAVERA_MODEL_BACKEND="scripted", MAVERA_LOG_LEVEL="error")
        )
        url = first_line(server, "mavera at").split()[2]
        key = first_line(server, "Your API key").split()[-1]
        time.sleep(1)
        watched = psutil.Process(server.pid)
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(server.pid, {min(os.sched_getaffinity(0))})
        asyncio.run(list_requests(url, key, CONNECTIONS * 10))
        before, started = sum(watched.cpu_times()[:2]), time.perf_counter()
        asyncio.run(list_requests(url, key, requests))
        wall = time.perf_counter() - started
        spent = sum(watched.cpu_times()[:2]) - before
    done = requests // CONNECTIONS * CONNECTIONS
    return {"list req/s by the clock": done / wall, "list req/s by processor time": done / spent}


def rotation(
    count: int, most_seconds: float, kept_in: str | None
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    personas = list(PersonaLibrary.load())[:count]
    with ExitStack() as stack:
        data_dir = kept_in or stack.enter_context(tempfile.TemporaryDirectory())
        if wait_for_states(data_dir, 1, 0):
            raise SystemExit(f"{data_dir} has states already: nothing would be cold.")
        with serving(MAVERA_DATA_DIR=data_dir) as addresses:
            cold, warm = (asyncio.run(first_tokens(addresses, personas, n)) for n in range(2))
            kept = wait_for_states(data_dir, count, most_seconds)
        with serving(MAVERA_DATA_DIR=data_dir) as addresses:
            restored = asyncio.run(first_tokens(addresses, personas[:kept], 2))
    rows = [
        {"persona": persona.name, "cold ms": a * 1000, "warm ms": b * 1000, "restored ms": c * 1000}
        for persona, a, b, c in zip(personas, cold, warm, restored, strict=False)
    ]
    summary = {
        "median warm / cold": median([b / a for a, b in zip(cold, warm, strict=True)]),
        "median restored / cold": median([c / a for a, c in zip(cold, restored, strict=False)]),
        "states kept": kept,
    }
    return rows, summary


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--personas", type=int, default=64)
    parser.add_argument("--list-requests", type=int, default=20_000, help="0 leaves the list out")
    parser.add_argument("--wait-seconds", type=float, default=3600, help="for the states to be written")
    parser.add_argument("--data-dir", help="leave the states here; where there are none yet")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    summary: dict[str, Any] = {}
    if options.personas:
        rows, summary = rotation(options.personas, options.wait_seconds, options.data_dir)
    if options.list_requests:
        summary |= list_rate(options.list_requests)
    show("personas", rows or [{"personas": 0}], as_json=options.json, summary=summary)


if __name__ == "__main__":
    main()
