"""The plan before the answer: when there is one, what it costs, and that nobody sees it."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest
from msgspec.structs import replace

from mavera.core.events import AnswerEvent, ModelEvent, RunCompleted, RunStarted, TextDelta
from mavera.core.items import Message, make_message
from mavera.core.prompt import FunctionTool, OutputFormat, Prompt, Sampling
from mavera.core.usage import Usage
from mavera.errors import APIError, ConversationTooLong, ServiceUnavailable
from mavera.models.model import ModelProfile
from mavera.models.scripted import ScriptedModel
from mavera.runs.reasoning import PlanFirst, needs_plan
from tests.support import stages

PROMPT = Prompt((make_message("user", "Would you pay?"),), reasoning_effort="high")


class PlanningModel(ScriptedModel):
    """Writes one plan and one answer; `failure` is what the plan does after its first word."""

    def __init__(self, failure: Exception | None = None, *, longest_prompt: int = 99) -> None:
        super().__init__()
        self._plan_failure = failure
        self._longest_prompt = longest_prompt

    async def stream(self, prompt: Prompt) -> AsyncGenerator[ModelEvent, None]:
        self.prompts.append(prompt)
        if len(prompt.items) > self._longest_prompt:
            raise ConversationTooLong("Too long.")
        yield RunStarted()
        if len(self.prompts) == 1:
            yield TextDelta("It is dear.")
            if self._plan_failure is not None:
                raise self._plan_failure
            yield RunCompleted("stop", Usage(10, 4, 0))
        else:
            yield TextDelta("No.")
            yield RunCompleted("stop", Usage(12, 2, 8))


def answer(model: ScriptedModel, prompt: Prompt = PROMPT) -> list[AnswerEvent]:
    return stages.answer(model, prompt, lambda: PlanFirst(model))


def test_the_plan_is_read_by_the_answer_counted_and_never_shown() -> None:
    model = PlanningModel()

    events = answer(model)

    assert events == [
        TextDelta("No."),
        RunCompleted("stop", Usage(12, 6, 8, reasoning_tokens=4)),
    ]
    asked, answered = model.prompts
    assert asked.items[:1] == answered.items[:1] == PROMPT.items
    last = answered.items[-1]
    assert isinstance(last, Message)
    assert "It is dear." in last.text


def test_the_plan_asks_for_words_only_and_stays_within_half_the_callers_limit() -> None:
    prompt = Prompt(
        PROMPT.items,
        max_output_tokens=100,
        sampling=Sampling(stop=("x",), seed=3),
        format=OutputFormat("json_object"),
        tools=(FunctionTool("f"),),
        top_logprobs=2,
        reasoning_effort="max",
    )
    model = PlanningModel()

    answer(model, prompt)

    asked, answered = model.prompts
    assert (asked.max_output_tokens, answered.max_output_tokens) == (50, 96)
    assert (asked.tools, asked.format, asked.top_logprobs) == ((), OutputFormat(), None)
    assert asked.sampling == Sampling(seed=3)
    assert (answered.tools, answered.format, answered.top_logprobs) == (prompt.tools, prompt.format, 2)
    assert answered.sampling == prompt.sampling


@pytest.mark.parametrize("failure", [ServiceUnavailable("Down."), RuntimeError("Odd.")])
def test_a_plan_that_fails_is_done_without(failure: Exception) -> None:
    model = PlanningModel(failure)

    assert answer(model) == [TextDelta("No."), RunCompleted("stop", Usage(12, 2, 8))]
    assert model.prompts[1].items == PROMPT.items


def test_where_the_plan_does_not_fit_beside_the_conversation_the_answer_is_given_without() -> None:
    class Tight(PlanningModel):
        async def stream(self, prompt: Prompt) -> AsyncGenerator[ModelEvent, None]:
            self._longest_prompt = 2 if not self.prompts else 1
            async with aclosing(super().stream(prompt)) as events:
                async for event in events:
                    yield event

    model = Tight()

    assert answer(model)[0] == TextDelta("No.")
    assert model.prompts[-1].items == PROMPT.items


def test_a_failure_of_the_answer_itself_is_told() -> None:
    down = ScriptedModel(fail_after=-1, failure=ServiceUnavailable("Down."))

    with pytest.raises(APIError, match="Down"):
        answer(down)


@pytest.mark.parametrize(
    ("effort", "planned"),
    [("none", 0), ("minimal", 0), ("low", 0), ("medium", 0), ("high", 1), ("xhigh", 1), ("max", 1)],
)
def test_high_effort_plans_and_lower_effort_answers_at_once(effort: str, planned: int) -> None:
    prompt = Prompt(PROMPT.items, reasoning_effort=effort)  # type: ignore[arg-type]

    assert needs_plan(prompt, ScriptedModel()) == bool(planned)


def test_there_is_no_plan_where_the_limit_leaves_no_room_or_the_model_thinks_by_itself() -> None:
    thinker = ScriptedModel()
    thinker.profile = ModelProfile(reasons=True)

    assert not needs_plan(replace(PROMPT, max_output_tokens=20), ScriptedModel())
    assert not needs_plan(PROMPT, thinker)
