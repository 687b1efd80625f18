"""Scripted models whose context is small: one that counts beforehand, one that only refuses."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from mavera.core.events import ModelEvent
from mavera.core.prompt import Prompt
from mavera.errors import ConversationTooLong
from mavera.models.model import ModelContext
from mavera.models.scripted import ScriptedModel
from mavera.runs.truncation import most_tokens


class CountingModel(ScriptedModel):
    """Counts what `most_tokens` says, and notes how often it was asked."""

    def __init__(self, *args: Any, context_tokens: int, **options: Any) -> None:
        super().__init__(*args, **options)
        self.profile = replace(self.profile, context=ModelContext(context_tokens, self._count))
        self.counted = 0

    async def _count(self, prompt: Prompt) -> int:
        self.counted += 1
        return most_tokens(prompt)


class RefusingModel(ScriptedModel):
    """Refuses more than `most_items` items as a server does that cannot count beforehand."""

    def __init__(self, *args: Any, most_items: int, **options: Any) -> None:
        super().__init__(*args, **options)
        self._most_items = most_items
        self.refused = 0

    async def stream(self, prompt: Prompt) -> AsyncGenerator[ModelEvent, None]:
        if len(prompt.items) > self._most_items:
            self.refused += 1
            raise ConversationTooLong("The model refused the request: maximum context length is 8 items.")
        async with aclosing(super().stream(prompt)) as events:
            async for event in events:
                yield event
