"""
Does anything grow under mixed traffic? Memory, descriptors, threads, reservations, and the database.

    python -m bench.soak [--minutes 30] [--every 5] [--rate 20] [--plot FILE.svg] [--json]

Clients ask both formats, streamed and not, over HTTP and WebSocket. Some leave in the middle, some send bad
input, images, tools or personas, repeat an Idempotency-Key or read their usage. `--rate` is how many
requests a second they make together, which two cores bear. The server is `mavera serve` on SQLite in a
process of its own, its model an upstream of almost no cost. `--source FOLDER` runs another checkout's server.

A run passes if memory grows by at most 0.1 MB a minute after the first five minutes (least squares, with a
95 % interval), if all reservations have an owner, and if descriptors do not grow from the first half to the
second of what follows these minutes.
"""

import argparse
import asyncio
import json
import os
import random
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import psutil
from tests.support.bad_input import CHAT, RESPONSES, TABLE, UNPARSABLE, VALID, mended
from tests.support.images import data_url, png

from bench.against import source_of
from bench.report import median, show
from bench.wire import first_line, process

SETTLING_MINUTES = 5.0
MOST_MB_A_MINUTE = 0.1
MB = 1e6
METRICS_TOKEN = "soak-" + "x" * 32
TOOL = {"type": "function", "name": "look", "parameters": {"type": "object", "properties": {"a": {}}}}


@dataclass
class Load:
    """What the clients share."""

    url: str
    session: aiohttp.ClientSession
    answers: Counter[str] = field(default_factory=Counter)
    keys: list[str] = field(default_factory=list)

    async def post(self, path: str, body: Any, **headers: str) -> Any:
        """Return the body of an answer and count its status."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        async with self.session.post(self.url + path, data=data, headers=headers) as answer:
            text = await answer.read()
            self.answers[str(answer.status)] += 1
            return json.loads(text) if answer.content_type == "application/json" else text


Traffic = Callable[[Load], Awaitable[None]]


async def ask(load: Load) -> None:
    path = random.choice([RESPONSES, CHAT])
    await load.post(path, {**VALID[path], "stream": random.random() < 0.5})


async def ask_with_tools(load: Load) -> None:
    await load.post(RESPONSES, {**VALID[RESPONSES], "tools": [TOOL]})


async def ask_with_image(load: Load) -> None:
    url = data_url(png(64, 64) + os.urandom(random.randrange(300_000)))
    parts = [{"type": "text", "text": "Hm?"}, {"type": "image_url", "image_url": {"url": url}}]
    await load.post(CHAT, {"model": "mavera-1", "messages": [{"role": "user", "content": parts}]})


async def ask_at_length(load: Load) -> None:
    items = [{"role": "user", "content": f"And {n}, at some length?"} for n in range(300)]
    await load.post(RESPONSES, {"model": "mavera-1", "input": items})


async def leave(load: Load) -> None:
    """Ask, and go away before or within the answer."""
    path = random.choice([RESPONSES, CHAT])
    body = {**VALID[path], "stream": True}
    with_timeout = aiohttp.ClientTimeout(total=random.choice([0.002, 0.01, 0.03]))
    try:
        async with load.session.post(load.url + path, json=body, timeout=with_timeout) as answer:
            await answer.content.readany()
            answer.close()
    except TimeoutError:
        pass
    load.answers["left"] += 1


async def send_bad_input(load: Load) -> None:
    path = random.choice([RESPONSES, CHAT])
    if random.random() < 0.3:
        alter = random.choice(list(UNPARSABLE.values()))
        await load.post(path, alter(json.dumps(VALID[path]).encode()))
        return
    path, fields, _, _ = random.choice(TABLE)
    await load.post(path, mended(path, fields))


async def ask_over_websocket(load: Load) -> None:
    """Take some turns that follow each other; leave within the last one, or close."""
    async with load.session.ws_connect(load.url + RESPONSES) as websocket:
        before = None
        for _ in range(random.randrange(1, 4)):
            await websocket.send_json(
                {**VALID[RESPONSES], "type": "response.create", "previous_response_id": before}
            )
            kind = ""
            while kind != "response.completed":
                event = await websocket.receive_json(timeout=30)
                kind, before = event["type"], event.get("response", {}).get("id", before)
                if kind in ("error", "response.failed"):
                    load.answers[kind] += 1
                    return
        load.answers["websocket"] += 1
        if random.random() < 0.3:
            await websocket.send_json({**VALID[RESPONSES], "type": "response.create"})


async def keep_a_persona(load: Load) -> None:
    body = {"pipeline_type": "advanced", "name": f"Soak {random.randrange(10**9)}", "description": "A buyer."}
    made = await load.post("/api/v1/personas", body)
    if "id" in made:
        await load.post(RESPONSES, {**VALID[RESPONSES], "persona_id": made["id"]})
        async with load.session.delete(f"{load.url}/api/v1/personas/{made['id']}") as answer:
            load.answers[str(answer.status)] += 1


async def ask_twice(load: Load) -> None:
    headers = {"Idempotency-Key": os.urandom(8).hex()}
    for _ in range(2):
        await load.post(CHAT, VALID[CHAT], **headers)


async def read_usage(load: Load) -> None:
    path = random.choice(["/api/v1/usage", "/api/v1/personas?limit=100", "/api/v1/models", "/health/ready"])
    async with load.session.get(load.url + path) as answer:
        await answer.read()
        load.answers[str(answer.status)] += 1


TRAFFIC: dict[Traffic, int] = {
    ask: 30,
    ask_with_tools: 5,
    ask_with_image: 5,
    ask_at_length: 4,
    leave: 15,
    send_bad_input: 20,
    ask_over_websocket: 8,
    keep_a_persona: 4,
    ask_twice: 4,
    read_usage: 5,
}


async def make_traffic(load: Load, rate: float, until: float) -> None:
    """Begin `rate` things a second, fewer where many of them have not ended."""
    going: set[asyncio.Task[None]] = set()
    while time.monotonic() < until:
        kind = random.choices(list(TRAFFIC), list(TRAFFIC.values()))[0]
        going.add(asyncio.create_task(_counted(kind, load)))
        await asyncio.sleep(random.expovariate(rate))
        while len(going) > 50 or any(task.done() for task in going):
            done, going = await asyncio.wait(going, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
    await asyncio.gather(*going)


async def _counted(kind: Traffic, load: Load) -> None:
    try:
        await kind(load)
    except (aiohttp.ClientError, TimeoutError, TypeError) as error:  # TypeError: a WebSocket that closed
        load.answers[f"{kind.__name__}: {type(error).__name__}"] += 1


async def watch(load: Load, pid: int, data_dir: Path, every: float, until: float) -> list[dict[str, Any]]:
    """Read the server's state every `every` seconds."""
    server, started, rows = psutil.Process(pid), time.monotonic(), []
    while time.monotonic() < until:
        held = await asyncio.to_thread(read_reservations, data_dir / "mavera.db")
        rows.append(
            {
                "minute": (time.monotonic() - started) / 60,
                "RSS MB": server.memory_info().rss / MB,
                "descriptors": server.num_fds(),
                "threads": server.num_threads(),
                **held,
                "without owner": await read_ownerless(load),
                "database MB": size_of(data_dir / "mavera.db"),
                "WAL MB": size_of(data_dir / "mavera.db-wal"),
                "answers": sum(load.answers.values()),
            }
        )
        await asyncio.sleep(every)
    return rows


def size_of(path: Path) -> float:
    return path.stat().st_size / MB if path.exists() else 0.0


def read_reservations(path: Path) -> dict[str, float]:
    """Return how many reservations there are and how old the oldest is; 0 where the store has no ages."""
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        columns = [row[1] for row in connection.execute("PRAGMA table_info(reservations)")]
        oldest = "MIN(created_at)" if "created_at" in columns else "NULL"
        count, first = connection.execute(f"SELECT COUNT(*), {oldest} FROM reservations").fetchone()
        return {"reservations": count, "oldest s": max(0.0, time.time() - first) if first else 0.0}
    finally:
        connection.close()


async def read_ownerless(load: Load) -> int:
    """Return the server's own count of reservations without an owner; 0 from a server that has none."""
    headers = {"Authorization": f"Bearer {METRICS_TOKEN}"}
    async with load.session.get(f"{load.url}/metrics", headers=headers) as answer:
        lines = (await answer.text()).splitlines()
    return sum(
        int(float(line.split()[-1])) for line in lines if line.startswith("mavera_reservations_without_owner")
    )


def slope(rows: Sequence[dict[str, Any]], name: str) -> tuple[float, float]:
    """Return the change of `name` a minute, by least squares, and half the width of its 95 % interval."""
    minutes, values = [row["minute"] for row in rows], [row[name] for row in rows]
    middle, mean = sum(minutes) / len(rows), sum(values) / len(rows)
    spread = sum((minute - middle) ** 2 for minute in minutes)
    found = sum((m - middle) * (v - mean) for m, v in zip(minutes, values, strict=True)) / spread
    rest = sum((v - mean - found * (m - middle)) ** 2 for m, v in zip(minutes, values, strict=True))
    return found, 1.96 * (rest / max(1, len(rows) - 2) / spread) ** 0.5


def verdict(rows: Sequence[dict[str, Any]], answers: Counter[str]) -> dict[str, Any]:
    settled = [row for row in rows if row["minute"] >= SETTLING_MINUTES] or list(rows[len(rows) // 2 :])
    growth, half = slope(settled, "RSS MB")
    first, second = settled[: len(settled) // 2], settled[len(settled) // 2 :]
    descriptors = [median([row["descriptors"] for row in part]) for part in (first, second)]
    ownerless = max(row["without owner"] for row in settled)
    unexpected = {name: count for name, count in answers.items() if name.startswith("5")}
    return {
        "RSS, MB a minute": growth,
        "95 % interval, plus or minus": half,
        "descriptors, first and second half": descriptors,
        "most reservations without an owner": ownerless,
        "oldest reservation, s": max(row["oldest s"] for row in settled),
        "answers": dict(answers.most_common()),
        "unexpected": unexpected,
        "passes": growth <= MOST_MB_A_MINUTE
        and not ownerless
        and not unexpected
        and descriptors[1] <= descriptors[0] + 2,
    }


def plot(rows: Sequence[dict[str, Any]], name: str) -> str:
    """Return `name` over time as an SVG."""
    width, height, edge = 800, 240, 40
    minutes, values = [row["minute"] for row in rows], [row[name] for row in rows]
    low, high = min(values), max(max(values), min(values) + 1)
    points = " ".join(
        f"{edge + minute / max(minutes[-1], 0.01) * (width - 2 * edge):.1f},"
        f"{height - edge - (value - low) / (high - low) * (height - 2 * edge):.1f}"
        for minute, value in zip(minutes, values, strict=True)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
        f'font-size="12"><polyline points="{points}" fill="none" stroke="#1f77b4" stroke-width="1.5"/>'
        f'<text x="4" y="{edge}">{high:.1f}</text><text x="4" y="{height - edge}">{low:.1f}</text>'
        f'<text x="{edge}" y="16">{name}</text>'
        f'<text x="{width - 2 * edge}" y="{height - 12}">{minutes[-1]:.1f} minutes</text></svg>'
    )


async def soak(url: str, key: str, pid: int, data_dir: Path, options: argparse.Namespace) -> dict[str, Any]:
    until = time.monotonic() + options.minutes * 60
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    async with aiohttp.ClientSession(headers=headers) as session:
        load = Load(url, session)
        rows, _ = await asyncio.gather(
            watch(load, pid, data_dir, options.every, until), make_traffic(load, options.rate, until)
        )
    return {"rows": rows, "summary": verdict(rows, load.answers)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--every", type=float, default=5.0, help="seconds between readings")
    parser.add_argument("--rate", type=float, default=20.0, help="requests a second")
    parser.add_argument("--plot", type=Path, help="write memory over time as an SVG")
    parser.add_argument("--source", type=Path, help="the checkout whose server runs; this one unless given")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with ExitStack() as stack:
        data_dir = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        upstream = stack.enter_context(process("bench.upstream", "--tokens", "20", "--every-ms", "5"))
        environment = {
            **(source_of(options.source.resolve()) if options.source else {}),
            "MAVERA_UPSTREAM_BASE_URL": f"http://127.0.0.1:{first_line(upstream)}/v1",
            "MAVERA_UPSTREAM_MODEL": "m",
            "MAVERA_UPSTREAM_VISION": "true",
            "MAVERA_LOG_LEVEL": "error",
        }
        if options.source is None:  # older servers know no such setting
            environment["MAVERA_METRICS_TOKEN"] = METRICS_TOKEN
        command = ("mavera", "serve", "--port", "0", "--data-dir", str(data_dir))
        server = stack.enter_context(process(*command, **environment))
        url = first_line(server, "mavera at").split()[2].removesuffix("/api/v1")
        key = first_line(server, "Your API key").split()[-1]
        found = asyncio.run(soak(url, key, server.pid, data_dir, options))
    if options.plot:
        options.plot.write_text(plot(found["rows"], "RSS MB"))
    rows = found["rows"]
    shown = rows if options.json else rows[:: max(1, len(rows) // 30)]
    show("mixed traffic for a while", shown, as_json=options.json, summary=found["summary"])
    sys.exit(0 if found["summary"]["passes"] else os.EX_SOFTWARE)


if __name__ == "__main__":
    main()
