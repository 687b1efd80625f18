"""Scripted models whose context is small: one that counts beforehand, one that only refuses."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from mavera.core.events import ModelEvent
from mavera.core.turn import Turn
from mavera.errors import ConversationTooLong
from mavera.models.scripted import ScriptedModel
from mavera.runs.truncation import most_tokens


class CountingModel(ScriptedModel):
    """Counts what `most_tokens` says, and notes how often it was asked."""

    def __init__(self, *args: Any, context_tokens: int, **options: Any) -> None:
        super().__init__(*args, **options)
        self.context_tokens = context_tokens
        self.counted = 0

    async def count_tokens(self, turn: Turn) -> int:
        self.counted += 1
        return most_tokens(turn)


class RefusingModel(ScriptedModel):
    """Refuses more than `most_items` items as a server does that cannot count beforehand."""

    def __init__(self, *args: Any, most_items: int, **options: Any) -> None:
        super().__init__(*args, **options)
        self._most_items = most_items
        self.refused = 0

    async def stream(self, turn: Turn) -> AsyncGenerator[ModelEvent, None]:
        if len(turn.items) > self._most_items:
            self.refused += 1
            raise ConversationTooLong(
                "The model refused the request: maximum context length is 8 items.", param=turn.items_param
            )
        async with aclosing(super().stream(turn)) as events:
            async for event in events:
                yield event
