"""A language model that can be held to a JSON schema, has no tools, and is otherwise a script."""

import json
from collections.abc import AsyncGenerator, Sequence
from typing import Any

from mavera.core.events import Accepted, Finished, FinishReason, ModelEvent, TextDelta
from mavera.core.turn import OutputFormat, Turn
from mavera.core.usage import Usage
from mavera.models.minimal import minimal
from mavera.models.model import ModelStatus


class ObedientModel:
    """
    Says `text` where nothing constrains it, else JSON: the next of `replies`, or the smallest that fits.

    `decides` is what it answers when asked which function to call.
    """

    sees_images = True

    def __init__(
        self,
        text: str = "I like it.",
        *,
        decides: str = "none",
        replies: Sequence[Any] = (),
        kept: bool = True,
    ) -> None:
        self.text = text
        self.decides = decides
        self.replies = list(replies)
        self.kept = kept
        self.turns: list[Turn] = []

    async def start(self) -> None:
        return None

    async def close(self) -> None:
        return None

    def status(self) -> ModelStatus:
        return ModelStatus("ready", "It does as it is told.")

    def keeps_to(self, wanted: OutputFormat) -> bool:
        return self.kept

    async def stream(self, turn: Turn) -> AsyncGenerator[ModelEvent, None]:
        self.turns.append(turn)
        said = self._says(turn)
        pieces = [said[n : n + 4] for n in range(0, len(said), 4)]
        limit = len(pieces) if turn.max_output_tokens is None else turn.max_output_tokens
        yield Accepted()
        for piece in pieces[:limit]:
            yield TextDelta(piece)
        reason: FinishReason = "stop" if len(pieces) <= limit else "length"
        yield Finished(reason, Usage(input_tokens=10, output_tokens=min(limit, len(pieces))))

    def _says(self, turn: Turn) -> str:
        if turn.format.type == "text":
            return self.text
        schema = turn.format.schema or {"type": "object"}
        if list(schema.get("properties", ())) == ["function"]:
            return json.dumps({"function": self.decides})
        reply = self.replies.pop(0) if self.replies else minimal(schema)
        return reply if isinstance(reply, str) else json.dumps(reply)
