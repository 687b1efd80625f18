"""Print an answer: word-wrapped while it arrives, or as one JSON value at the end."""

import sys
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from rich.console import Console

from mavera.cli.drawing import draw_analysis
from mavera.cli.options import print_json
from mavera.cli.wrapping import WordWriter
from mavera.core.events import (
    Event,
    RefusalDelta,
    RunCompleted,
    RunFailed,
    RunPrepared,
    ServerCallEnded,
    ServerCallStarted,
    TextDelta,
    TextWasReasoning,
)
from mavera.core.server_calls import ServerCall, ServerOutcome
from mavera.core.text import format_count


class AnswerPrinter:
    """
    Prints one answer. `text` is what has arrived of it.

    `console` writes to standard error: what is being done, and the figures at the end.
    """

    def __init__(self, console: Console, answered_by: str, *, as_json: bool = False) -> None:
        self._waiting = console.status("Reading the question …")
        self._console = console
        self._answered_by = answered_by
        self._as_json = as_json
        self._persona_id: str | None = None
        self._pieces: list[str] = []
        self._calls: list[dict[str, Any]] = []
        self._started = time.perf_counter()
        self._first = 0.0
        width = Console().width if sys.stdout.isatty() else None
        self._writer = WordWriter(sys.stdout.write, width)

    @property
    def text(self) -> str:
        return "".join(self._pieces)

    async def print(self, events: AsyncGenerator[Event, None]) -> None:
        """Print the answer to its end, and close `events`. Raises the APIError that ended it early."""
        try:
            with self._waiting:
                async with aclosing(events):
                    async for event in events:
                        self._take(event)
        except BaseException:
            self._break_line()
            raise

    def _take(self, event: Event) -> None:
        match event:
            case RunPrepared(speakers) if speakers:
                self._persona_id = speakers[0].id
            case TextDelta(text) | RefusalDelta(text):
                self._print_text(text)
            case TextWasReasoning():
                self._withdraw()
            case ServerCallStarted(call):
                self._note_call(call)
            case ServerCallEnded(outcome):
                self._note_outcome(outcome)
            case RunFailed(error):
                raise error
            case RunCompleted():
                self._finish(event)

    def _print_text(self, text: str) -> None:
        if not self._pieces:
            self._first = time.perf_counter() - self._started
            self._waiting.stop()
        self._pieces.append(text)
        if not self._as_json:
            self._writer.add(text)
            sys.stdout.flush()

    def _withdraw(self) -> None:
        """
        Drop the text, because it was reasoning.

        A terminal has shown it already, and the answer follows below it.
        """
        self._break_line()
        self._pieces.clear()

    def _note_call(self, call: ServerCall) -> None:
        self._waiting.update(f"{call.name}: {call.target} …")
        if self._pieces:
            self._break_line()
            self._pieces.append("\n\n")

    def _note_outcome(self, outcome: ServerOutcome) -> None:
        call = outcome.call
        self._calls.append(
            {
                "name": call.name,
                "arguments": call.arguments,
                "status": outcome.status,
                "duration_ms": outcome.milliseconds,
                "result": outcome.summary,
                **({"sources": outcome.sources} if outcome.sources else {}),
            }
        )
        if not self._as_json:
            line = f"{call.name} ({outcome.status}, {outcome.milliseconds} ms): {outcome.summary}"
            sources = [f"  [{one.number}] {one.title} · {one.url}" for one in outcome.sources]
            self._console.print("\n".join([line, *sources]), style="dim", markup=False, soft_wrap=True)

    def _break_line(self) -> None:
        if self._pieces and not self._as_json:
            self._writer.add("\n")
            sys.stdout.flush()

    def _finish(self, done: RunCompleted) -> None:
        seconds = time.perf_counter() - self._started
        self._break_line()
        if self._as_json:
            self._print_json(done, seconds)
            return
        if done.analysis is not None:
            shown = Console(highlight=False)
            for part in draw_analysis(done.analysis, self.text):
                shown.print(part)
        if self._console.is_terminal:
            figures = [f"{format_count(done.usage.output_tokens, 'token')} in {seconds:.1f} s"]
            if done.usage.credits:
                figures.append(format_count(done.usage.credits, "credit"))
            if done.reason == "length":
                figures.append("cut by the token limit")
            self._console.print(" · ".join(figures), style="dim", markup=False)

    def _print_json(self, done: RunCompleted, seconds: float) -> None:
        print_json(
            {
                "text": self.text,
                "persona_id": self._persona_id,
                "finish_reason": done.reason,
                "answered_by": self._answered_by,
                **({"tool_calls": self._calls} if self._calls else {}),
                "usage": done.usage,
                "seconds": round(seconds, 3),
                "seconds_to_first_token": round(self._first, 3),
                **({"analysis": done.analysis} if done.analysis is not None else {}),
            }
        )
