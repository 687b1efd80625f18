"""
JSON Schema as plain data: visit the schemas inside one, rebuild it, move it elsewhere, bring it up to date.

This module lists the members of a schema that contain schemas, so that a property called `not` or an
enum value called `$ref` is never mistaken for a keyword.
"""

from collections.abc import Callable, Iterator
from typing import Any

Schema = dict[str, Any]

_ONE = frozenset(
    {
        "additionalItems",
        "additionalProperties",
        "contains",
        "contentSchema",
        "else",
        "if",
        "items",
        "not",
        "propertyNames",
        "then",
        "unevaluatedItems",
        "unevaluatedProperties",
    }
)
_SEVERAL = frozenset({"allOf", "anyOf", "items", "oneOf", "prefixItems"})
_NAMED = frozenset(
    {"$defs", "definitions", "dependencies", "dependentSchemas", "patternProperties", "properties"}
)


def walk_schemas(schema: Schema) -> Iterator[tuple[tuple[str, ...], Schema]]:
    """Yield `schema` and every object schema inside it, each with its path."""
    waiting: list[tuple[tuple[str, ...], Schema]] = [((), schema)]
    while waiting:
        path, current = waiting.pop()
        yield path, current
        waiting += [(path + step, inner) for step, inner in children(current)]


def children(schema: Schema) -> Iterator[tuple[tuple[str, ...], Schema]]:
    """Yield the object schemas directly inside `schema`, each with its path from there."""
    for keyword, value in schema.items():
        if isinstance(value, dict) and keyword in _ONE:
            yield (keyword,), value
        elif isinstance(value, list) and keyword in _SEVERAL:
            yield from (
                ((keyword, str(n)), inner) for n, inner in enumerate(value) if isinstance(inner, dict)
            )
        elif isinstance(value, dict) and keyword in _NAMED:
            yield from (((keyword, name), inner) for name, inner in value.items() if isinstance(inner, dict))


def rebuild_schema(schema: Schema, change: Callable[[Schema], Schema]) -> Schema:
    """Return a copy in which `change` has replaced every object schema, the inner ones first."""

    def inner(value: Any) -> Any:
        return rebuild_schema(value, change) if isinstance(value, dict) else value

    copy: Schema = {}
    for keyword, value in schema.items():
        if isinstance(value, dict) and keyword in _ONE:
            copy[keyword] = inner(value)
        elif isinstance(value, list) and keyword in _SEVERAL:
            copy[keyword] = [inner(one) for one in value]
        elif isinstance(value, dict) and keyword in _NAMED:
            copy[keyword] = {name: inner(one) for name, one in value.items()}
        else:
            copy[keyword] = value
    return change(copy)


def rebase_schema(schema: Schema, to: str) -> Schema:
    """Return `schema` with references that are valid once it is placed at `to`, such as `#/$defs/f`."""

    def move(one: Schema) -> Schema:
        reference = one.get("$ref")
        if isinstance(reference, str) and (reference == "#" or reference.startswith("#/")):
            return {**one, "$ref": to + reference[1:]}
        return one

    return rebuild_schema(schema, move)


def modernize_schema(schema: Schema) -> Schema:
    """
    Return `schema`, of any draft from 4 on, with the keywords of 2020-12.

    It has neither `$schema` nor `dependencies`, so it may allow more than the original.
    """
    return rebuild_schema(schema, _modernize)


def _modernize(schema: Schema) -> Schema:
    modern = {key: value for key, value in schema.items() if key not in ("$schema", "dependencies")}
    for exclusive, bound in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if isinstance(modern.get(exclusive), bool) and modern.pop(exclusive) and bound in modern:
            modern[exclusive] = modern.pop(bound)
    if isinstance(modern.get("items"), list):
        modern["prefixItems"] = modern.pop("items")
        if "additionalItems" in modern:
            modern["items"] = modern["additionalItems"]
    modern.pop("additionalItems", None)
    return modern
