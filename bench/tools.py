"""
What the loop of tools costs, and whether it leaves anything behind.

    python -m bench.tools [--runs 200] [--at-once 50] [--batches 6] [--rest 30] [--json]

Overhead: a model and a tool that take no time, seven rounds a run; the time of a run with tools,
less that of one without, divided by its rounds, by the clock and in processor time. Leaks: many
runs at once over HTTP against a server in this process, whose model and search are servers in
another; tasks, files and sockets of this one are counted after each batch, and once more after a
rest, in which idle connections to those two end. `kept` are such connections; nothing else may stay.
"""

import argparse
import asyncio
import gc
import json
import multiprocessing
import socket
import tempfile
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import uvicorn
import uvloop
from aiohttp import web

from bench.report import median, show
from mavera.accounts.first_run import make_first_key
from mavera.accounts.principal import Principal
from mavera.app import create_app
from mavera.core.events import (
    ModelEvent,
    RunCompleted,
    RunStarted,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
)
from mavera.core.items import FunctionOutput, make_message
from mavera.core.prompt import Prompt
from mavera.core.server_calls import CallKind
from mavera.core.turn import Turn
from mavera.core.usage import Usage
from mavera.logs import configure_logs
from mavera.models.model import ModelProfile, ModelStatus
from mavera.personas.builtin import PersonaLibrary
from mavera.personas.catalogue import Personas
from mavera.runs.loop import Runner
from mavera.runs.server_tools import LoopLimits
from mavera.settings import Settings, load_settings
from mavera.storage.database import Database
from mavera.storage.schema import ensure_schema
from mavera.tools.scripted import ScriptedTool
from mavera.tools.search.tavily_search import TavilySearchTool
from mavera.tools.tool import Found, ToolResult
from mavera.tools.toolbox import Toolbox, ToolPolicy

ROUNDS = 7
_KIND: CallKind = "search"
_FOUND = tuple(Found(f"https://example.com/{n}", f"Page {n}", "Some words. " * 80) for n in range(5))


class CallingModel:
    """Takes no time: calls a tool in each of the first `rounds` rounds, then answers."""

    profile = ModelProfile(sees_images=True)

    def __init__(self, rounds: int) -> None:
        self._rounds = rounds

    async def start(self) -> None:
        return None

    async def close(self) -> None:
        return None

    def status(self) -> ModelStatus:
        return ModelStatus("ready", "It calls.")

    async def stream(self, prompt: Prompt) -> AsyncGenerator[ModelEvent, None]:
        done = sum(isinstance(item, FunctionOutput) for item in prompt.items)
        yield RunStarted()
        if done < self._rounds:
            yield ToolCallStarted(0, f"call_{done}", "tavily_search")
            yield ToolCallDelta(0, json.dumps({"query": f"words {done}"}))
            yield RunCompleted("tool_calls", Usage(10, 5))
        else:
            yield TextDelta("Found [1].")
            yield RunCompleted("stop", Usage(10, 5))


async def overhead(runs: int) -> tuple[list[float], list[float]]:
    """Return milliseconds per round, by the clock and of the processor, one figure for each run."""
    tool = ScriptedTool("tavily_search", _KIND, TavilySearchTool.parameters, ToolResult("5 results", _FOUND))
    toolbox = Toolbox([tool], policy=ToolPolicy(frozenset({"tavily_search"}), 10**6, 10**6))
    looping = Runner(
        Personas(PersonaLibrary.load()),
        {"live": CallingModel(ROUNDS)},
        tools={"live": toolbox},
        tool_limits=LoopLimits(),
    )
    plain = Runner(Personas(PersonaLibrary.load()), {"live": CallingModel(0)})
    turn = Turn(
        "mavera-1", (make_message("user", "What is new?"),), persona_id=PersonaLibrary.load().list()[0].id
    )
    figures = []
    for _ in range(runs):
        with_tools = await _seconds(looping, turn)
        without = await _seconds(plain, turn)
        figures.append([1000 * (a - b) / ROUNDS for a, b in zip(with_tools, without, strict=True)])
    return [figure[0] for figure in figures], [figure[1] for figure in figures]


async def _seconds(runner: Runner, turn: Turn) -> tuple[float, float]:
    started, busy = time.perf_counter(), time.process_time()
    async with aclosing(runner.run(turn, Principal.local())) as events:
        last = [event async for event in events][-1]
    assert isinstance(last, RunCompleted), last
    return time.perf_counter() - started, time.process_time() - busy


@dataclass(frozen=True)
class Left:
    """What the process of the server holds: `kept` to the model and the search, `sockets` to others."""

    tasks: int
    files: int
    kept: int
    sockets: int

    @classmethod
    def now(cls, providers_port: int) -> "Left":
        gc.collect()
        process = psutil.Process()
        ends = [one.raddr.port for one in process.net_connections() if one.raddr]
        kept = sum(port == providers_port for port in ends)
        return cls(len(asyncio.all_tasks()), process.num_fds() - len(ends), kept, len(ends) - kept)


async def leaks(at_once: int, batches: int, rest_seconds: float) -> list[dict[str, Any]]:
    """Return what was held before, after each batch of runs (the first warms up), and after a rest."""
    rows = []
    with _providers() as url:
        port = int(url.rpartition(":")[2])
        async with _server(url) as (base_url, key):
            rows.append({"when": "before", **asdict(Left.now(port))})
            for batch in range(batches + 1):
                await _batch(base_url, key, at_once)
                await asyncio.sleep(1)
                name = f"after batch {batch}" if batch else "after the warm-up"
                rows.append({"when": name, **asdict(Left.now(port))})
            await asyncio.sleep(rest_seconds)
            rows.append({"when": f"after a rest of {rest_seconds:.0f} s", **asdict(Left.now(port))})
    return rows


async def _batch(base_url: str, key: str, at_once: int) -> None:
    headers = {"Authorization": f"Bearer {key}"}
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    async with aiohttp.ClientSession(headers=headers, connector=connector) as session:

        async def ask(number: int) -> None:
            body = {"model": "mavera-1", "input": "What is new?", "stream": bool(number % 2)}
            async with session.post(f"{base_url}/responses", json=body) as answer:
                if number % 5 == 4:  # every fifth client leaves on the way
                    await answer.content.readany()
                    return
                text = await answer.text()
                assert "server_tool_calls" in text, text[:300]

        await asyncio.gather(*(ask(number) for number in range(at_once)))


@contextmanager
def _providers() -> Iterator[str]:
    """A process with a model's server and a search; the URL of both."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_provide, args=(theirs,))
    process.start()
    try:
        yield ours.recv()
    finally:
        ours.send("end")
        process.join()


def _provide(asked: Connection) -> None:
    """Serve a model that calls a search twice and then answers, and that search, until told to end."""

    async def chat(request: web.Request) -> web.StreamResponse:
        asked = await request.json()
        done = sum(message["role"] == "tool" for message in asked["messages"])
        delta: dict[str, Any] = {"content": "Found [1]."}
        if done < 2:
            function = {"name": "tavily_search", "arguments": json.dumps({"query": f"words {done}"})}
            delta = {"tool_calls": [{"index": 0, "id": f"c{done}", "type": "function", "function": function}]}
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for choice in ({"delta": delta}, {"delta": {}, "finish_reason": "stop"}):
            await response.write(b"data: %b\n\n" % json.dumps({"choices": [choice]}).encode())
        await response.write(b"data: [DONE]\n\n")
        return response

    async def search(_: web.Request) -> web.Response:
        await asyncio.sleep(0.05)
        found = [{"url": one.url, "title": one.title, "content": one.text} for one in _FOUND]
        return web.json_response({"results": found})

    async def serve() -> None:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", chat)
        app.router.add_get("/search", search)
        runner = web.AppRunner(app, access_log=None, keepalive_timeout=10)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        asked.send(f"http://127.0.0.1:{runner.addresses[0][1]}")
        await asyncio.to_thread(asked.recv)
        await runner.cleanup()

    asyncio.run(serve())


@asynccontextmanager
async def _server(url: str) -> AsyncIterator[tuple[str, str]]:
    with tempfile.TemporaryDirectory() as folder:
        settings = load_settings(
            {},
            data_dir=Path(folder),
            upstream_base_url=f"{url}/v1",
            upstream_model="m",
            searxng_url=url,
            tools_per_minute=10**6,
            tools_per_day=10**6,
            log_level="error",
        )
        configure_logs(settings)
        key = await _first_key(settings)
        listener = socket.create_server(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(create_app(settings), log_config=None, access_log=False))
        task = asyncio.create_task(server.serve(sockets=[listener]))
        while not server.started:  # noqa: ASYNC110 - uvicorn has no event to wait for
            await asyncio.sleep(0.05)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/api/v1", key
        finally:
            server.should_exit = True
            await task
            listener.close()


async def _first_key(settings: Settings) -> str:
    async with Database.open(settings) as database:
        await ensure_schema(database)
        key = await make_first_key(database)
    assert key is not None
    return key


async def _main(options: argparse.Namespace) -> None:
    by_clock, of_processor = await overhead(options.runs)
    rows = await leaks(options.at_once, options.batches, options.rest)
    summary = {
        "ms per round by the clock, median": median(by_clock),
        "ms per round by the clock, least": min(by_clock),
        "ms per round of the processor, median": median(of_processor),
        "rounds in a run": ROUNDS,
        "runs at once": options.at_once,
    }
    show("what the loop of tools costs and leaves", rows, as_json=options.json, summary=summary)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--at-once", type=int, default=50)
    parser.add_argument("--batches", type=int, default=6)
    parser.add_argument("--rest", type=float, default=30.0)
    parser.add_argument("--json", action="store_true")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_main(parser.parse_args()))


if __name__ == "__main__":
    main()
