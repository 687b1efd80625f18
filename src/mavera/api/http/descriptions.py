"""
Describe every object, property, parameter and error of /openapi.json: one sentence, and an example that fits.

The Structs say which properties there are; `descriptions.toml` says what they mean. A sentence that a Struct
gives itself (a docstring, `Meta(description=…)`) comes first, then the one of the object's table, then that
of the name.
"""

import json
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any, cast

from mavera.errors import APIError

Schema = dict[str, Any]

_KINDS: Mapping[type, str] = {
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
    list: "array",
    dict: "object",
}


@cache
def load_descriptions() -> dict[str, dict[str, Any]]:
    """Return the tables of `descriptions.toml`: `fields` and `examples` by name, the others by object."""
    text = (files("mavera.api.http") / "descriptions.toml").read_text(encoding="utf-8")
    return cast("dict[str, dict[str, Any]]", tomllib.loads(text))


def describe_components(components: Mapping[str, Schema]) -> None:
    """Add a `description` to each schema, and one with `examples` to each property, in place."""
    tables = load_descriptions()
    for name, schema in components.items():
        sentence = tables["objects"].get(_strip_module(name))
        if sentence:
            schema.setdefault("description", sentence)
        own = tables.get(_strip_module(name), {})
        for field, described in schema.get("properties", {}).items():
            sentence = own.get(field, tables["fields"].get(field))
            if sentence and "description" not in described:
                described["description"] = sentence
            example = find_example(
                described, own.get("examples", {}).get(field), tables["examples"].get(field)
            )
            if example is not None:
                described.setdefault("examples", [example])


@cache
def load_examples() -> dict[str, Any]:
    """Return the recorded answer of each operation, by its `operationId`: JSON, or a text of another kind."""
    examples = (files("mavera.api.http") / "examples.json").read_bytes()
    return cast("dict[str, Any]", json.loads(examples))


def describe_error(kind: type[APIError]) -> tuple[str, dict[str, Any]]:
    """Return the cause of an error as a sentence, and a body as it is sent."""
    entry = load_descriptions()["errors"][kind.code]
    body = {"message": entry["message"], "type": kind.type, "code": kind.code, "param": entry.get("param")}
    return entry["cause"], {"error": body}


def list_leftovers(components: Mapping[str, Schema]) -> list[str]:
    """Return the entries of `descriptions.toml` that describe nothing, such as `fields.colour`."""
    tables = load_descriptions()
    known = {_strip_module(name): set(schema.get("properties", {})) for name, schema in components.items()}
    names = {field for fields in known.values() for field in fields}
    wanted = {"fields": names, "examples": names, "objects": set(known), **known}
    return [
        f"{table}.{field}"
        for table, entries in tables.items()
        if table not in ("errors", "parameters")
        for field in entries
        if field != "examples" and field not in wanted.get(table, set())
    ]


def find_example(schema: Schema, *wanted: Any) -> Any:
    """Return the only value that `schema` allows, or the first of `wanted` that fits its type, or None."""
    for choice in _list_choices(schema):
        if "const" in choice:
            return choice["const"]
        if "enum" in choice:
            fitting = [value for value in wanted if value in choice["enum"]]
            return next(iter([*fitting, *(value for value in choice["enum"] if value is not None)]))
    kinds = {kind for choice in _list_choices(schema) for kind in _list_kinds(choice)}
    for value in wanted:
        kind = _KINDS.get(type(value))
        if kind in kinds or (kind == "integer" and "number" in kinds):
            return value
    return True if kinds == {"boolean"} else None


def _list_choices(schema: Schema) -> list[Schema]:
    return [part for part in schema.get("anyOf", [schema]) if part.get("type") != "null"]


def _list_kinds(schema: Schema) -> list[str]:
    kind = schema.get("type", [])
    return [kind] if isinstance(kind, str) else list(kind)


def _strip_module(name: str) -> str:
    """Return the class's name: msgspec gives the module as well where two classes share one."""
    return name.rpartition(".")[2]
