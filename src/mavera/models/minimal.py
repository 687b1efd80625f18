"""
Build the smallest value that fits a JSON schema. The same schema always gives the same value.

With a test key, an integrator gets a value of the requested shape without a model. Patterns are ignored, and
so are keywords that only a search could satisfy (`not`, `if`, `contains`).
"""

import math
from contextlib import suppress
from typing import Any

from mavera.core.json_schema import Schema, modernize_schema

# The depths are tried in this order, so that a value which may contain itself stays small.
_DEPTHS = (4, 8, 16, 32)
_MOST_STEPS = 5000
_MOST_CHARACTERS = 100_000
_BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
_NEAR = ((math.floor, 0), (math.ceil, 0), (math.floor, 1), (math.ceil, -1))
_SAMPLES = {
    "date": "2026-01-01",
    "date-time": "2026-01-01T00:00:00Z",
    "time": "00:00:00Z",
    "duration": "P1D",
    "email": "someone@example.com",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


class NoValue(Exception):
    """No small value fits, because the schema needs a value inside itself, or is false."""


def build_minimal_value(schema: Schema, *, most_steps: int = _MOST_STEPS) -> Any:
    """Return a value that fits `schema`, of any draft from 4 on. Raises NoValue."""
    schema = modernize_schema(schema)
    for depth in _DEPTHS:
        # The other two come from numbers that are too large to use.
        with suppress(NoValue, OverflowError, ZeroDivisionError):
            return _Search(schema, depth, most_steps).of(schema, 0)
    raise NoValue


class _Search:
    """A search to one depth. It stops after `most_steps`, because a hostile schema can branch without end."""

    def __init__(self, root: Schema, most_depth: int, most_steps: int) -> None:
        self._root = root
        self._most_depth = most_depth
        self._most_steps = most_steps
        self._steps = 0

    def of(self, schema: Any, depth: int) -> Any:
        self._steps += 1
        if schema is True:
            return None
        if not isinstance(schema, dict) or max(depth - self._most_depth, self._steps - self._most_steps) > 0:
            raise NoValue
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return self._pick_first(schema["enum"])
        for keyword in ("anyOf", "oneOf"):
            if keyword in schema:
                return self._build_first(schema, keyword, depth)
        if "$ref" in schema:
            return self.of(_merge(schema, "$ref", self._resolve(schema["$ref"])), depth + 1)
        if schema.get("allOf"):
            first, *rest = schema["allOf"]
            return self.of(_merge({**schema, "allOf": rest}, "", first), depth + 1)
        return self._build_typed(schema, _type_of(schema), depth)

    def _pick_first(self, values: list[Any]) -> Any:
        if not values:
            raise NoValue
        return values[0]

    def _build_first(self, schema: Schema, keyword: str, depth: int) -> Any:
        for option in schema[keyword]:
            try:
                return self.of(_merge(schema, keyword, option), depth + 1)
            except NoValue:
                continue
        raise NoValue

    def _build_typed(self, schema: Schema, kind: str, depth: int) -> Any:
        match kind:
            case "object":
                return self._build_object(schema, depth)
            case "array":
                return self._build_array(schema, depth)
            case "string":
                return _build_string(schema)
            case "integer" | "number":
                return _build_number(schema, whole=kind == "integer")
            case "boolean":
                return False
            case _:
                return None

    def _build_object(self, schema: Schema, depth: int) -> dict[str, Any]:
        properties = schema.get("properties", {})
        others = schema.get("additionalProperties", True)
        return {name: self.of(properties.get(name, others), depth + 1) for name in schema.get("required", ())}

    def _build_array(self, schema: Schema, depth: int) -> list[Any]:
        first = schema.get("prefixItems", [])
        rest = schema.get("items", True)
        return [
            self.of(first[n] if n < len(first) else rest, depth + 1)
            for n in range(min(schema.get("minItems", 0), _MOST_STEPS))
        ]

    def _resolve(self, reference: str) -> Any:
        found: Any = self._root
        for step in reference.lstrip("#").split("/")[1:]:
            name = step.replace("~1", "/").replace("~0", "~")
            try:
                found = found[int(name)] if isinstance(found, list) else found[name]
            except (KeyError, IndexError, ValueError, TypeError):
                raise NoValue from None
        return found


def _merge(schema: Schema, without: str, other: Any) -> Any:
    """Return a schema that demands all of `schema`, except one keyword, and all of `other`."""
    if not isinstance(other, dict):
        return other
    mine = {key: value for key, value in schema.items() if key != without and value != []}
    both = {**mine, **other}
    for keyword in ("properties", "$defs"):
        if keyword in mine and keyword in other:
            both[keyword] = {**mine[keyword], **other[keyword]}
    if "required" in mine and "required" in other:
        both["required"] = [*mine["required"], *other["required"]]
    return both


def _type_of(schema: Schema) -> str:
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = kind[0] if kind else None
    if isinstance(kind, str):
        return kind
    if schema.keys() & {"properties", "required"}:
        return "object"
    return "array" if schema.keys() & {"items", "prefixItems"} else "string"


def _build_string(schema: Schema) -> str:
    sample = _SAMPLES.get(schema.get("format", ""), "")
    if schema.get("minLength", 0) > _MOST_CHARACTERS:
        raise NoValue
    return sample.ljust(schema.get("minLength", 0), "x")


def _build_number(schema: Schema, *, whole: bool) -> float:
    """Return 0 if it fits, or else the first fitting number on or next to a bound."""
    bounds = [schema[name] for name in _BOUNDS if name in schema]
    step = schema.get("multipleOf", 1)
    near = [step * (round_(bound / step) + extra) for bound in bounds for round_, extra in _NEAR]
    middle = [sum(bounds) / len(bounds)] if bounds else []
    for number in (0, *bounds, *near, *middle):
        if _fits(number, schema) and (not whole or number == int(number)):
            return int(number) if whole else number
    raise NoValue


def _fits(number: float, schema: Schema) -> bool:
    return bool(
        number >= schema.get("minimum", number)
        and number <= schema.get("maximum", number)
        and number > schema.get("exclusiveMinimum", -math.inf)
        and number < schema.get("exclusiveMaximum", math.inf)
        and number % schema.get("multipleOf", number or 1) == 0
    )
