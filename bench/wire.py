"""
What a streamed token costs on its way through the server, and how long it takes.

    python -m bench.wire [--streams 1 10 100] [--tokens 200] [--every-ms 20] [--json]
    python -m bench.wire --against 331e8b2 [--turns 8] [--most-turns 60] [--streams 100] [--json]

A model's server of almost no cost sends tokens that carry the time they were sent; the
client subtracts. The server's processor time is read from the system, before and after,
and divided by the tokens: keys, persona, parsing, encoding and sockets are all in it. Answers of
few tokens, asked for before, tell what of it is the request's (`ms/request`) and what each
further token costs. `passthrough` is the same with a server that does nothing but read and
write: the sockets' part. `--against` compares the processor time of a token with another checkout's, each
format by itself, at the largest number of streams (`bench/against.py`).
"""

import argparse
import asyncio
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import aiohttp
import psutil
import uvloop

from bench.against import HERE, add_options, checkout, compare, source_of
from bench.report import median, show
from mavera.personas.builtin import PersonaLibrary

# A stamp is a token: several may stand in one delta, where they came in one read.
_DELTA = re.compile(rb'"(?:delta|content)":"([\d ]+)"')
FLOOR = "passthrough"
LIMITS = {
    "chat/completions": "max_completion_tokens",
    "responses": "max_output_tokens",
    FLOOR: "max_tokens",
}
FORMATS = ("chat/completions", "responses")
FEW_TOKENS = 20


@contextmanager
def process(*command: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """Run a Python module of ours and end it with the block."""
    given = {**os.environ, **environment}
    with subprocess.Popen(
        [sys.executable, "-m", *command], env=given, stdout=subprocess.PIPE, text=True
    ) as child:
        try:
            yield child
        finally:
            child.terminate()


def first_line(child: subprocess.Popen[str], start: str = "") -> str:
    assert child.stdout is not None
    return next(line for line in child.stdout if line.startswith(start)).strip()


async def read_stream(
    session: aiohttp.ClientSession, url: str, key: str, body: dict[str, Any]
) -> list[float]:
    """Return for each token the milliseconds from the model's server to here."""
    delays = []
    async with session.post(url, json=body, headers={"Authorization": f"Bearer {key}"}) as response:
        response.raise_for_status()
        async for data in response.content.iter_any():
            now = time.monotonic_ns()
            stamps = b"".join(_DELTA.findall(data)).split()
            delays += [(now - int(stamp)) / 1e6 for stamp in stamps]
    return delays


async def measure(url: str, key: str, pid: int, wire: str, *, streams: int, most: int) -> dict[str, Any]:
    persona = PersonaLibrary.load().find("Gen Z Consumer").id
    question = {"input": "Hm?"} if wire == "responses" else {"messages": [{"role": "user", "content": "Hm?"}]}
    body = {"model": "mavera-1", "stream": True, "persona_id": persona, **question}
    server = psutil.Process(pid)

    async def ask(tokens: int) -> tuple[list[float], float]:
        """Return the delays of all tokens, sorted, and the processor's seconds that they took."""
        before = sum(server.cpu_times()[:2])
        asked = {**body, LIMITS[wire]: tokens}
        delays = await asyncio.gather(
            *(read_stream(session, f"{url}/{wire}", key, asked) for _ in range(streams))
        )
        spent = sum(server.cpu_times()[:2]) - before
        return sorted(delay for stream in delays for delay in stream), spent

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        await ask(FEW_TOKENS)  # connections are opened once, and not by whichever format is first
        few, spent_on_few = await ask(FEW_TOKENS)
        tokens, spent = await ask(most)
    further = (spent - spent_on_few) / (len(tokens) - len(few))
    return {
        "format": wire,
        "streams": streams,
        "tokens": len(tokens),
        "server µs/token": spent / len(tokens) * 1e6,
        "µs/further token": further * 1e6,
        "ms/request": (spent_on_few - further * len(few)) / streams * 1e3,
        "p50 ms": median(tokens),
        "p99 ms": tokens[int(len(tokens) * 0.99)],
    }


@contextmanager
def serving(upstream_url: str, source: Mapping[str, str] | None = None) -> Iterator[tuple[str, str, int]]:
    """Run mavera on an empty folder; yield its URL, a key and its process. `source` as in `bench.peers`."""
    with tempfile.TemporaryDirectory() as data_dir:
        environment = {
            **(source or {}),
            "MAVERA_UPSTREAM_BASE_URL": upstream_url,
            "MAVERA_UPSTREAM_MODEL": "none",
            "MAVERA_LOG_LEVEL": "warning",
        }
        command = ("mavera", "serve", "--port", "0", "--data-dir", data_dir)
        with process(*command, **environment) as server:
            url = first_line(server, "mavera at").split()[2]
            yield url, first_line(server, "Your API key").split()[-1], server.pid


def against(upstream_url: str, options: argparse.Namespace, runner: asyncio.Runner) -> bool:
    """Return whether a token costs no more here than in `options.against`."""
    streams = max(options.streams)

    def read(url: str, key: str, pid: int) -> dict[str, float]:
        found = {
            wire: runner.run(measure(url, key, pid, wire, streams=streams, most=options.tokens))
            for wire in FORMATS
        }
        return {f"{wire}, server µs/token": row["server µs/token"] for wire, row in found.items()}

    with ExitStack() as stack:
        base = stack.enter_context(checkout(options.against))
        this, other = (stack.enter_context(serving(upstream_url, source_of(each))) for each in (HERE, base))
        time.sleep(1)
        for server in (this, other):
            read(*server)
        title = f"{streams} streams of {options.tokens} tokens"
        return compare(title, lambda: read(*this), lambda: read(*other), options=options)


def measure_all(upstream_url: str, options: argparse.Namespace, runner: asyncio.Runner) -> None:
    with ExitStack() as stack:
        url, key, pid = stack.enter_context(serving(upstream_url))
        floor = stack.enter_context(process("bench.passthrough", upstream_url))
        floor_url = first_line(floor)
        time.sleep(1)
        rows = [
            runner.run(measure(url, key, pid, wire, streams=streams, most=options.tokens))
            for wire in FORMATS
            for streams in options.streams
        ]
        rows += [
            runner.run(measure(floor_url, key, floor.pid, FLOOR, streams=streams, most=options.tokens))
            for streams in options.streams
        ]
    own = [row for row in rows if row["format"] != FLOOR]
    most = max(options.streams)
    summary = {
        "median server µs/token": median([row["server µs/token"] for row in own]),
        "median µs/further token": median([row["µs/further token"] for row in own]),
        "p99 at most streams, ms": max(row["p99 ms"] for row in own if row["streams"] == most),
    }
    show("a streamed token's way through the server", rows, as_json=options.json, summary=summary)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 10, 100])
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument("--every-ms", type=float, default=20.0)
    parser.add_argument("--turns", type=int, metavar="TURNS", help="the fewest, with --against")
    add_options(parser)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    pace = ("--tokens", str(options.tokens), "--every-ms", str(options.every_ms))
    with (
        process("bench.upstream", *pace) as upstream,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        upstream_url = f"http://127.0.0.1:{first_line(upstream)}/v1"
        if options.against:
            sys.exit(0 if against(upstream_url, options, runner) else os.EX_SOFTWARE)
        measure_all(upstream_url, options, runner)


if __name__ == "__main__":
    main()
