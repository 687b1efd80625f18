"""Answers in JSON: checked before they are finished, asked for again, refused, never broken."""

import asyncio
import json
from collections.abc import Sequence
from contextlib import aclosing
from typing import Any

import pytest

from mavera.core.events import AnswerEvent, Parsed, RefusalDelta, RunCompleted, TextDelta
from mavera.core.items import Message, make_message
from mavera.core.prompt import FunctionTool, OutputFormat, Prompt, ToolChoice
from mavera.core.turn import Turn
from mavera.errors import APIError, InvalidRequest
from mavera.models.constrained.model import ConstrainedTools
from mavera.models.model import Model, ModelProfile
from mavera.runs.stage import join_stages
from mavera.runs.structured_output import HoldToFormat, check_schemas
from tests.support.obedient import ObedientModel
from tests.support.stages import answer

SCHEMA = {
    "type": "object",
    "properties": {"stars": {"type": "integer", "minimum": 1}},
    "required": ["stars"],
    "additionalProperties": False,
}
FITS, FITS_NOT = {"stars": 4}, {"stars": 0}


def prompt(schema: dict[str, Any] | None = None, **options: Any) -> Prompt:
    wanted = OutputFormat(
        "json_schema", "rating", schema=schema or SCHEMA, strict=True, at="text.format.schema"
    )
    return Prompt((make_message("user", "How was it?"),), **{"format": wanted, **options})


def run(model: Model, asked: Prompt) -> list[AnswerEvent]:
    return answer(model, asked, lambda: HoldToFormat(asked.format, model.profile))


def turn(**options: Any) -> Turn:
    return Turn("mavera-1", (make_message("user", "How was it?"),), **options)


def words(events: Sequence[AnswerEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


@pytest.mark.parametrize("kept", [True, False])
def test_an_answer_that_fits_carries_its_value(kept: bool) -> None:
    events = run(ObedientModel(replies=[FITS], kept=kept), prompt())

    assert json.loads(words(events)) == FITS
    last = events[-1]
    assert isinstance(last, RunCompleted)
    assert last.parsed == Parsed(FITS)
    assert last.usage.input_tokens == 10


@pytest.mark.parametrize("kept", [True, False])
def test_an_answer_cut_off_has_no_value(kept: bool) -> None:
    events = run(ObedientModel(replies=[FITS], kept=kept), prompt(max_output_tokens=1))

    assert words(events) == '{"st'
    last = events[-1]
    assert isinstance(last, RunCompleted)
    assert (last.reason, last.parsed) == ("length", None)


def test_where_decoding_keeps_to_the_format_the_text_is_not_held_back() -> None:
    async def first_word() -> AnswerEvent:
        model = ObedientModel(replies=[FITS])
        ask = join_stages([HoldToFormat(prompt().format, model.profile)], model)
        async with aclosing(await ask(prompt())) as events:
            return await anext(events)

    assert asyncio.run(first_word()) == TextDelta('{"st')


@pytest.mark.parametrize("reply", [FITS_NOT, "I would rather talk.", '{"stars": 4', ""])
def test_where_decoding_keeps_to_the_format_and_then_does_not_the_run_fails(reply: Any) -> None:
    with pytest.raises(APIError) as failed:
        run(ObedientModel(replies=[reply]), prompt())

    assert failed.value.status == 500


@pytest.mark.parametrize(
    "reply", [FITS_NOT, "I would rather talk.", '{"stars": 4} indeed', '{"stars": "\\ud800"}']
)
def test_else_a_misfit_is_asked_for_again_and_only_the_second_answer_is_said(reply: Any) -> None:
    model = ObedientModel(replies=[reply, FITS], kept=False)

    events = run(model, prompt())

    assert json.loads(words(events)) == FITS
    last = events[-1]
    assert isinstance(last, RunCompleted)
    assert last.parsed == Parsed(FITS)
    assert last.usage.input_tokens == 20
    first, second = model.prompts
    assert second.items[: len(first.items)] == first.items
    told = second.items[-1]
    assert isinstance(told, Message)
    assert "not in the form" in told.text


def test_two_misfits_are_a_refusal_without_a_word_of_them() -> None:
    events = run(ObedientModel(replies=[FITS_NOT, FITS_NOT], kept=False), prompt())

    assert words(events) == ""
    assert [type(event) for event in events] == [RefusalDelta, RunCompleted]
    last = events[-1]
    assert isinstance(last, RunCompleted)
    assert (last.reason, last.parsed) == ("stop", None)
    assert last.usage.input_tokens == 20


@pytest.mark.parametrize("value", [{"a": [1, None]}, {}])
def test_json_object_takes_any_object(value: Any) -> None:
    events = run(ObedientModel(replies=[value]), prompt(format=OutputFormat("json_object")))

    last = events[-1]
    assert isinstance(last, RunCompleted)
    assert last.parsed == Parsed(value)


def test_json_object_takes_nothing_but_an_object() -> None:
    events = run(
        ObedientModel(replies=["[1]", "[1]"], kept=False), prompt(format=OutputFormat("json_object"))
    )

    assert any(isinstance(event, RefusalDelta) for event in events)


def test_null_is_a_value() -> None:
    events = run(ObedientModel(replies=["null"]), prompt({"type": "null"}))

    last = events[-1]
    assert isinstance(last, RunCompleted)
    assert last.parsed == Parsed(None)


@pytest.mark.parametrize("kept", [True, False])
def test_a_call_in_the_place_of_the_answer_is_not_checked(kept: bool) -> None:
    tool = FunctionTool("now")
    model = ConstrainedTools(ObedientModel(kept=kept))

    events = run(model, prompt(tools=(tool,), tool_choice=ToolChoice("required", ("now",))))

    last = events[-1]
    assert isinstance(last, RunCompleted)
    assert (last.reason, last.parsed) == ("tool_calls", None)


@pytest.mark.parametrize(
    ("schema", "said_of_it"),
    [
        ({"type": "strin"}, "type"),
        ({"type": "object", "properties": {"a": {"minLength": -1}}}, "properties/a/minLength"),
        ({"type": "string", "pattern": "("}, "pattern"),
        ({"type": "string", "pattern": "^(?=a)b$"}, "pattern"),
        ({"type": "string", "pattern": "^((a{1,1000}){1,1000}){1,1000}$"}, "pattern"),
        ({"$ref": "https://example.com/schema.json"}, "example.com"),
        ({"$ref": "file:///etc/passwd"}, "passwd"),
        ({"$ref": "#/$defs/none"}, "none"),
        ({"required": "a"}, "required"),
        ({"$schema": "http://example.com/own"}, "example.com"),
    ],
)
def test_an_invalid_schema_is_refused_before_any_work(schema: dict[str, Any], said_of_it: str) -> None:
    model = ObedientModel()

    with pytest.raises(InvalidRequest) as refused:
        run(model, prompt(schema))

    assert refused.value.param == "text.format.schema"
    assert said_of_it in refused.value.message
    assert model.prompts == []


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "integer"}
    for _ in range(levels):
        schema = {"type": "object", "properties": {"a": schema}}
    return schema


@pytest.mark.parametrize(
    "schema",
    [
        nested(40),
        nested(300),
        {"properties": {f"p{n}": {} for n in range(6000)}},
        {"properties": {f"p{n}": {"pattern": "a"} for n in range(200)}},
        {"patternProperties": {f"a{n}": {} for n in range(200)}},
        {"properties": {"a": {"pattern": "a" * 20_001}}},
        {"patternProperties": {"a" * 20_001: {}}},
    ],
)
def test_a_schema_that_would_take_long_to_compile_is_refused(schema: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest) as refused:
        asyncio.run(check_schemas(turn(format=prompt(schema).format), ModelProfile()))

    assert refused.value.param == "text.format.schema"


@pytest.mark.parametrize(
    "parameters", [{"type": "array"}, {"type": "objekt"}, {"properties": {"a": {"type": 3}}}]
)
def test_parameters_that_are_no_schema_of_an_object_are_refused(parameters: dict[str, Any]) -> None:
    tool = FunctionTool("f", None, parameters, at="tools[0].parameters")

    with pytest.raises(InvalidRequest) as refused:
        asyncio.run(check_schemas(turn(tools=(tool,)), ModelProfile()))

    assert refused.value.param is not None
    assert refused.value.param.startswith("tools[0].parameters")
