"""
What a streamed token costs inside mavera, without any socket: bytes of a model's server → bytes for a client.

    python -m bench.inside [--tokens 20000] [--json]

The decoder, the runner, the encoders and the response are mavera's own; a model that reads
from memory and a client that throws away stand at the ends. Processor time, least of five runs.
"""

import argparse
import asyncio
import time
from collections.abc import AsyncGenerator
from typing import Any

from starlette.types import Message

from bench.report import show
from mavera.api.chat_completions.stream import ChatCompletionEncoder
from mavera.api.responses.stream import ResponseEncoder
from mavera.api.run_response import Encoder, RunResponse
from mavera.core.events import Accepted, Event, ModelEvent
from mavera.core.items import said
from mavera.core.turn import Turn
from mavera.models.chat_wire import ChunkDecoder
from mavera.models.scripted import ScriptedModel
from mavera.personas.library import PersonaLibrary
from mavera.personas.personas import Personas
from mavera.runs.loop import Runner

TOKEN = b'data: {"choices":[{"index":0,"delta":{"content":"a token "},"finish_reason":null}]}\n\n'
END = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'


class FromMemory(ScriptedModel):
    """Answers with the bytes of a model's server, one token in each piece."""

    def __init__(self, tokens: int) -> None:
        super().__init__()
        self._tokens = tokens

    async def stream(self, turn: Turn) -> AsyncGenerator[ModelEvent, None]:
        decoder = ChunkDecoder(turn)
        yield Accepted()
        for _ in range(self._tokens):
            for event in decoder.feed(TOKEN):
                yield event
        for event in (*decoder.feed(END), *decoder.close()):
            yield event


class Uncharged:
    """A run that nobody pays for."""

    def __init__(self, events: AsyncGenerator[Event, None]) -> None:
        self._events = events

    def __aiter__(self) -> "Uncharged":
        return self

    async def __anext__(self) -> Event:
        return await anext(self._events)

    async def aclose(self) -> None:
        await self._events.aclose()

    async def fail(self) -> None:
        await self.aclose()


async def microseconds(encoder: Encoder, tokens: int) -> float:
    runner = Runner(Personas(PersonaLibrary.load()), {"live": FromMemory(tokens)})
    run = Uncharged(runner.run(Turn("mavera-1", (said("user", "Hm?"),)), "live"))

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


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tokens", type=int, default=20_000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for wire in ("chat/completions", "responses"):
        runs = [asyncio.run(microseconds(encoder_of(wire), options.tokens)) for _ in range(5)]
        rows.append({"format": wire, "µs/token": min(runs), "most of five": max(runs)})
    show("a streamed token inside mavera, without sockets", rows, as_json=options.json, summary={})


if __name__ == "__main__":
    main()
