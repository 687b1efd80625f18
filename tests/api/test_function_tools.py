"""Function calls through the official client, in both formats, streamed and not."""

import json
from typing import Any

import openai
import pytest

from mavera.api.responses.namespaces import join_name
from mavera.errors import APIError
from mavera.models.constrained.model import ConstrainedTools
from mavera.models.scripted import ScriptedModel
from mavera.personas.builtin import PersonaLibrary
from tests.conftest import Serve
from tests.support.obedient import ObedientModel

GEN_Z = PersonaLibrary.load().find("Gen Z Consumer")
CITY = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
WEATHER: Any = {"type": "function", "name": "get_weather", "parameters": CITY, "strict": True}
NOW: Any = {"type": "function", "name": "now", "parameters": None, "strict": False}
NESTED: list[Any] = [
    {"type": "function", "function": {"name": "get_weather", "parameters": CITY, "strict": True}},
    {"type": "function", "function": {"name": "now"}},
]
TWO = [{"name": "get_weather", "arguments": {"city": name}} for name in ("Rome", "Oslo")]
ASKED: list[Any] = [{"role": "user", "content": "Warm in Rome, and in Oslo?"}]


def constrained(**script: Any) -> ConstrainedTools:
    return ConstrainedTools(ObedientModel(**script))


def test_a_response_has_the_calls_as_items(serve: Serve) -> None:
    client = serve(constrained(replies=[TWO])).client()

    response = client.responses.create(
        model="mavera-1",
        input="Warm in Rome, and in Oslo?",
        tools=[WEATHER, NOW],
        tool_choice="required",
        extra_body={"persona_id": GEN_Z.id},
    )

    calls = [item for item in response.output if item.type == "function_call"]
    assert len(calls) == len(response.output) == 2
    assert [json.loads(call.arguments)["city"] for call in calls] == ["Rome", "Oslo"]
    assert {call.status for call in calls} == {"completed"}
    assert len({call.call_id for call in calls}) == len({call.id for call in calls}) == 2


def test_a_response_streams_the_arguments(serve: Serve) -> None:
    client = serve(constrained(replies=[TWO])).client()

    events = list(
        client.responses.create(
            model="mavera-1", input="Hm?", tools=[WEATHER, NOW], tool_choice="required", stream=True
        )
    )

    deltas = {0: "", 1: ""}
    for event in events:
        if event.type == "response.function_call_arguments.delta":
            deltas[event.output_index] += event.delta
    assert [json.loads(text)["city"] for text in deltas.values()] == ["Rome", "Oslo"]
    last = events[-1]
    assert last.type == "response.completed"
    assert [item.type for item in last.response.output] == ["function_call"] * 2


def test_a_chat_completion_has_the_calls_and_says_so(serve: Serve) -> None:
    client = serve(constrained(replies=[TWO])).client()

    choice = client.chat.completions.create(
        model="mavera-1", messages=ASKED, tools=NESTED, tool_choice="required"
    ).choices[0]

    assert choice.finish_reason == "tool_calls"
    assert choice.message.content is None
    calls: list[Any] = choice.message.tool_calls or []
    assert [json.loads(call.function.arguments)["city"] for call in calls] == ["Rome", "Oslo"]


def test_chat_chunks_add_up_to_the_unstreamed_calls(serve: Serve) -> None:
    client = serve(constrained(replies=[TWO])).client()

    chunks = client.chat.completions.create(
        model="mavera-1", messages=ASKED, tools=NESTED, tool_choice="required", stream=True
    )

    arguments, reason = {0: "", 1: ""}, None
    for chunk in chunks:
        for call in chunk.choices[0].delta.tool_calls or []:
            arguments[call.index] += (call.function and call.function.arguments) or ""
        reason = chunk.choices[0].finish_reason or reason
    assert [json.loads(text)["city"] for text in arguments.values()] == ["Rome", "Oslo"]
    assert reason == "tool_calls"


def test_free_to_choose_the_answer_streams_as_text(serve: Serve) -> None:
    client = serve(constrained(text="I never look.", decides="none")).client()

    with client.responses.stream(model="mavera-1", input="Hm?", tools=[WEATHER]) as stream:
        deltas = [event.delta for event in stream if event.type == "response.output_text.delta"]

    assert "".join(deltas) == "I never look."
    assert len(deltas) > 1


def test_free_to_choose_it_calls(serve: Serve) -> None:
    client = serve(constrained(decides="get_weather")).client()

    response = client.responses.create(model="mavera-1", input="Warm in Oslo?", tools=[WEATHER, NOW])

    assert [item.type for item in response.output] == ["function_call"]


def test_a_result_fed_back_gives_words(serve: Serve) -> None:
    model = ObedientModel("Three degrees, so no.")
    client = serve(ConstrainedTools(model)).client()

    response = client.responses.create(
        model="mavera-1",
        input=[
            {"role": "user", "content": "Warm in Oslo?"},
            {
                "type": "function_call",
                "call_id": "c1",
                "name": "get_weather",
                "arguments": '{"city": "Oslo"}',
            },
            {"type": "function_call_output", "call_id": "c1", "output": "3 degrees"},
        ],
        tools=[WEATHER],
    )

    assert response.output_text == "Three degrees, so no."


def test_a_tool_message_of_chat_gives_words(serve: Serve) -> None:
    client = serve(constrained(text="Three degrees, so no.")).client()
    call: Any = {"id": "c1", "type": "function", "function": {"name": "now", "arguments": "{}"}}

    completion = client.chat.completions.create(
        model="mavera-1",
        messages=[
            {"role": "user", "content": "How late?"},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c1", "content": "14:05"},
        ],
        tools=NESTED,
    )

    assert completion.choices[0].message.content == "Three degrees, so no."


def test_a_call_cut_off_is_incomplete_and_length(serve: Serve) -> None:
    served = serve(constrained())

    response = served.client().responses.create(
        model="mavera-1", input="Hm?", tools=[WEATHER], tool_choice="required", max_output_tokens=1
    )
    completion = served.client().chat.completions.create(
        model="mavera-1", messages=ASKED, tools=NESTED[:1], tool_choice="required", max_tokens=1
    )

    assert response.status == "incomplete"
    assert {getattr(item, "status", None) for item in response.output} == {"incomplete"}
    assert completion.choices[0].finish_reason == "length"


def test_a_model_that_leaves_the_form_of_a_call_fails_the_run(serve: Serve) -> None:
    served = serve(constrained(replies=["I would rather talk."] * 4))
    asked: Any = {"model": "mavera-1", "input": "Hm?", "tools": [WEATHER], "tool_choice": "required"}

    with pytest.raises(openai.InternalServerError):
        served.client().responses.create(**asked)
    events = list(served.client().responses.create(**asked, stream=True))

    assert events[-1].type == "response.failed"
    assert APIError.code in str(events[-1].response.to_dict())


@pytest.mark.parametrize("stream", [False, True])
def test_parameters_that_are_no_schema_are_a_400_with_their_place(serve: Serve, stream: bool) -> None:
    client = serve(constrained()).client()
    bad: Any = {"type": "object", "properties": {"a": {"type": "strin"}}}
    tools: Any = [WEATHER, {**NOW, "parameters": bad}]

    with pytest.raises(openai.BadRequestError) as flat:
        client.responses.create(model="mavera-1", input="Hm?", tools=tools, stream=stream)
    with pytest.raises(openai.BadRequestError) as nested:
        client.chat.completions.create(
            model="mavera-1",
            messages=ASKED,
            tools=[{"type": "function", "function": {"name": "f", "parameters": bad}}],
            stream=stream,
        )

    assert flat.value.param == "tools[1].parameters"
    assert nested.value.param == "tools[0].function.parameters"


def test_a_test_key_makes_forced_calls_and_else_talks(serve: Serve) -> None:
    served = serve(ScriptedModel())
    client = openai.OpenAI(base_url=served.base_url, api_key=served.test_key, max_retries=0)
    asked: Any = {"model": "mavera-1", "input": "Hm?", "tools": [NOW, WEATHER]}

    forced = client.responses.create(**asked, tool_choice={"type": "function", "name": "get_weather"})
    required = client.responses.create(**asked, tool_choice="required")
    free = client.responses.create(**asked)

    [call] = forced.output
    assert call.type == "function_call"
    assert (call.name, json.loads(call.arguments)) == ("get_weather", {"city": ""})
    assert [item.type for item in required.output] == ["function_call"]
    assert [item.type for item in free.output] == ["message"]


def test_a_function_in_a_namespace_is_called_by_both_names_and_its_call_is_taken_back(serve: Serve) -> None:
    long = "a_function_whose_name_is_as_long_as_names_of_functions_may_be_ok"
    functions = [{"type": "function", "name": name, "strict": False} for name in ("search", long)]
    tools: Any = [{"type": "namespace", "name": "mcp__shop", "description": "A shop.", "tools": functions}]
    served = serve(ScriptedModel(["Fine."]))
    client = openai.OpenAI(base_url=served.base_url, api_key=served.test_key, max_retries=0)

    first = client.responses.create(
        model="mavera-1",
        input="Look.",
        tools=tools,
        tool_choice="required",
        extra_body={"client_metadata": {"session": "s"}},
    )
    [call] = [item.to_dict() for item in first.output]
    result = {"type": "function_call_output", "call_id": call["call_id"], "output": "3 shoes"}
    second: Any = [{"role": "user", "content": "Look."}, call, result]
    answer = client.responses.create(model="mavera-1", input=second, tools=tools, tool_choice="none")

    assert (call["namespace"], call["name"]) == ("mcp__shop", "search")
    assert answer.status == "completed"
    assert len(join_name("mcp__shop", long)) == 64
