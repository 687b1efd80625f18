"""Function calls and JSON with the real default model: plain cases come out right, every time."""

import json
from typing import Any, Literal

import openai
import pytest
from pydantic import BaseModel

from tests.embedded_model.serving import GEN_Z, Running

pytestmark = pytest.mark.embedded

WEATHER: Any = {
    "type": "function",
    "name": "get_weather",
    "description": "Current weather of a city.",
    "parameters": {
        "type": "object",
        "properties": {
            "city": {"type": "string"},
            "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
        },
        "required": ["city", "unit"],
        "additionalProperties": False,
    },
    "strict": True,
}
SHOP: Any = {
    "type": "function",
    "name": "search_products",
    "description": "Search the shop's catalogue and return products with prices.",
    "parameters": {
        "type": "object",
        "properties": {"query": {"type": "string"}, "max_price": {"type": "number"}},
        "required": ["query"],
    },
}
TOOLS = [WEATHER, SHOP]
QUESTION = "What's the weather in Paris right now?"


class Reason(BaseModel):
    text: str
    weight: int


class Opinion(BaseModel):
    stance: Literal["yes", "no", "maybe"]
    reasons: list[Reason]


@pytest.fixture
def client(server: Running) -> openai.OpenAI:
    return server.client()


def calls(response: Any) -> list[tuple[str, dict[str, Any]]]:
    return [
        (item.name, json.loads(item.arguments)) for item in response.output if item.type == "function_call"
    ]


def test_a_named_function_is_called_whatever_was_said(client: openai.OpenAI) -> None:
    response = client.responses.create(
        model="mavera-1",
        input="I am off to Oslo.",
        tools=TOOLS,
        tool_choice={"type": "function", "name": "get_weather"},
    )

    [(name, arguments)] = calls(response)
    assert (name, arguments["city"]) == ("get_weather", "Oslo")
    assert arguments["unit"] in ("celsius", "fahrenheit")
    assert response.output_text == ""


def test_a_required_call_streams_in_chat(client: openai.OpenAI) -> None:
    nested: Any = [
        {"type": "function", "function": {k: v for k, v in tool.items() if k != "type"}} for tool in TOOLS
    ]

    chunks = client.chat.completions.create(
        model="mavera-1",
        messages=[{"role": "user", "content": "Find me running shoes under 80 dollars."}],
        tools=nested,
        tool_choice="required",
        parallel_tool_calls=False,
        stream=True,
    )

    arguments, names, reason = "", [], None
    for chunk in chunks:
        choice = chunk.choices[0]
        assert not choice.delta.content
        for call in choice.delta.tool_calls or []:
            assert call.function is not None
            names += [call.function.name] if call.function.name else []
            arguments += call.function.arguments or ""
        reason = choice.finish_reason or reason
    assert names == ["search_products"]
    assert "shoes" in json.loads(arguments)["query"]
    assert reason == "tool_calls"


def test_free_to_choose_it_calls_for_what_only_a_function_knows(client: openai.OpenAI) -> None:
    response = client.responses.create(model="mavera-1", input=QUESTION, tools=TOOLS)

    [(name, arguments)] = calls(response)
    assert (name, arguments["city"]) == ("get_weather", "Paris")


def test_free_to_choose_a_persona_talks_about_what_it_feels(client: openai.OpenAI) -> None:
    events = list(
        client.responses.create(
            model="mavera-1",
            input="How do you feel about sustainable fashion?",
            tools=TOOLS,
            max_output_tokens=60,
            stream=True,
            extra_body={"persona_id": GEN_Z},
        )
    )

    said = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert "function_call" not in "".join(event.type for event in events)
    assert len(said) > 20
    assert "{" not in said
    assert "get_weather" not in said


def test_choice_none_never_calls(client: openai.OpenAI) -> None:
    response = client.responses.create(
        model="mavera-1", input=QUESTION, tools=TOOLS, tool_choice="none", max_output_tokens=40
    )

    assert calls(response) == []
    assert response.output_text
    assert "get_weather" not in response.output_text


def test_two_things_asked_for_are_two_calls(client: openai.OpenAI) -> None:
    response = client.responses.create(
        model="mavera-1", input="Compare the weather in Rome and Madrid.", tools=TOOLS
    )

    assert [(name, arguments["city"]) for name, arguments in calls(response)] == [
        ("get_weather", "Rome"),
        ("get_weather", "Madrid"),
    ]


def test_a_result_fed_back_is_answered_in_words(client: openai.OpenAI) -> None:
    arguments = '{"city": "Paris", "unit": "celsius"}'
    response = client.responses.create(
        model="mavera-1",
        input=[
            {"role": "user", "content": QUESTION},
            {"type": "function_call", "call_id": "c1", "name": "get_weather", "arguments": arguments},
            {"type": "function_call_output", "call_id": "c1", "output": '{"temperature": 21, "sky": "rain"}'},
        ],
        tools=TOOLS,
        max_output_tokens=60,
        temperature=0,
    )

    assert calls(response) == []
    assert "21" in response.output_text


def test_both_parse_helpers_give_nested_models(client: openai.OpenAI) -> None:
    question = "Would you pay 20% more for a recycled jacket? Two reasons of three words each."

    response = client.responses.parse(
        model="mavera-1", input=question, text_format=Opinion, max_output_tokens=300, temperature=0
    )
    completion = client.chat.completions.parse(
        model="mavera-1",
        messages=[{"role": "user", "content": question}],
        response_format=Opinion,
        max_tokens=300,
        temperature=0,
    )

    assert isinstance(response.output_parsed, Opinion)
    assert isinstance(completion.choices[0].message.parsed, Opinion)


def test_json_object_gives_an_object(client: openai.OpenAI) -> None:
    response = client.responses.create(
        model="mavera-1",
        input="Describe a shoe as JSON, with brand and colour only.",
        text={"format": {"type": "json_object"}},
        max_output_tokens=120,
    )

    assert response.status == "completed"
    assert isinstance(json.loads(response.output_text), dict)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "pattern": "^[A-Z]{3}-[0-9]{2}$"},
        {"type": "number", "minimum": 0, "maximum": 0.5, "multipleOf": 0.25},
        {"type": "integer", "exclusiveMinimum": 40, "exclusiveMaximum": 43},
        {"type": "array", "items": {"enum": ["a", "b"]}, "minItems": 3, "maxItems": 3},
        {"allOf": [{"type": "string", "minLength": 2}, {"type": "string", "maxLength": 4}]},
        {"oneOf": [{"type": "boolean"}, {"type": "null"}]},
        {"$ref": "#/$defs/a~1b", "$defs": {"a/b": {"type": "string", "format": "date"}}},
    ],
)
def test_the_engine_holds_to_keywords(client: openai.OpenAI, schema: dict[str, Any]) -> None:
    """The question pulls away from the schema: without a grammar none of these would come out."""
    format_: Any = {"type": "json_schema", "name": "x", "schema": schema}

    response = client.responses.create(
        model="mavera-1",
        input="Say hello in one word.",
        text={"format": format_},
        max_output_tokens=30,
        temperature=0,
    )

    assert response.status == "completed"
    assert "parsed" in response.to_dict()
    assert response.usage is not None
    assert response.usage.input_tokens < 60  # it was asked once


FAMILY: Any = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 20},
        "child": {"$ref": "#", "type": "object", "description": "The eldest."},
    },
    "required": ["name"],
    "additionalProperties": False,
}


def test_a_recursive_schema_with_a_keyword_beside_its_reference_is_kept_to(client: openai.OpenAI) -> None:
    response = client.responses.create(
        model="mavera-1",
        input="Ann has one child, Bob. Bob has no children. Give me that family.",
        text={"format": {"type": "json_schema", "name": "family", "schema": FAMILY, "strict": True}},
        max_output_tokens=80,
        temperature=0,
    )

    assert response.status == "completed"
    family = json.loads(response.output_text)
    assert family["name"] == "Ann"
    assert family["child"]["name"] == "Bob"


def test_parameters_that_lead_nowhere_are_no_fault_of_the_server(client: openai.OpenAI) -> None:
    """Decoding under this schema is impossible, and any object fits it."""
    function: Any = {"type": "function", "name": "save", "parameters": {"type": "object", "$ref": "#"}}

    response = client.responses.create(
        model="mavera-1",
        input="Save that Ann has a child, Bob.",
        tools=[function],
        tool_choice="required",
        max_output_tokens=120,
        temperature=0,
    )

    assert [item.type for item in response.output] == ["function_call"]
