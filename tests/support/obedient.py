"""A language model that can be held to a JSON schema, has no tools, and is otherwise a script."""

import json
from collections.abc import AsyncGenerator, Sequence
from typing import Any

from mavera.core.events import FinishReason, ModelEvent, RunCompleted, RunStarted, TextDelta
from mavera.core.prompt import Prompt
from mavera.core.usage import Usage
from mavera.models.minimal import build_minimal_value
from mavera.models.model import ModelProfile, ModelStatus


class ObedientModel:
    """
    Says `text` where nothing constrains it, else JSON: the next of `replies`, or the smallest that fits.

    `decides` is what it answers when asked which function to call.
    """

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
        self.profile = ModelProfile(sees_images=True, enforces_format=lambda _: kept)
        self.prompts: list[Prompt] = []

    async def start(self) -> None:
        return None

    async def close(self) -> None:
        return None

    def status(self) -> ModelStatus:
        return ModelStatus("ready", "It does as it is told.")

    async def stream(self, prompt: Prompt) -> AsyncGenerator[ModelEvent, None]:
        self.prompts.append(prompt)
        said = self._says(prompt)
        pieces = [said[n : n + 4] for n in range(0, len(said), 4)]
        limit = len(pieces) if prompt.max_output_tokens is None else prompt.max_output_tokens
        yield RunStarted()
        for piece in pieces[:limit]:
            yield TextDelta(piece)
        reason: FinishReason = "stop" if len(pieces) <= limit else "length"
        yield RunCompleted(reason, Usage(input_tokens=10, output_tokens=min(limit, len(pieces))))

    def _says(self, prompt: Prompt) -> str:
        if prompt.format.type == "text":
            return self.text
        schema = prompt.format.schema or {"type": "object"}
        if list(schema.get("properties", ())) == ["function"]:
            return json.dumps({"function": self.decides})
        reply = self.replies.pop(0) if self.replies else build_minimal_value(schema)
        return reply if isinstance(reply, str) else json.dumps(reply)
