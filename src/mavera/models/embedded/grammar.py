"""
Convert a JSON format to a grammar of llguidance, which constrains llama.cpp's tokens.

    find_refused      a keyword that no grammar can enforce       400, before any work
    is_enforced       only keywords that are enforced in tests    the text may stream unchecked
    build_grammar     the rewritten schema as a grammar

llama.cpp's own `response_format` is not used, because it silently drops `pattern`, `allOf` and the bounds
of numbers. If llguidance cannot compile a schema, the engine answers without any constraint and without an
error. Therefore such a schema must not reach it. The check of the answer catches the rest.
docs/decisions/0007 describes the experiments.
"""

from collections.abc import Iterator
from itertools import chain
from typing import Any

import msgspec

from mavera.core.json_schema import Schema, rebuild_schema, walk_schemas
from mavera.core.prompt import OutputFormat

_REFUSED = frozenset(
    {
        "$dynamicRef",
        "$recursiveRef",
        "contains",
        "dependencies",
        "dependentRequired",
        "dependentSchemas",
        "else",
        "if",
        "maxContains",
        "minContains",
        "not",
        "propertyNames",
        "then",
        "unevaluatedItems",
        "unevaluatedProperties",
        "uniqueItems",
    }
)
# With these values a refused keyword has no effect. zod writes the second one.
_IDLE: dict[str, tuple[Any, ...]] = {"uniqueItems": (False,), "propertyNames": (True, {}, {"type": "string"})}
_FORMATS = frozenset(
    {"date", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "time", "uri", "uuid"}
)
_ENFORCED = frozenset(
    {
        "$defs",
        "$ref",
        "additionalProperties",
        "anyOf",
        "const",
        "definitions",
        "enum",
        "exclusiveMaximum",
        "exclusiveMinimum",
        "items",
        "maxItems",
        "maxLength",
        "maximum",
        "minItems",
        "minLength",
        "minimum",
        "prefixItems",
        "properties",
        "required",
        "type",
    }
)
_ANNOTATIONS = frozenset(
    {
        "$comment",
        "$schema",
        "default",
        "deprecated",
        "description",
        "discriminator",
        "example",
        "examples",
        "format",
        "readOnly",
        "title",
        "writeOnly",
    }
)
_TYPE_OF = {
    "properties": "object",
    "additionalProperties": "object",
    "required": "object",
    "items": "array",
    "prefixItems": "array",
    "minLength": "string",
    "maxLength": "string",
    "pattern": "string",
    "minimum": "number",
    "maximum": "number",
}
_COMBINING = frozenset({"$ref", "allOf", "anyOf", "oneOf"})
# Longer lists make a grammar too large to compile, and no answer is that long.
_LONGEST_LIST = 1000
# JSON as Python writes it, which models know best. Free white space would let a model emit it for ever.
_OPTIONS = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": ", "lenient": True}


def find_refused(schema: Schema) -> tuple[str, str] | None:
    """Return a keyword that cannot be enforced, and the path of its schema. None if there is none."""
    for path, one in walk_schemas(schema):
        for keyword in _unenforceable(one):
            return keyword, "/".join(("#", *path))
    return None


def _unenforceable(schema: Schema) -> Iterator[str]:
    for keyword, value in schema.items():
        if keyword in _REFUSED and value not in _IDLE.get(keyword, ()):
            yield keyword
    if schema.get("minItems", 0) > _LONGEST_LIST:
        yield "minItems"
    if set(schema.get("properties", ())) - set(schema.get("required", ())):
        # llguidance cannot count optional properties.
        yield from (name for name in ("minProperties", "maxProperties") if schema.get(name, 1) != 1)


def is_enforced(schema: Schema) -> bool:
    """Say whether every answer under the grammar of `schema` matches it."""
    return all(_is_plain(one) for _, one in walk_schemas(schema))


def _is_plain(schema: Schema) -> bool:
    if schema.get("maxItems", 0) > _LONGEST_LIST:
        return False
    return all(keyword in _ENFORCED or keyword in _ANNOTATIONS for keyword in schema)


def build_grammar(wanted: OutputFormat) -> str:
    """Return the grammar of `wanted`, which must be a JSON format."""
    schema = {"type": "object"} if wanted.schema is None else rewrite_schema(wanted.schema)
    return (
        f"%llguidance {{}}\nstart: %json {msgspec.json.encode({'x-guidance': _OPTIONS, **schema}).decode()}"
    )


def rewrite_schema(schema: Schema) -> Schema:
    """
    Return a schema that llguidance can compile. All its values match `schema` too.

    It adds types that `schema` only implies. It forbids properties that `schema` does not describe,
    because a small model invents such properties without end.
    """
    closed = not any(_combines(one) for _, one in walk_schemas(schema))
    return rebuild_schema(schema, lambda one: _narrow(one, closed=closed))


def _combines(schema: Schema) -> bool:
    """Say whether several walk_schemas describe parts of one object. Closing one would exclude the others."""
    parts = _COMBINING & schema.keys()
    return "allOf" in parts or bool(parts and "properties" in schema)


def _narrow(schema: Schema, *, closed: bool) -> Schema:
    narrow = {key: value for key, value in schema.items() if key not in ("$schema", "$id", "x-guidance")}
    sized = narrow.keys() & {"minLength", "maxLength", "pattern"}
    if narrow.get("format") not in _FORMATS:
        narrow.pop("format", None)
    elif sized:  # the format says more than the length
        narrow = {key: value for key, value in narrow.items() if key not in sized}
    if narrow.get("maxItems", 0) > _LONGEST_LIST:
        del narrow["maxItems"]
    if not narrow.keys() & (_COMBINING | {"type", "enum", "const"}):
        kinds = {_TYPE_OF[keyword] for keyword in narrow if keyword in _TYPE_OF}
        if len(kinds) == 1:
            narrow["type"] = kinds.pop()
    if closed and _is_open(narrow):
        narrow["additionalProperties"] = False
    return narrow


def _is_open(schema: Schema) -> bool:
    properties = schema.get("properties")
    if properties is None or schema.keys() & {"additionalProperties", "patternProperties"}:
        return False
    return set(chain(schema.get("required", ()))) <= set(properties) and "minProperties" not in schema
