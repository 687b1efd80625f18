"""
docs/reference/compatibility.md against the request bodies, and against what becomes of them.

For each parameter a request is made with it and without it. What the page calls honoured
changes what the model is asked, or is settled at the door; the rest changes nothing.
"""

from typing import Any, get_args

import msgspec
import pytest

from mavera.api.chat_completions.schemas import CreateChatCompletion, StreamOptions
from mavera.api.responses.objects import EVENTS
from mavera.api.responses.schemas import (
    CreateResponse,
    ReasoningOptions,
    ResponseStreamOptions,
    TextOptions,
)
from mavera.api.wire.parameters import Parameters
from mavera.models.chat_wire import build_request_body
from mavera.models.dialects import DIALECTS, Dialect
from mavera.personas.builtin import PersonaLibrary
from mavera.runs.compose import compose
from tests.docs.pages import DOCS, rows, sections, ticked
from tests.support.openai_schemas import event_types

SECTIONS = sections(DOCS / "reference" / "compatibility.md")
LIBRARY = PersonaLibrary.load()
Body = CreateResponse | CreateChatCompletion

FUNCTION: dict[str, Any] = {"name": "f", "parameters": {"type": "object"}}
MINIMAL: dict[str, dict[str, Any]] = {
    "/responses": {
        "model": "mavera-1",
        "input": "Hm?",
        "tools": [{"type": "function", **FUNCTION}],
    },
    "/chat/completions": {
        "model": "mavera-1",
        "messages": [{"role": "user", "content": "Hm?"}],
        "tools": [{"type": "function", "function": FUNCTION}],
        "stream": True,
        "logprobs": True,
    },
}
KINDS: dict[str, type[Body]] = {"/responses": CreateResponse, "/chat/completions": CreateChatCompletion}
NESTED: dict[str, dict[str, type[msgspec.Struct]]] = {
    "/responses": {
        "text": TextOptions,
        "reasoning": ReasoningOptions,
        "stream_options": ResponseStreamOptions,
    },
    "/chat/completions": {"stream_options": StreamOptions},
}

# What the model never hears of: the form of the answer, a choice of one, how much is cut or called.
AT_THE_DOOR = {
    "model",
    "stream",
    "stream_options",
    "stream_options.include_usage",
    "n",
    "modalities",
    "truncation",
    "max_tool_calls",
    "analysis_mode",
    "mosaic_mode",
    "persona_ids",
    "persona_weights",
    "store",
    "previous_response_id",
}

# For each parameter a value other than the one it has when it is left out.
SAMPLES: dict[str, Any] = {
    "persona_id": LIBRARY.list()[0].id,
    "input": "Well?",
    "messages": [{"role": "user", "content": "Well?"}],
    "instructions": "Be brief.",
    "analysis_mode": True,
    "canvas_mode": True,
    "mosaic_mode": True,
    "persona_ids": ["a", "b"],
    "persona_weights": [0.5, 0.5],
    "reasoning_effort": "high",
    "verbosity": "low",
    "temperature": 0.2,
    "top_p": 0.5,
    "frequency_penalty": 1.0,
    "presence_penalty": 1.0,
    "top_logprobs": 3,
    "parallel_tool_calls": False,
    "metadata": {"study": "7"},
    "store": True,
    "user": "u",
    "safety_identifier": "s",
    "prompt_cache_key": "k",
    "prompt_cache_retention": "24h",
    "prompt_cache_options": {"a": 1},
    "service_tier": "flex",
    "client_metadata": {"a": "b"},
    "moderation": {"a": 1},
    "max_output_tokens": 9,
    "max_completion_tokens": 9,
    "max_tokens": 9,
    "max_tool_calls": 2,
    "text": {"verbosity": "low"},
    "text.format": {"type": "json_object"},
    "text.verbosity": "low",
    "tools": [],
    "tool_choice": "required",
    "reasoning": {"effort": "high"},
    "reasoning.effort": "high",
    "reasoning.summary": "auto",
    "reasoning.generate_summary": "auto",
    "reasoning.context": "all_turns",
    "reasoning.mode": "m",
    "include": ["message.output_text.logprobs"],
    "truncation": "auto",
    "stream_options": {"include_obfuscation": True},
    "stream_options.include_obfuscation": True,
    "previous_response_id": "resp_1",
    "background": True,
    "conversation": "conv_1",
    "context_management": [{"a": 1}],
    "prompt": {"id": "p"},
    "seed": 1,
    "stop": "END",
    "logprobs": False,
    "logit_bias": {"1": 1.0},
    "response_format": {"type": "json_object"},
    "audio": {"voice": "v"},
    "prediction": {"a": 1},
    "web_search_options": {"a": 1},
    "functions": [{"name": "f"}],
    "function_call": "auto",
}


def listed(heading: str) -> dict[str, str]:
    return {ticked(row[0])[0]: row[1] for row in rows(SECTIONS[heading])}


SHARED = listed("Both endpoints")
OWN = {endpoint: listed(f"POST {endpoint}") for endpoint in KINDS}
STATUS = {
    (endpoint, name): status for endpoint in KINDS for name, status in {**SHARED, **OWN[endpoint]}.items()
}
SETTLED = [case for case, status in STATUS.items() if status == "honoured" and case[1] in AT_THE_DOOR]
HEARD_OR_NOT = [case for case in STATUS if case not in SETTLED]
UNHEARD = [case for case, status in STATUS.items() if status != "honoured"]


def test_the_page_lists_every_parameter_of_both_endpoints() -> None:
    shared = set(Parameters.__struct_fields__)
    assert set(SHARED) == shared
    for endpoint, kind in KINDS.items():
        nested = {
            f"{name}.{inner}"
            for name, options in NESTED[endpoint].items()
            for inner in options.__struct_fields__
        }
        assert set(OWN[endpoint]) == set(kind.__struct_fields__) - shared | nested


def test_every_parameter_is_honoured_or_echoed_or_without_effect() -> None:
    for table in (SHARED, *OWN.values()):
        assert set(table.values()) <= {"honoured", "echoed", "no effect"}


@pytest.mark.parametrize(("endpoint", "name"), HEARD_OR_NOT)
def test_what_is_honoured_reaches_the_model_and_nothing_else_does(endpoint: str, name: str) -> None:
    changed = asked(endpoint, with_sample(name)) != asked(endpoint, {})

    assert changed == (STATUS[endpoint, name] == "honoured")


@pytest.mark.parametrize(("endpoint", "name"), UNHEARD)
def test_what_is_echoed_is_repeated_and_what_has_no_effect_is_not(endpoint: str, name: str) -> None:
    changed = echo(endpoint, with_sample(name)) != echo(endpoint, {})

    assert changed == (endpoint == "/responses" and STATUS[endpoint, name] == "echoed")


def test_the_values_of_include_are_without_effect_but_one() -> None:
    include = msgspec.structs.fields(CreateResponse)
    [field] = [field for field in include if field.name == "include"]
    [bounded, _] = get_args(field.type)  # Annotated[list[Literal[…]], Meta] | None
    values = get_args(get_args(get_args(bounded)[0])[0])

    effective = [v for v in values if asked("/responses", {"include": [v]}) != asked("/responses", {})]

    assert effective == ["message.output_text.logprobs"]


def with_sample(name: str) -> dict[str, Any]:
    outer, _, inner = name.partition(".")
    return {outer: {inner: SAMPLES[name]}} if inner else {name: SAMPLES[name]}


def decoded(endpoint: str, extra: dict[str, Any]) -> Body:
    return msgspec.convert({**MINIMAL[endpoint], **extra}, KINDS[endpoint])


def asked(endpoint: str, extra: dict[str, Any]) -> dict[str, Any]:
    """Return what a model's server would be asked."""
    turn = decoded(endpoint, extra).to_turn()
    persona = LIBRARY.get(turn.persona_id) if turn.persona_id else None
    return build_request_body(compose(turn, persona), model="m", reasoning_effort=True)


def echo(endpoint: str, extra: dict[str, Any]) -> dict[str, Any]:
    body = decoded(endpoint, extra)
    return body.echo() if isinstance(body, CreateResponse) else {}


def test_every_event_is_listed_as_sent_or_as_never_sent() -> None:
    told = SECTIONS["The stream of /responses"].partition("Never sent")
    sent, never = ({name for row in rows(part) for name in ticked(row[0])} for part in (told[0], told[2]))

    assert sent == {kind.__struct_config__.tag for kind in EVENTS}
    assert sent | never == event_types()
    assert not sent & never


DIALECT_ROWS = {ticked(row[0])[0]: row for row in rows(SECTIONS["What is sent to an upstream"])}


def test_the_page_lists_every_dialect() -> None:
    assert list(DIALECT_ROWS) == list(DIALECTS)


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=lambda dialect: dialect.name)
def test_a_dialect_is_described_as_it_is_spoken(dialect: Dialect) -> None:
    _, limit, json_modes, left_out, besides = DIALECT_ROWS[dialect.name]

    assert ticked(limit) == [dialect.limits[0]]
    assert ticked(json_modes) == list(dialect.json_modes)
    assert ticked(left_out) == sorted(dialect.left_out)
    assert [("`seed` is `random_seed`" in besides), ("`required` is `any`" in besides)] == [
        ("seed", "random_seed") in dialect.names,
        dialect.required == "any",
    ]
    assert ("`api-key`" in besides) is (dialect.key_header == "api-key")
    assert ("`parallel_tool_calls` always" in besides) is not dialect.allows_parallel_calls
    assert ("no schema" in besides) is not dialect.keeps_empty_parameters
    assert ("short ids" in besides) is dialect.short_call_ids
    assert ("say JSON" in besides) is dialect.mentions_json
