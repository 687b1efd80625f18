"""
What a streamed token and a whole request cost inside mavera, without any socket.

    python -m bench.inside [--tokens 20000] [--requests 4000] [--responses kept|unkept] [--idempotent]

A token: bytes of a model's server → bytes for a client. The decoder, the runner, the encoders and the
response are mavera's own; a model that reads from memory and a client that throws away stand at the ends.

A request: the application as `serve` has it, with key, persona, limits and the ledger in SQLite, asked
by 32 at a time. "the loop's thread" is what the event loop's thread took of it, the rest is SQLite's.
With --responses, /responses is asked instead of /chat/completions, and its answers are kept or not.
With --idempotent, each has an Idempotency-Key of its own. "elapsed" is by the clock, with the disk.
--json prints JSON.

Processor time, least of five runs.
"""

import argparse
import asyncio
import json
import os
import tempfile
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvloop
from starlette.applications import Starlette
from starlette.types import Message

from bench.load import ANSWER
from bench.report import show
from mavera.accounts.first_run import make_first_key
from mavera.accounts.principal import Principal
from mavera.api.chat_completions.stream import ChatCompletionEncoder
from mavera.api.http.dispatch import Encoder, RunResponse
from mavera.api.responses.stream import ResponseEncoder
from mavera.app import create_app
from mavera.core.events import Event, ModelEvent, RunStarted
from mavera.core.items import make_message
from mavera.core.prompt import Prompt
from mavera.core.turn import Turn
from mavera.logs import configure_logs
from mavera.models.chunk_decoder import ChunkDecoder
from mavera.models.scripted import ScriptedModel
from mavera.personas.builtin import PersonaLibrary
from mavera.personas.catalogue import Personas
from mavera.runs.loop import Runner
from mavera.server.config import settle_garbage
from mavera.settings import Settings
from mavera.storage.database import Database
from mavera.storage.schema import ensure_schema

AT_ONCE = 32
WHOLE = json.dumps(ANSWER).encode()
TOKEN = b'data: {"choices":[{"index":0,"delta":{"content":"a token "},"finish_reason":null}]}\n\n'
END = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'


class FromMemory(ScriptedModel):
    """Answers with the bytes of a model's server, one token in each piece."""

    def __init__(self, tokens: int) -> None:
        super().__init__()
        self._tokens = tokens

    async def stream(self, prompt: Prompt) -> AsyncGenerator[ModelEvent, None]:
        decoder = ChunkDecoder(prompt)
        yield RunStarted()
        for _ in range(self._tokens):
            for event in decoder.feed(TOKEN):
                yield event
        for event in (*decoder.feed(END), *decoder.close()):
            yield event


class WholeFromMemory(ScriptedModel):
    """Answers with the one body of a model's server that does not stream."""

    async def stream(self, prompt: Prompt) -> AsyncGenerator[ModelEvent, None]:
        decoder = ChunkDecoder(prompt)
        yield RunStarted()
        for event in (*decoder.feed_body(WHOLE), *decoder.close()):
            yield event


class Uncharged:
    """A run that nobody pays for."""

    def __init__(self, events: AsyncGenerator[Event, None]) -> None:
        self._events = events

    def __aiter__(self) -> "Uncharged":
        return self

    @property
    def is_queued(self) -> bool:
        return False

    async def enter(self) -> None:
        return None

    async def __anext__(self) -> Event:
        return await anext(self._events)

    async def aclose(self) -> None:
        await self._events.aclose()

    async def fail(self) -> None:
        await self.aclose()


async def microseconds(encoder: Encoder, tokens: int) -> float:
    runner = Runner(Personas(PersonaLibrary.load()), {"live": FromMemory(tokens)})
    run = Uncharged(runner.run(Turn("mavera-1", (make_message("user", "Hm?"),)), Principal.local()))

    async def receive() -> Message:
        await asyncio.sleep(3600)
        return {"type": "http.disconnect"}

    async def send(_: Message) -> None:
        return None

    before = time.process_time()
    await RunResponse(run, encoder, stream=True, heartbeat_seconds=60)({"type": "http"}, receive, send)
    return (time.process_time() - before) / tokens * 1e6


def encoder_of(wire: str) -> Encoder:
    if wire == "responses":
        head = {"id": "resp_1", "created_at": 0, "model": "mavera-1"}
        return ResponseEncoder(head, new_id=lambda prefix: f"{prefix}_1", clock=lambda: 0)
    return ChatCompletionEncoder("chatcmpl_1", 0, "mavera-1")


@dataclass(frozen=True)
class Question:
    """The request that is asked again and again; an idempotent one has a key of its own each time."""

    path: str
    body: bytes
    headers: list[tuple[bytes, bytes]]
    idempotent: bool

    @classmethod
    def of(cls, key: str | None, *, responses: str | None, idempotent: bool) -> "Question":
        said_by_user = [{"role": "user", "content": "How do you feel about sustainable fashion?"}]
        persona = PersonaLibrary.load().find("Gen Z Consumer").id
        asked = (
            {"input": said_by_user, "store": responses == "kept"} if responses else {"messages": said_by_user}
        )
        body = json.dumps({"model": "mavera-1", "persona_id": persona, **asked}).encode()
        headers = [
            (b"host", b"127.0.0.1"),
            (b"content-type", b"application/json"),
            (b"authorization", f"Bearer {key}".encode()),
            (b"content-length", str(len(body)).encode()),
        ]
        return cls(f"/api/v1/{'responses' if responses else 'chat/completions'}", body, headers, idempotent)

    def all_headers(self) -> list[tuple[bytes, bytes]]:
        if not self.idempotent:
            return self.headers
        return [*self.headers, (b"idempotency-key", os.urandom(8).hex().encode())]


async def request_microseconds(
    requests: int, folder: Path, *, responses: str | None, idempotent: bool
) -> tuple[float, ...]:
    """Return a request's processor time, of the process and of the loop's thread, and the time elapsed."""
    settings = Settings(data_dir=folder, log_level="warning", model_backend="scripted")
    configure_logs(settings)
    async with Database.open(settings) as database:
        await ensure_schema(database)
        key = await make_first_key(database)
    app = create_app(settings, live_model=WholeFromMemory())
    question = Question.of(key, responses=responses, idempotent=idempotent)
    async with app.router.lifespan_context(app):
        await _ask(app, question, AT_ONCE)
        settle_garbage()
        before = time.process_time(), time.thread_time(), time.perf_counter()
        each = requests // AT_ONCE
        await asyncio.gather(*(_ask(app, question, each) for _ in range(AT_ONCE)))
        after = time.process_time(), time.thread_time(), time.perf_counter()
        return tuple((end - begin) / (each * AT_ONCE) * 1e6 for begin, end in zip(before, after, strict=True))


async def _ask(app: Starlette, question: Question, times: int) -> None:
    async def send(message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] != 200:
            raise RuntimeError(f"answered {message['status']}")

    for _ in range(times):
        body_given = False

        async def receive() -> Message:
            nonlocal body_given
            if body_given:
                await asyncio.sleep(3600)  # the client stays
            body_given = True
            return {"type": "http.request", "body": question.body, "more_body": False}

        scope = {
            "type": "http",
            "method": "POST",
            "path": question.path,
            "headers": question.all_headers(),
            "query_string": b"",
        }
        await app(scope, receive, send)


def _on_uvloop(requests: int, folder: Path, *, responses: str | None, idempotent: bool) -> tuple[float, ...]:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(request_microseconds(requests, folder, responses=responses, idempotent=idempotent))


def requests_row(requests: int, *, responses: str | None, idempotent: bool) -> dict[str, Any]:
    runs = []
    for _ in range(5):
        with tempfile.TemporaryDirectory() as folder:
            runs.append(_on_uvloop(requests, Path(folder), responses=responses, idempotent=idempotent))
    whole, thread, elapsed = zip(*runs, strict=True)
    return {
        "µs/request": min(whole),
        "of it the loop's thread": min(thread),
        "most of five": max(whole),
        "elapsed": min(elapsed),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tokens", type=int, default=20_000)
    parser.add_argument("--requests", type=int, default=4_000)
    parser.add_argument("--responses", choices=("kept", "unkept"))
    parser.add_argument("--idempotent", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for wire in ("chat/completions", "responses"):
        runs = [asyncio.run(microseconds(encoder_of(wire), options.tokens)) for _ in range(5)]
        rows.append({"format": wire, "µs/token": min(runs), "most of five": max(runs)})
    summary = requests_row(options.requests, responses=options.responses, idempotent=options.idempotent)
    show("a streamed token and a request inside mavera", rows, as_json=options.json, summary=summary)


if __name__ == "__main__":
    main()
