"""Every text, list and object that a request may carry has a bound, in its body and outside of it."""

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from mavera.api.http.bounds import OpaqueList, OpaqueObject, Text
from mavera.api.responses.websocket import ResponseCreate
from mavera.app import OPERATIONS

# These read no body.
WITHOUT_BODY = {f"/focus-groups/{{focus_group_id}}/{what}" for what in ("cancel", "retry")}
BODIES = [*{op.request: None for op in OPERATIONS if op.request is not None}, ResponseCreate]
PARAMETERS = [(op.path, parameter) for op in OPERATIONS for parameter in op.parameters]


def unbounded(schema: dict[str, Any], at: str) -> Iterator[str]:
    """Yield the places in a JSON schema that take a text, a list or an object of any size."""
    if {"$ref", "enum", "const"} & set(schema):
        return  # a component is looked at by itself, and a value of a list has its length
    variants = schema.get("anyOf", schema.get("oneOf"))
    if variants is not None:
        for variant in variants:
            yield from unbounded(variant, at)
        return
    match schema.get("type"):
        case "string":
            yield from [at] if "maxLength" not in schema else []
        case "array":
            yield from _unbounded_list(schema, at)
        case "object":
            yield from _unbounded_object(schema, at)
        case "integer" | "number" | "boolean" | "null":
            return
        case _:
            yield f"{at} (takes anything)"


def _unbounded_list(schema: dict[str, Any], at: str) -> Iterator[str]:
    if "maxItems" not in schema:
        yield f"{at}[]"
    # What stands in an opaque list or object is bounded by the size of the body.
    if schema.get("items"):
        yield from unbounded(schema["items"], f"{at}[]")


def _unbounded_object(schema: dict[str, Any], at: str) -> Iterator[str]:
    if "properties" in schema:
        if schema.get("additionalProperties") is not False:
            yield f"{at} (takes unknown members)"
        for name, inside in schema["properties"].items():
            yield from unbounded(inside, f"{at}.{name}")
        return
    if "maxProperties" not in schema:
        yield f"{at}{{}}"
    inside = schema.get("additionalProperties")
    if isinstance(inside, dict) and inside:
        yield from unbounded(inside, f"{at}{{}}")
        yield from unbounded({"type": "string", **schema.get("propertyNames", {})}, f"{at}{{}} (a name)")


def places(kind: Any) -> list[str]:
    [schema], components = msgspec.json.schema_components([kind])
    named = {name: inside for name, inside in components.items() if "type" in inside or "anyOf" in inside}
    return [place for name, inside in (("", schema), *named.items()) for place in unbounded(inside, name)]


@pytest.mark.parametrize("kind", BODIES, ids=lambda kind: kind.__name__)
def test_nothing_in_a_body_is_of_any_size(kind: Any) -> None:
    assert places(kind) == []


@pytest.mark.parametrize(("path", "parameter"), PARAMETERS, ids=lambda value: getattr(value, "name", value))
def test_nothing_outside_of_a_body_is_of_any_size(path: str, parameter: Any) -> None:
    assert list(unbounded(parameter.schema, parameter.name)) == []


def test_every_operation_that_reads_a_path_or_a_body_is_among_them() -> None:
    for operation in OPERATIONS:
        named = {parameter.name for parameter in operation.parameters if parameter.where == "path"}
        assert {part[1:-1] for part in operation.path.split("/") if part.startswith("{")} == named
        has_body = operation.method in ("POST", "PATCH") and operation.path not in WITHOUT_BODY
        assert (operation.request is not None) == has_body


@pytest.mark.parametrize(
    "kind", [str, list[int], list[str], dict[str, int], dict[str, Any], Any], ids=lambda kind: str(kind)
)
def test_the_walk_finds_what_has_no_bound(kind: Any) -> None:
    loose = msgspec.defstruct("Loose", [("member", kind)], forbid_unknown_fields=True)
    assert places(loose)


def test_the_walk_finds_nothing_in_what_has_bounds() -> None:
    members = [("a", OpaqueObject), ("b", OpaqueList), ("c", bool), ("d", int | None), ("e", Text)]
    tight = msgspec.defstruct("Tight", members, forbid_unknown_fields=True)
    assert places(tight) == []
