"""Collect the text of an answer that nobody waits for piece by piece."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from mavera.core.events import AnswerEvent, RunCompleted, TextDelta, TextWasReasoning
from mavera.core.usage import Usage


async def collect_text(events: AsyncGenerator[AnswerEvent, None]) -> tuple[str, Usage]:
    """Return the text of an answer without what was reasoning, and its usage. Closes `events`."""
    pieces: list[str] = []
    usage = Usage()
    async with aclosing(events):
        async for event in events:
            match event:
                case TextDelta(text):
                    pieces.append(text)
                case TextWasReasoning():
                    pieces.clear()
                case RunCompleted(_, spent):
                    usage = spent
                case _:
                    pass
    return "".join(pieces), usage
