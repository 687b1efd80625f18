"""
A language model that always says the same thing, for tests and for `mvra_test_` keys.

Same shapes and events as a real one, no time and no memory: an integrator's own tests
run against it, fast and free. What it says follows from the turn alone.
"""

import asyncio
import re
from collections.abc import AsyncGenerator, Sequence

from mavera.core.events import Accepted, Finished, FinishReason, ModelEvent, TextDelta
from mavera.core.items import Message
from mavera.core.turn import Turn
from mavera.core.usage import Usage
from mavera.models.model import ModelStatus


class ScriptedModel:
    """
    Says `deltas`, or where there are none repeats the last question in a fixed sentence.

    `delay_seconds` is waited before each delta.
    It says it sees images, unless told otherwise: an integrator's tests need no other model for them.
    After `fail_after` deltas it raises `failure`; -1 is before it takes the turn.
    """

    def __init__(
        self,
        deltas: Sequence[str] | None = None,
        *,
        delay_seconds: float = 0.0,
        fail_after: int | None = None,
        failure: Exception | None = None,
        sees_images: bool = True,
    ) -> None:
        self.sees_images = sees_images
        self._deltas = deltas
        self._delay_seconds = delay_seconds
        self._fail_after = fail_after
        self._failure = failure
        self.turns: list[Turn] = []
        self.running = 0

    async def start(self) -> None:
        return None

    async def close(self) -> None:
        return None

    def status(self) -> ModelStatus:
        return ModelStatus("ready", "The scripted model answers.")

    async def stream(self, turn: Turn) -> AsyncGenerator[ModelEvent, None]:
        self.turns.append(turn)
        deltas = self._deltas if self._deltas is not None else _words(_answer(turn))
        limit = turn.max_output_tokens if turn.max_output_tokens is not None else len(deltas)
        reason: FinishReason = "stop" if len(deltas) <= limit else "length"
        self.running += 1
        try:
            self._fail_at(-1)
            yield Accepted()
            for number, delta in enumerate(deltas[:limit]):
                self._fail_at(number)
                if self._delay_seconds:
                    await asyncio.sleep(self._delay_seconds)
                yield TextDelta(delta)
            self._fail_at(len(deltas))
            spent = sum(len(_words(item.text)) for item in turn.items if isinstance(item, Message))
            yield Finished(reason, Usage(input_tokens=spent, output_tokens=min(limit, len(deltas))))
        finally:
            self.running -= 1

    def _fail_at(self, number: int) -> None:
        if self._failure is not None and number == self._fail_after:
            raise self._failure


def _answer(turn: Turn) -> str:
    questions = [item.text for item in turn.items if isinstance(item, Message) and item.role == "user"]
    question = " ".join(questions[-1].split())[:200] if questions else ""
    return f"This is a scripted answer to: {question}"


def _words(text: str) -> list[str]:
    """Split into words that keep the space before them: joined they are the text again."""
    return re.findall(r"\s*\S+|\s+$", text)
