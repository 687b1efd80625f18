"""
How many frames of ours a streamed piece of text passes between the model's bytes and the client's socket.

    python -m bench.frames [--json]

A real server in this process, with the embedded model's own code; the engine behind it is a stand-in that
streams one word. A profile hook looks at the stack when the word's bytes are decoded. What counts is each
coroutine and async generator of mavera there: all of them are resumed for every piece of text.
"""

import argparse
import asyncio
import inspect
import json
import sys
import tempfile
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn
from tests.support.stand_in_engine import StandInEngine

from bench.report import show
from mavera.accounts.first_run import make_first_key
from mavera.app import create_app
from mavera.logs import configure_logs
from mavera.models.chunk_decoder import ChunkDecoder
from mavera.models.embedded.model import EmbeddedModel
from mavera.personas.builtin import PersonaLibrary
from mavera.runs.reasoning import ASK_FOR_PLAN
from mavera.server.config import build_server_config
from mavera.settings import load_settings
from mavera.storage.database import Database
from mavera.storage.schema import ensure_schema

WORD = "word."
CAST = [persona.id for persona in PersonaLibrary.load().list()[:2]]
WEATHER = {"type": "function", "name": "weather", "parameters": {"type": "object", "properties": {}}}
MOSAIC = {"mosaic_mode": True, "persona_ids": CAST}
FORMAT = {"type": "json_schema", "name": "answer", "schema": {"type": "string"}}
ONE: dict[str, Any] = {"persona_id": CAST[0]}
KINDS: dict[str, dict[str, Any]] = {
    "plain": ONE,
    "truncation": {**ONE, "truncation": "auto"},
    "JSON format": {**ONE, "text": {"format": FORMAT}},
    "canvas": {**ONE, "canvas_mode": True},
    "analysis": {**ONE, "analysis_mode": True},
    "plan (high effort)": {**ONE, "reasoning": {"effort": "high"}},
    "the caller's tools": {**ONE, "tools": [WEATHER]},
    "server tools": {**ONE, "tools": [{"type": "web_search"}]},
    "idempotency key": {**ONE, "key": True},
    "mosaic": MOSAIC,
    "mosaic, everything on": {
        **MOSAIC,
        "truncation": "auto",
        "canvas_mode": True,
        "analysis_mode": True,
        "reasoning": {"effort": "high"},
        "key": True,
    },
    "everything on": {
        **ONE,
        "truncation": "auto",
        "canvas_mode": True,
        "analysis_mode": True,
        "reasoning": {"effort": "high"},
        "tools": [WEATHER, {"type": "web_search"}],
        "key": True,
    },
}


def _reply_to(body: dict[str, Any]) -> str:
    """Return what the engine says: a word, and something else to the server's own questions."""
    texts = [str(message["content"]) for message in body["messages"]]
    if texts[-1] == ASK_FOR_PLAN:
        return "A note."
    if "grammar" in body:
        return '{"function": "none"}' if texts[0].startswith("You sort messages") else f'"{WORD}"'
    return WORD


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(
        int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")
    )
    delta = {"content": _reply_to(json.loads(await reader.readexactly(length)))}
    chunks: list[dict[str, Any]] = [
        {"choices": [{"index": 0, "delta": delta}]},
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
    ]
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")
    for data in (*(json.dumps(chunk) for chunk in chunks), "[DONE]"):
        writer.write(f"data: {data}\n\n".encode())
        await writer.drain()
    writer.close()


@asynccontextmanager
async def _serving(folder: Path) -> AsyncIterator[tuple[int, str]]:
    """Serve in this loop. Yields the port and a key."""
    engine = await asyncio.start_server(_answer, "127.0.0.1", 0)
    engine_port = engine.sockets[0].getsockname()[1]
    settings = load_settings(
        {},
        data_dir=folder,
        log_level="warning",
        tools="none",
        searxng_url=f"http://127.0.0.1:{engine_port}",
        prefix_states_mib=0,
    )
    configure_logs(settings)
    async with Database.open(settings) as database:
        await ensure_schema(database)
        key = await make_first_key(database)
    assert key is not None
    app = create_app(settings, live_model=EmbeddedModel(StandInEngine(f"http://127.0.0.1:{engine_port}")))
    config = build_server_config(app, settings)
    config.port, config.lifespan = 0, "on"
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(0.01)
    try:
        yield server.servers[0].sockets[0].getsockname()[1], key
    finally:
        server.should_exit = True
        await task
        engine.close()
        await engine.wait_closed()


class _Watch:
    """The deepest stack on which the word was decoded, as the names of its frames, the innermost first."""

    def __init__(self) -> None:
        self.frames: list[str] = []

    def look(self, frame: FrameType, event: str, argument: object) -> None:
        is_decoded = event == "call" and frame.f_code is ChunkDecoder.feed.__code__
        if is_decoded and WORD.encode() in frame.f_locals["data"]:
            self.frames = max(self.frames, _our_frames(frame), key=len)


def _our_frames(frame: FrameType | None) -> list[str]:
    asynchronous = inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR
    names = []
    while frame is not None:
        code = frame.f_code
        if code.co_flags & asynchronous and "/mavera/" in code.co_filename:
            names.append(code.co_qualname)
        frame = frame.f_back
    return names


async def _ask(port: int, key: str, kind: str) -> None:
    asked = {"model": "mavera-1", "input": "Hm?", "stream": True, **KINDS[kind]}
    extra = f"Idempotency-Key: {kind}\r\n" if asked.pop("key", False) else ""
    body = json.dumps(asked).encode()
    head = (
        f"POST /api/v1/responses HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {key}\r\n{extra}"
        f"Content-Type: application/json\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head.encode() + body)
    answer = (await reader.read()).decode()
    writer.close()
    if "response.completed" not in answer:
        raise RuntimeError(f"'{kind}' failed: {answer}")


async def find_frames(kinds: Iterable[str] = tuple(KINDS)) -> dict[str, list[str]]:
    """Return the frames of each kind of request, the innermost first."""
    found: dict[str, list[str]] = {}
    with tempfile.TemporaryDirectory() as folder:
        async with _serving(Path(folder)) as (port, key):
            for kind in kinds:
                watch = _Watch()
                sys.setprofile(watch.look)
                try:
                    await _ask(port, key, kind)
                finally:
                    sys.setprofile(None)
                found[kind] = watch.frames
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = asyncio.run(find_frames())
    rows: list[dict[str, Any]] = [
        {"request": kind, "frames": len(frames), "from the model": " ".join(frames)}
        for kind, frames in found.items()
    ]
    most = max(row["frames"] for row in rows)
    show("frames per piece of text", rows, as_json=options.json, summary={"most": most})


if __name__ == "__main__":
    main()
