"""
OpenAI's own JSON Schemas for what both endpoints send, and a check against them.

`tests/data/openai-schemas.json` holds the few schemas that the tests read, cut from OpenAI's
description of its API. To take them from a newer description:

    python -m tests.support.openai_schemas path/to/openapi.json
"""

import json
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema_rs
from hypothesis import strategies as st

SCHEMAS = Path(__file__).parents[1] / "data" / "openai-schemas.json"
ROOTS = (
    "CompactResource",
    "CreateChatCompletionResponse",
    "CreateChatCompletionStreamResponse",
    "Response",
    "ResponseStreamEvent",
)
NOTICE = (
    "Cut from OpenAI's description of its API (https://github.com/openai/openai-openapi),"
    " version {version}, without its prose. MIT License; openai-schemas.LICENSE has its text."
)
_REFERENCE = "#/components/schemas/"
_PROSE = {"description", "example", "examples", "x-oaiMeta", "title"}


def assert_fits_openai(schema: str, wire: dict[str, Any]) -> None:
    """Fail unless `wire`, as it is sent, fits OpenAI's schema of this name, or of its event's type."""
    if schema == "ResponseStreamEvent":
        schema = _schemas_of_events()[wire["type"]]
    errors = list(_validator(schema).iter_errors(json.loads(json.dumps(wire))))
    assert not errors, ([(error.instance_path, error.message[-300:]) for error in errors], wire)


def event_types() -> set[str]:
    """Return the types of all events that OpenAI describes for the stream of a response."""
    return set(_schemas_of_events())


@cache
def _schemas() -> dict[str, Any]:
    schemas: dict[str, Any] = _translate_nullable(json.loads(SCHEMAS.read_bytes())["schemas"])
    # Before its end OpenAI's own Response says null here, and Open Responses demands it.
    for part in schemas["Response"]["allOf"]:
        if "usage" in part.get("properties", {}):
            part["properties"]["usage"] = {"anyOf": [part["properties"]["usage"], {"type": "null"}]}
    return schemas


def _translate_nullable(schema: Any) -> Any:
    """Write `nullable`, which some schemas still have, as JSON Schema does."""
    if isinstance(schema, list):
        return [_translate_nullable(inner) for inner in schema]
    if not isinstance(schema, dict):
        return schema
    translated = {name: _translate_nullable(inner) for name, inner in schema.items()}
    if translated.get("nullable") is True:
        return {"anyOf": [translated, {"type": "null"}]}
    return translated


@cache
def _validator(schema: str) -> jsonschema_rs.Validator:
    return jsonschema_rs.Draft202012Validator(
        {"$ref": f"{_REFERENCE}{schema}", "components": {"schemas": _schemas()}}
    )


def strategy_of(schema: str) -> st.SearchStrategy[Any]:
    """Return values that fit OpenAI's schema of this name."""
    return _strategy({"$ref": f"{_REFERENCE}{schema}"})


def _strategy(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    if "$ref" in schema:
        name = schema["$ref"].removeprefix(_REFERENCE)
        return st.deferred(lambda: _strategy(_schemas()[name]))
    for alternatives in ("oneOf", "anyOf"):
        if alternatives in schema:
            return st.one_of([_strategy(one) for one in schema[alternatives]])
    if "allOf" in schema:
        return st.tuples(*map(_strategy, schema["allOf"])).map(
            lambda parts: {name: value for part in parts for name, value in part.items()}
        )
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    return _strategy_of_type(schema)


def _strategy_of_type(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    match schema.get("type"):
        case "object":
            properties = {name: _strategy(inner) for name, inner in schema.get("properties", {}).items()}
            needed = {name: properties.pop(name) for name in schema.get("required", ()) if name in properties}
            return st.fixed_dictionaries(needed, optional=properties)
        case "array":
            return st.lists(_strategy(schema.get("items", {})), max_size=2)
        case "string":
            return st.text("ab é", min_size=1, max_size=8)
        case "integer":
            return st.integers(0, 2**31)
        case "number":
            return st.floats(-100, 100)
        case "boolean":
            return st.booleans()
        case "null":
            return st.none()
        case _:
            return st.sampled_from([None, "a", {"a": [1]}])


@cache
def _schemas_of_events() -> dict[str, str]:
    """Return the name of the schema for each type of event. Its errors say more than those of `anyOf`."""
    schemas = _schemas()
    names = [ref["$ref"].removeprefix(_REFERENCE) for ref in schemas["ResponseStreamEvent"]["anyOf"]]
    return {kind: name for name in names for kind in schemas[name]["properties"]["type"]["enum"]}


def cut_schemas(api: dict[str, Any]) -> dict[str, Any]:
    """Return the schemas of `ROOTS`, and all that they refer to, from a description of OpenAI's API."""
    every, found = api["components"]["schemas"], dict[str, Any]()
    waiting = list(ROOTS)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = _without_prose(every[name])
            waiting += _references(found[name])
    return {
        "notice": NOTICE.format(version=api["info"]["version"]),
        "schemas": dict(sorted(found.items())),
    }


def _without_prose(schema: Any, *, names: bool = False) -> Any:
    """Drop what validates nothing. `names` is true for an object whose members are properties."""
    if isinstance(schema, list):
        return [_without_prose(inner) for inner in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        name: _without_prose(inner, names=name == "properties" and not names)
        for name, inner in schema.items()
        if names or name not in _PROSE
    }


def _references(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict) and isinstance(schema.get("$ref"), str):
        yield schema["$ref"].removeprefix(_REFERENCE)
    if isinstance(schema, dict | list):
        for inner in schema.values() if isinstance(schema, dict) else schema:
            yield from _references(inner)


if __name__ == "__main__":
    cut = cut_schemas(json.loads(Path(sys.argv[1]).read_bytes()))
    SCHEMAS.write_text(json.dumps(cut, indent=1) + "\n", encoding="utf-8")
