"""The choice between search and answer is made by one read of what kind of question it is."""

import asyncio
import math
from collections.abc import AsyncGenerator

import pytest
from msgspec.structs import replace

from mavera.core.events import ModelEvent, RunCompleted, RunStarted, TextDelta, TokenLogprob
from mavera.core.items import FunctionCall, FunctionOutput, Item, Message, Text, make_message
from mavera.core.prompt import FunctionTool, Prompt, ToolChoice
from mavera.core.usage import Usage
from mavera.models.scripted import ScriptedModel
from mavera.runs.lookup import LookupReader, find_question


class Sorter(ScriptedModel):
    """Says "fact" with a probability that the test sets, or only in words if that is None."""

    def __init__(self, fact: float | None, word: str = "fact") -> None:
        super().__init__(keeps_prompts=False)
        self.asked: list[Prompt] = []
        self._fact, self._word = fact, word

    async def stream(self, prompt: Prompt) -> AsyncGenerator[ModelEvent, None]:
        self.asked.append(prompt)
        yield RunStarted()
        logprobs: tuple[TokenLogprob, ...] = ()
        if self._fact is not None:
            pair = (("fact", self._fact), (" View", 1 - self._fact))
            top = tuple(TokenLogprob(word, math.log(share)) for word, share in pair)
            logprobs = (replace(top[0], top=top),)
        yield TextDelta(self._word, logprobs)
        yield RunCompleted("length", Usage(input_tokens=300, output_tokens=1))


def tool(name: str) -> FunctionTool:
    return FunctionTool(name, "Does it.", {"type": "object"})


PROMPT = Prompt(
    (make_message("user", "When does the Oslo shop open?"),),
    tools=(tool("tavily_search"), tool("tavily_extract")),
)


def choose(model: Sorter, prompt: Prompt = PROMPT) -> tuple[ToolChoice, Usage]:
    reader = LookupReader(model, "tavily_search", "tavily_extract")
    chosen, usage = asyncio.run(reader.choose(prompt))
    assert chosen.items == prompt.items
    return chosen.tool_choice, usage


@pytest.mark.parametrize(
    ("fact", "made"),
    [
        (0.9, ToolChoice("required", ("tavily_search",))),
        (0.3, ToolChoice("required", ("tavily_search",))),
        (0.2, ToolChoice("none")),
    ],
)
def test_a_fact_is_searched_for_and_a_view_is_answered(fact: float, made: ToolChoice) -> None:
    model = Sorter(fact)

    choice, usage = choose(model)

    assert choice == made
    assert (usage.input_tokens, usage.reasoning_tokens) == (300, 1), "what it took counts as reasoning"
    assert model.asked[0].max_output_tokens == 1
    assert model.asked[0].sampling.temperature == 0


@pytest.mark.parametrize(("word", "mode"), [("fact", "required"), ("view", "none")])
def test_a_model_without_probabilities_is_taken_at_its_word(word: str, mode: str) -> None:
    assert choose(Sorter(None, word))[0].mode == mode


def test_other_functions_stay_with_the_model() -> None:
    prompt = replace(PROMPT, tools=(*PROMPT.tools, tool("get_weather")))

    assert choose(Sorter(0.9), prompt)[0] == ToolChoice("required", ("tavily_search", "get_weather"))
    assert choose(Sorter(0.1), prompt)[0] == ToolChoice("auto", ("get_weather",))


def test_a_question_with_an_address_may_read_the_page() -> None:
    prompt = replace(PROMPT, items=(make_message("user", "Do you like https://example.com/shop?"),))

    assert choose(Sorter(0.1), prompt)[0] == ToolChoice("auto", ("tavily_extract",))


@pytest.mark.parametrize("choice", [ToolChoice("none"), ToolChoice("required", ("tavily_search",))])
def test_a_choice_of_the_caller_is_not_read_again(choice: ToolChoice) -> None:
    model = Sorter(0.9)

    assert choose(model, replace(PROMPT, tool_choice=choice)) == (choice, Usage())
    assert model.asked == []


def test_without_a_search_nothing_is_read() -> None:
    model = Sorter(0.9)

    assert choose(model, replace(PROMPT, tools=(tool("get_weather"),)))[0] == ToolChoice()
    assert model.asked == []


ASKED = make_message("user", "When does the Oslo shop open on weekdays?")
RESULT: tuple[Item, ...] = (
    FunctionCall("c1", "tavily_search", "{}"),
    FunctionOutput("c1", (Text("At nine."),)),
)


@pytest.mark.parametrize(
    ("items", "question"),
    [
        ((ASKED,), ASKED.text),
        ((ASKED, make_message("assistant", "At nine."), make_message("user", "And on Sundays?")), None),
        ((ASKED, *RESULT), ""),
        ((ASKED, *RESULT, make_message("user", "Thank you, and what does it cost?")), "Thank you, and what"),
        ((), ""),
    ],
    ids=["a question", "a short one", "with results", "after results", "nothing"],
)
def test_the_question_is_what_was_asked_last(items: tuple[Item, ...], question: str | None) -> None:
    found = find_question(items)

    if question is None:
        last = items[-1]
        assert isinstance(last, Message)
        assert found == f"{ASKED.text} {last.text}"
    elif question:
        assert found is not None
        assert found.startswith(question)
    else:
        assert found is None
