"""Calls from a model that has none: what it is asked, step by step, and what comes out."""

import asyncio
import json
from typing import Any

import pytest
from msgspec.structs import replace

from mavera.core.events import (
    ModelEvent,
    RunCompleted,
    RunStarted,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
)
from mavera.core.items import FunctionCall, FunctionOutput, Item, Message, Text, make_message
from mavera.core.prompt import FunctionTool, OutputFormat, Prompt, Repetition, Sampling, ToolChoice
from mavera.errors import APIError
from mavera.models.constrained.model import ConstrainedTools
from mavera.models.constrained.prompts import answer_prompt, one_call_prompt
from tests.support.obedient import ObedientModel

CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = FunctionTool("get_weather", "The weather of a city.\nMore of it.", CITY)
NOW = FunctionTool("now", "The time.")
PERSONA = (
    make_message("system", "You are Zoe."),
    make_message("user", "Hi"),
    make_message("assistant", "hey"),
)


def prompt(*items: Item, **options: Any) -> Prompt:
    conversation = items or (make_message("user", "Is it warm in Oslo?"),)
    options = {"tools": (WEATHER, NOW), "prefix_length": len(PERSONA), **options}
    return Prompt((*PERSONA, *conversation), **options)


def run(model: ObedientModel, asked: Prompt) -> list[ModelEvent]:
    async def collect() -> list[ModelEvent]:
        return [event async for event in ConstrainedTools(model).stream(asked)]

    events = asyncio.run(collect())
    assert [type(event) for event in events].count(RunStarted) == 1
    assert isinstance(events[0], RunStarted)
    assert isinstance(events[-1], RunCompleted)
    return events


def made(events: list[ModelEvent]) -> list[tuple[str, str]]:
    """Return name and arguments of the calls among the events."""
    calls: list[list[str]] = []
    for event in events:
        if isinstance(event, ToolCallStarted):
            calls.append([event.name, ""])
        elif isinstance(event, ToolCallDelta):
            calls[event.index][1] += event.arguments
    return [(name, arguments) for name, arguments in calls]


def words(events: list[ModelEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def ending(events: list[ModelEvent]) -> RunCompleted:
    last = events[-1]
    assert isinstance(last, RunCompleted)
    return last


def texts(asked: Prompt) -> list[str]:
    return [item.text for item in asked.items if isinstance(item, Message)]


def test_without_tools_the_turn_goes_through_as_it_is() -> None:
    model = ObedientModel()

    events = run(model, prompt(tools=()))

    assert words(events) == "I like it."
    assert model.prompts == [prompt(tools=())]


def test_free_to_choose_it_answers_in_words_with_a_prompt_that_knows_no_tools() -> None:
    model = ObedientModel(decides="none")

    events = run(model, prompt(max_output_tokens=50))
    decision, answer = model.prompts

    assert words(events) == "I like it."
    assert made(events) == []
    assert answer == prompt(tools=(), max_output_tokens=50)
    assert decision.sampling.temperature == 0
    assert decision.items[: len(PERSONA)] != PERSONA
    assert "- get_weather(city): The weather of a city.\n- now(): The time." in texts(decision)[0]
    assert texts(decision)[-1] == "Message: Is it warm in Oslo?"


def test_the_decision_counts_as_reasoning_and_usage_adds_up() -> None:
    events = run(ObedientModel("word", decides="none"), prompt())

    usage = ending(events).usage
    assert usage.input_tokens == 20
    assert usage.output_tokens == usage.reasoning_tokens + 1
    assert usage.reasoning_tokens > 0


def test_free_to_choose_it_calls_what_it_decided_on() -> None:
    calls = [{"name": "get_weather", "arguments": {"city": "Oslo"}}]
    model = ObedientModel(decides="get_weather", replies=[calls])

    events = run(model, prompt())

    assert made(events) == [("get_weather", '{"city": "Oslo"}')]
    assert words(events) == ""
    assert ending(events).reason == "tool_calls"
    schema = model.prompts[1].format.schema
    assert schema is not None
    assert schema["prefixItems"][0]["properties"]["name"] == {"const": "get_weather"}
    assert schema["maxItems"] > 1


def test_the_tools_are_told_after_the_persona_and_before_the_conversation() -> None:
    model = ObedientModel(decides="get_weather")

    run(model, prompt())
    calling = model.prompts[1]

    assert calling.items[: len(PERSONA)] == PERSONA
    assert "get_weather" in texts(calling)[len(PERSONA)]
    assert texts(calling)[len(PERSONA) + 1] == "Is it warm in Oslo?"


def test_several_calls_come_from_one_list() -> None:
    calls = [{"name": "get_weather", "arguments": {"city": name}} for name in ("Rome", "Oslo")]
    model = ObedientModel(replies=[calls])

    events = run(model, prompt(tool_choice=ToolChoice("required")))

    assert [json.loads(arguments) for _, arguments in made(events)] == [{"city": "Rome"}, {"city": "Oslo"}]
    assert len({event.call_id for event in events if isinstance(event, ToolCallStarted)}) == 2
    assert len(model.prompts) == 1


def test_without_parallel_calls_there_is_room_for_one() -> None:
    model = ObedientModel()

    run(model, prompt(tool_choice=ToolChoice("required"), parallel_tool_calls=False))

    schema = model.prompts[0].format.schema
    assert schema is not None
    assert schema["maxItems"] == 1


def test_a_named_function_is_called_with_its_own_schema_and_nothing_around_it() -> None:
    model = ObedientModel(replies=[{"city": "Oslo"}])

    events = run(model, prompt(tool_choice=ToolChoice("required", ("get_weather",))))

    assert made(events) == [("get_weather", '{"city": "Oslo"}')]
    assert model.prompts[0].format.schema == CITY


def test_a_function_without_parameters_is_called_with_an_empty_object() -> None:
    events = run(ObedientModel(), prompt(tool_choice=ToolChoice("required", ("now",))))

    assert made(events) == [("now", "{}")]


def test_allowed_tools_are_the_only_ones_to_decide_among() -> None:
    model = ObedientModel()

    run(model, prompt(tool_choice=ToolChoice("auto", ("now",))))

    schema = model.prompts[0].format.schema
    assert schema is not None
    assert schema["properties"]["function"]["enum"] == ["none", "now"]


def test_choice_none_asks_once_and_offers_nothing() -> None:
    model = ObedientModel('{"name": "get_weather"}')

    events = run(model, prompt(tool_choice=ToolChoice("none")))

    assert words(events) == '{"name": "get_weather"}'
    assert len(model.prompts) == 1
    assert model.prompts[0].tools == ()


def test_references_inside_parameters_follow_them_into_the_list() -> None:
    parameters = {
        "type": "object",
        "properties": {"at": {"$ref": "#/$defs/Place"}},
        "required": ["at"],
        "$defs": {"Place": {"type": "string", "minLength": 2}},
    }
    tools = (FunctionTool("go", None, parameters), FunctionTool("stay", None, parameters))

    events = run(ObedientModel(), prompt(tools=tools, tool_choice=ToolChoice("required")))

    assert made(events) == [("go", '{"at": "xx"}')]


def test_a_call_that_is_said_is_made_instead() -> None:
    model = ObedientModel(
        'Sure.\n```json\n{"name": "get_weather", "arguments": {"city": "Os',
        replies=[[{"name": "get_weather", "arguments": {"city": "Oslo"}}]],
    )

    events = run(model, prompt())

    assert words(events).strip() == "Sure."
    assert made(events) == [("get_weather", '{"city": "Oslo"}')]
    assert ending(events).reason == "tool_calls"


def test_json_that_was_asked_for_is_never_taken_for_a_call() -> None:
    reply = {"name": "get_weather"}
    model = ObedientModel(replies=[reply])

    events = run(model, prompt(format=OutputFormat("json_object")))

    assert json.loads(words(events)) == reply


@pytest.mark.parametrize("choice", [ToolChoice("required"), ToolChoice("required", ("get_weather",))])
def test_a_call_cut_off_ends_with_length(choice: ToolChoice) -> None:
    events = run(ObedientModel(), prompt(tool_choice=choice, max_output_tokens=2))

    assert ending(events).reason == "length"


@pytest.mark.parametrize("choice", [ToolChoice("required"), ToolChoice("required", ("get_weather",))])
def test_a_server_that_does_not_keep_to_the_schema_is_an_error_and_no_call(choice: ToolChoice) -> None:
    with pytest.raises(APIError):
        run(ObedientModel(replies=["I would rather talk."] * 2), prompt(tool_choice=choice))


@pytest.mark.parametrize("choice", [ToolChoice("required"), ToolChoice("required", ("get_weather",))])
def test_calls_that_could_not_be_decoded_under_their_schema_are_asked_for_with_any_arguments(
    choice: ToolChoice,
) -> None:
    model = ObedientModel(replies=["I would rather talk."])

    events = run(model, prompt(tool_choice=choice))

    assert ending(events).reason == "tool_calls"
    assert "city" in str(model.prompts[0].format.schema)
    assert "city" not in str(model.prompts[1].format.schema)


@pytest.mark.parametrize("choice", [ToolChoice("required"), ToolChoice("required", ("get_weather",))])
def test_calls_that_begin_well_and_end_badly_are_asked_for_with_any_arguments(choice: ToolChoice) -> None:
    begun = '[{"name": "get_weather", "arguments": {' if len(choice.names) != 1 else '{"city":'
    model = ObedientModel(replies=[f"{begun} Oslo"], kept=False)

    events = run(model, prompt(tool_choice=choice))

    assert [name for name, _ in made(events)] == ["get_weather"]
    assert ending(events).reason == "tool_calls"
    assert "city" not in str(model.prompts[1].format.schema)


def test_arguments_are_drawn_without_the_stops_and_penalties_of_the_answer() -> None:
    model = ObedientModel(decides="now")
    sampling = Sampling(temperature=0.7, top_p=0.9, frequency_penalty=1.0, seed=4, stop=("\n",))

    run(model, prompt(sampling=sampling, top_logprobs=2))

    assert model.prompts[1].sampling == Sampling(temperature=0.7, top_p=0.9, seed=4)
    assert model.prompts[1].top_logprobs is None


def test_what_was_called_before_is_told_in_words_in_the_message_that_asked() -> None:
    model = ObedientModel()
    before = (
        make_message("user", "Warm in Oslo and Rome?"),
        FunctionCall("c1", "get_weather", '{"city": "Oslo"}'),
        FunctionCall("c2", "get_weather", '{"city": "Rome"}'),
        FunctionOutput("c1", (Text("3 degrees"),)),
        FunctionOutput("c2", (Text("19 degrees"),)),
    )

    run(model, prompt(*before))
    decision, answer = model.prompts

    spoken = answer.items[len(PERSONA) :]
    assert [item.role for item in spoken if isinstance(item, Message)] == ["user"]
    assert texts(answer)[-1].startswith("Warm in Oslo and Rome?")
    assert 'get_weather {"city": "Oslo"} gives: 3 degrees' in texts(answer)[-1]
    assert 'get_weather {"city": "Rome"} gives: 19 degrees' in texts(answer)[-1]
    assert "3 degrees" in texts(decision)[-1]
    assert "19 degrees" in texts(decision)[-1]


def test_messages_alternate_around_a_call_without_an_output() -> None:
    asked = (make_message("user", "Warm in Oslo?"), FunctionCall("c1", "get_weather", '{"city": "Oslo"}'))

    items = answer_prompt(Prompt((*asked, make_message("user", "Never mind. Do you ski?")))).items

    assert [item.role for item in items if isinstance(item, Message)] == ["user", "assistant", "user"]


def test_closing_the_stream_closes_the_model() -> None:
    closed: list[bool] = []

    class Watched(ObedientModel):
        async def stream(self, prompt: Prompt) -> Any:
            try:
                async for event in super().stream(prompt):
                    yield event
            finally:
                closed.append(True)

    async def leave() -> None:
        events = ConstrainedTools(Watched()).stream(prompt(tools=()))
        await anext(events)
        await events.aclose()
        assert closed == [True]

    asyncio.run(leave())


def test_an_answer_from_results_is_drawn_without_a_penalty_on_their_words() -> None:
    repetition = Repetition(penalty=1.05, dry_multiplier=0.8)
    recommended = Sampling(temperature=0.6, min_p=0.1, repetition=repetition)
    asked = make_message("user", "What does it cost?")
    results = (FunctionCall("c1", "search", "{}"), FunctionOutput("c1", (Text("2,490 kroner"),)))
    found = Prompt((asked, *results), sampling=recommended, preferences=frozenset({"temperature"}))

    assert answer_prompt(found).sampling == Sampling(temperature=0.3, min_p=0.1)
    assert answer_prompt(replace(found, preferences=frozenset())).sampling.temperature == 0.6
    assert answer_prompt(replace(found, items=(asked,))).sampling == recommended


def test_the_question_follows_its_results_once_more() -> None:
    asked = make_message("user", "What does it cost?")
    results = (FunctionCall("c1", "search", "{}"), FunctionOutput("c1", (Text("2,490 kroner"),)))

    last = answer_prompt(Prompt((asked, *results), hint=" (And why?)")).items[-1]

    assert isinstance(last, Message)
    assert last.text.endswith("With that, answer my question: What does it cost?")


def test_arguments_of_calls_are_drawn_at_0_unless_the_caller_chose() -> None:
    tool = FunctionTool("search", None, {"type": "object"})
    asked = Prompt((make_message("user", "Hm?"),), sampling=Sampling(temperature=0.6, seed=1))

    recommended = replace(asked, preferences=frozenset({"temperature"}))
    assert one_call_prompt(recommended, tool).sampling == Sampling(temperature=0.0, seed=1)
    assert one_call_prompt(asked, tool).sampling.temperature == 0.6
