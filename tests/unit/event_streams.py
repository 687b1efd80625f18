"""Random runs for the encoders' tests, and OpenAI's own schemas to hold their output against."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import strategies as st

from mavera.core.events import (
    Event,
    RefusalDelta,
    RunCompleted,
    RunFailed,
    RunStarted,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
    ToolCallStarted,
)
from mavera.core.usage import Usage
from mavera.errors import APIError, ServiceUnavailable, ValidationFailed

_SPEC = Path(__file__).parents[3] / "shared" / "spec" / "openai-openapi.json"

_tokens = st.builds(
    TokenLogprob,
    token=st.text(max_size=4),
    logprob=st.floats(-50, 0),
    bytes=st.none() | st.lists(st.integers(0, 255), max_size=4).map(tuple),
)
_logprobs = st.lists(
    st.builds(
        TokenLogprob,
        token=st.text(max_size=4),
        logprob=st.floats(-50, 0),
        bytes=st.none(),
        top=st.lists(_tokens, max_size=2).map(tuple),
    ),
    max_size=2,
).map(tuple)
_texts = st.builds(TextDelta, st.text(max_size=12), _logprobs)
_refusals = st.builds(RefusalDelta, st.text(max_size=12))
_usage = st.builds(Usage, *(st.integers(0, 10**6) for _ in range(5)), estimated=st.booleans())
_completed = st.builds(
    RunCompleted, st.sampled_from(("stop", "length", "tool_calls", "content_filter")), _usage
)
_failed = st.sampled_from(
    (
        RunFailed(ServiceUnavailable("The model stopped.", retry_after=1)),
        RunFailed(APIError("Something went wrong while answering.")),
        RunFailed(ValidationFailed("Not like this.", param="input")),
    )
)
endings = _completed | _failed


@st.composite
def deltas(draw: st.DrawFn) -> list[Event]:
    """Text, refusals and calls in any order, the calls' arguments interleaved, some calls without any."""
    events: list[Event] = []
    calls = 0
    for _ in range(draw(st.integers(0, 12))):
        kind = draw(st.sampled_from(("text", "refusal", "call", "arguments", "arguments")))
        if kind == "text":
            events.append(draw(_texts))
        elif kind == "refusal":
            events.append(draw(_refusals))
        elif kind == "call" or not calls:
            events.append(ToolCallStarted(calls, f"call_{calls}", draw(st.sampled_from(("f", "look_up")))))
            calls += 1
        else:
            events.append(ToolCallDelta(draw(st.integers(0, calls - 1)), draw(st.text(max_size=8))))
    return events


@st.composite
def runs(draw: st.DrawFn, ends: st.SearchStrategy[Event] = endings) -> list[Event]:
    """A whole run as an encoder is fed it."""
    return [RunStarted(), *draw(deltas()), draw(ends)]


completed_runs = runs(_completed)


@cache
def _components() -> dict[str, Any]:
    components: dict[str, Any] = _read(json.loads(_SPEC.read_bytes())["components"])
    # Before its end OpenAI's own Response says null here, and Open Responses demands it.
    for described in components["schemas"]["Response"]["allOf"]:
        if "usage" in described.get("properties", {}):
            described["properties"]["usage"] = {"anyOf": [described["properties"]["usage"], {"type": "null"}]}
    return components


def _read(schema: Any) -> Any:
    """Say `nullable`, which some places there still do, as JSON Schema says it."""
    if isinstance(schema, list):
        return [_read(inner) for inner in schema]
    if not isinstance(schema, dict):
        return schema
    read = {name: _read(inner) for name, inner in schema.items()}
    return {"anyOf": [read, {"type": "null"}]} if read.get("nullable") is True else read


@cache
def _validator(schema: str) -> jsonschema_rs.Validator:
    return jsonschema_rs.Draft202012Validator(
        {"$ref": f"#/components/schemas/{schema}", "components": _components()}
    )


@cache
def _schemas_of_events() -> dict[str, str]:
    """Which schema describes the events of a type: by name, its errors say more than `anyOf` does."""
    schemas = _components()["schemas"]
    names = [ref["$ref"].rpartition("/")[2] for ref in schemas["ResponseStreamEvent"]["anyOf"]]
    return {schemas[name]["properties"]["type"]["enum"][0]: name for name in names}


def assert_fits_openai(schema: str, wire: dict[str, Any]) -> None:
    """Fail unless `wire`, as it goes over the wire, is what OpenAI's description calls `schema`."""
    if not _SPEC.exists():
        pytest.skip(f"OpenAI's description of its API is not at {_SPEC}")
    if schema == "ResponseStreamEvent":
        schema = _schemas_of_events()[wire["type"]]
    errors = list(_validator(schema).iter_errors(json.loads(json.dumps(wire))))
    assert not errors, ([(error.instance_path, error.message[-300:]) for error in errors], wire)
