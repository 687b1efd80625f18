"""Run a prompt through stages to a model, without a server."""

import asyncio
from collections.abc import Callable
from contextlib import aclosing

from mavera.core.events import AnswerEvent
from mavera.core.prompt import Prompt
from mavera.models.model import Model
from mavera.runs.stage import Stage, join_stages


def answer(model: Model, prompt: Prompt, make_stage: Callable[[], Stage]) -> list[AnswerEvent]:
    """Return the events after `RunStarted`. Raises what the stage or the model raises."""

    async def run() -> list[AnswerEvent]:
        ask = join_stages([make_stage()], model)
        async with aclosing(await ask(prompt)) as events:
            return [event async for event in events]

    return asyncio.run(run())
