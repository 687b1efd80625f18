"""Stages open one after the other: a refusal is tried again, an answer never, and nothing is left open."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from mavera.analysis.analyst import Analyst
from mavera.core.events import AnswerEvent, ModelEvent, RunCompleted, RunStarted, TextDelta
from mavera.core.items import make_message
from mavera.core.prompt import OutputFormat, Prompt
from mavera.core.usage import Usage
from mavera.errors import ConversationTooLong, InvalidRequest, ServiceUnavailable
from mavera.models.scripted import ScriptedModel
from mavera.runs.analysing import AnalyseAnswer
from mavera.runs.reasoning import PlanFirst
from mavera.runs.schema_checker import SchemaChecker
from mavera.runs.stage import Events, Stage, join_stages, open_first_taken, open_model
from mavera.runs.structured_output import HoldToFormat
from mavera.runs.truncation import FitToContext

PROMPTS = tuple(Prompt((make_message("user", text),)) for text in ("a", "b", "c"))


class Odd(ScriptedModel):
    """Yields `events`, and notes whether it was closed."""

    def __init__(self, *events: ModelEvent) -> None:
        super().__init__()
        self._events = events
        self.closed = False

    async def stream(self, prompt: Prompt) -> AsyncGenerator[ModelEvent, None]:
        try:
            for event in self._events:
                yield event
        finally:
            self.closed = True


def test_the_first_prompt_that_is_taken_is_answered_and_no_further_one_is_tried() -> None:
    tried: list[Prompt] = []

    async def ask(prompt: Prompt) -> Events:
        tried.append(prompt)
        if len(tried) == 1:
            raise ConversationTooLong("Too long.")
        return await open_model(ScriptedModel(["ok"]), prompt)

    async def run() -> list[AnswerEvent]:
        async with aclosing(await open_first_taken(PROMPTS, ask)) as events:
            return [event async for event in events]

    assert asyncio.run(run())[0] == TextDelta("ok")
    assert tried == list(PROMPTS[:2])


@pytest.mark.parametrize("error", [ServiceUnavailable("Down."), InvalidRequest("Odd.")])
def test_an_error_that_is_no_refusal_is_raised_at_once(error: Exception) -> None:
    model = ScriptedModel(fail_after=-1, failure=error)

    with pytest.raises(type(error)):
        asyncio.run(open_first_taken(PROMPTS, lambda prompt: open_model(model, prompt)))

    assert len(model.prompts) == 1


def test_the_last_refusal_is_raised() -> None:
    model = ScriptedModel(fail_after=-1, failure=ConversationTooLong("Too long."))

    with pytest.raises(ConversationTooLong):
        asyncio.run(open_first_taken(PROMPTS, lambda prompt: open_model(model, prompt)))

    assert len(model.prompts) == len(PROMPTS)


def test_a_model_that_ends_before_it_begins_is_unavailable() -> None:
    with pytest.raises(ServiceUnavailable, match="stopped"):
        asyncio.run(open_model(Odd(), PROMPTS[0]))


def test_a_model_that_speaks_before_it_begins_is_closed_and_at_fault() -> None:
    model = Odd(TextDelta("Hm."), RunCompleted("stop", Usage()))

    with pytest.raises(TypeError, match="TextDelta"):
        asyncio.run(open_model(model, PROMPTS[0]))

    assert model.closed


def every_stage(model: ScriptedModel) -> list[Stage]:
    return [
        FitToContext(None, True, None, "input"),
        PlanFirst(model),
        HoldToFormat(OutputFormat("json_object"), model.profile, SchemaChecker()),
        AnalyseAnswer(model, Analyst()),
    ]


@pytest.mark.parametrize("number", range(4))
def test_a_stream_that_is_closed_before_its_first_event_closes_the_model(number: int) -> None:
    model = Odd(RunStarted(), TextDelta("{}"), RunCompleted("stop", Usage()))

    async def run() -> None:
        events = await join_stages([every_stage(model)[number]], model)(PROMPTS[0])
        assert not model.closed
        await events.aclose()

    asyncio.run(run())

    assert model.closed
