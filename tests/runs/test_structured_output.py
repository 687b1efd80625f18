"""Answers in JSON: checked before they are finished, asked for again, refused, never broken."""

import asyncio
import json
from collections.abc import Sequence
from contextlib import aclosing
from typing import Any

import pytest

from mavera.core.events import AnswerEvent, Parsed, RefusalDelta, RunCompleted, TextDelta, ToolCallDelta
from mavera.core.items import Message, make_message
from mavera.core.prompt import FunctionTool, OutputFormat, Prompt, ToolChoice
from mavera.core.turn import Turn
from mavera.errors import APIError, InvalidRequest, ValidationFailed
from mavera.models.constrained.model import ConstrainedTools
from mavera.models.model import Model
from mavera.runs.schema_checker import SchemaChecker
from mavera.runs.stage import join_stages
from mavera.runs.structured_output import HoldCalls, HoldToFormat, check_schemas
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
    return answer(model, asked, lambda: HoldToFormat(asked.format, model.profile, SchemaChecker()))


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
        ask = join_stages([HoldToFormat(prompt().format, model.profile, SchemaChecker())], model)
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
        ({"type": "array", "items": {"type": "string", "pattern": "a**"}}, "items/pattern"),
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
        asyncio.run(check_schemas(turn(format=prompt(schema).format), SchemaChecker()))

    assert refused.value.param == "text.format.schema"


@pytest.mark.parametrize(
    "parameters", [{"type": "array"}, {"type": "objekt"}, {"properties": {"a": {"type": 3}}}]
)
def test_parameters_that_are_no_schema_of_an_object_are_refused(parameters: dict[str, Any]) -> None:
    tool = FunctionTool("f", None, parameters, at="tools[0].parameters")

    with pytest.raises(InvalidRequest) as refused:
        asyncio.run(check_schemas(turn(tools=(tool,)), SchemaChecker()))

    assert refused.value.param is not None
    assert refused.value.param.startswith("tools[0].parameters")


FENCED = [
    '```json\n{"stars": 4}\n```',
    '```\n{"stars": 4}\n```\n',
    '\n~~~JSON\r\n{"stars": 4}\r\n~~~',
    '```json {"stars": 4}```',
    '\ufeff{"stars": 4}',
    ' \n{"stars": 4}\n',
]


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("reply", FENCED)
def test_json_in_a_markdown_fence_is_read_as_the_json_and_only_that_is_said(reply: str, kept: bool) -> None:
    model = ObedientModel(replies=[reply], kept=kept)

    events = run(model, prompt())

    assert words(events).strip() == '{"stars": 4}'
    last = events[-1]
    assert isinstance(last, RunCompleted)
    assert last.parsed == Parsed(FITS)
    assert len(model.prompts) == 1


@pytest.mark.parametrize(
    "reply", ['```json\n{"stars": 4}\n``` as you like', 'So:\n```json\n{"stars": 4}\n```']
)
def test_words_beside_a_fence_are_a_misfit(reply: str) -> None:
    model = ObedientModel(replies=[reply, FITS], kept=False)

    run(model, prompt())

    assert len(model.prompts) == 2


def check(schema: dict[str, Any], value: Any) -> str | None:
    """Return why `value` does not fit `schema`. Raises InvalidRequest and ValidationFailed."""

    async def ask() -> str | None:
        checker = SchemaChecker()
        try:
            compiled = await checker.compile(schema, "text.format.schema")
            return await checker.find_misfit(compiled, json.dumps(value), value)
        finally:
            await checker.close()

    return asyncio.run(ask())


DRAFT_4 = "http://json-schema.org/draft-04/schema#"
PRICE = r"^(?!^[-+.]*$)[+-]?0*\d*\.?\d*$"


@pytest.mark.parametrize(
    ("schema", "fits", "fits_not"),
    [
        ({"pattern": PRICE}, "12.50", "-"),
        ({"pattern": r"^(?<year>\d{4})-\k<year>$"}, "2026-2026", "2026-2025"),
        ({"pattern": r"^[\w-.]+$"}, "a-b.c", "a b"),
        ({"pattern": r"^[^]$"}, "\n", ""),
        ({"pattern": r"^\p{L}{1,300}$"}, "é", "1"),
        ({"pattern": r"^\d$"}, "1", "٣"),
        ({"$schema": DRAFT_4, "minimum": 3, "exclusiveMinimum": True, "id": "http://a.example/b"}, 4, 3),
        ({"minimum": 3, "exclusiveMinimum": True}, 4, 3),
        ({"definitions": {"a": {"type": "string"}}, "$ref": "#/definitions/a"}, "x", 1),
        ({"items": [{"type": "string"}], "additionalItems": False}, ["a"], ["a", 1]),
        ({"$schema": "http://json-schema.org/draft-07/schema#", "items": [{"type": "string"}]}, ["a"], [1]),
        ({"$schema": "https://json-schema.org/draft/2019-09/schema", "$recursiveRef": "#"}, {}, None),
        ({"not": {"type": "string"}}, 1, "a"),
        ({"if": {"type": "integer"}, "then": {"minimum": 3}}, "a", 1),
        ({"dependentSchemas": {"a": {"required": ["b"]}}}, {"a": 1, "b": 1}, {"a": 1}),
        ({"properties": {"a": {}}, "unevaluatedProperties": False}, {"a": 1}, {"b": 1}),
        ({"$dynamicRef": "#x", "$defs": {"a": {"$dynamicAnchor": "x", "type": "string"}}}, "a", 1),
        ({"properties": {"a": False, "b": True}}, {"b": 1}, {"a": 1}),
        ({"properties": {"next": {"$ref": "#"}}, "type": "object"}, {"next": {}}, {"next": 1}),
        ({"maxLength": 10**30, "minLength": 1}, "a", ""),
        ({"type": "string", "contentEncoding": "base64", "format": "date"}, "no date", 1),
        ({"properties": {"a": {"enum": []}}}, {"b": 1}, {"a": 1}),
        ({"anyOf": [{"minimum": 5, "maximum": 3}, {"type": "string"}]}, "a", 4),
    ],
)
def test_whatever_json_schema_allows_is_accepted_and_checked(
    schema: dict[str, Any], fits: Any, fits_not: Any
) -> None:
    assert check(schema, fits) is None
    if fits_not is not None:
        assert check(schema, fits_not)


def doubled(levels: int) -> dict[str, Any]:
    """Thirty references that each lead to the next one twice are a thousand million checks."""
    named: dict[str, Any] = {
        f"a{n}": {"allOf": [{"$ref": f"#/$defs/a{n + 1}"}, {"$ref": f"#/$defs/a{n + 1}"}]}
        for n in range(levels)
    }
    return {"$defs": {**named, f"a{levels}": {"type": "integer"}}, "$ref": "#/$defs/a0"}


def test_a_schema_that_takes_too_long_to_check_is_a_422_and_does_not_hold_the_event_loop() -> None:
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    async def ask() -> None:
        ticking = asyncio.create_task(tick())
        checker = SchemaChecker()
        try:
            compiled = await checker.compile(doubled(40), "text.format.schema")
            await checker.find_misfit(compiled, "1", 1)
        finally:
            ticking.cancel()
            await checker.close()

    with pytest.raises(ValidationFailed, match="more time or memory"):
        asyncio.run(ask())

    assert ticks > 20


def test_a_pattern_beyond_all_measure_is_refused_and_a_look_ahead_bomb_only_does_not_match() -> None:
    with pytest.raises(InvalidRequest, match="too large"):
        check({"pattern": "^((a{1,1000}){1,1000}){1,1000}$"}, "a")

    assert check({"pattern": r"^(?=a)(a+)+\1$"}, "a" * 30 + "!")


UNIQUE = FunctionTool(
    "pick",
    None,
    {
        "type": "object",
        "properties": {"ids": {"type": "array", "items": {"type": "integer"}, "uniqueItems": True}},
        "required": ["ids"],
    },
    strict=True,
    at="tools[0].parameters",
)


@pytest.mark.parametrize(("replies", "refused"), [([[1, 1], [1, 2]], False), ([[1, 1], [2, 2]], True)])
def test_calls_of_a_strict_function_are_held_until_their_arguments_fit(
    replies: list[list[int]], refused: bool
) -> None:
    inner = ObedientModel(replies=[{"ids": ids} for ids in replies])
    asked = prompt(format=OutputFormat(), tools=(UNIQUE,), tool_choice=ToolChoice("required", ("pick",)))

    events = answer(ConstrainedTools(inner), asked, lambda: HoldCalls((UNIQUE,), SchemaChecker()))

    arguments = "".join(event.arguments for event in events if isinstance(event, ToolCallDelta))
    last = events[-1]
    assert isinstance(last, RunCompleted)
    assert last.usage.input_tokens == 20
    if refused:
        assert arguments == ""
        assert [type(event) for event in events] == [RefusalDelta, RunCompleted]
    else:
        assert json.loads(arguments) == {"ids": [1, 2]}
        assert last.reason == "tool_calls"
