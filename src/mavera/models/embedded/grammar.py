"""
A JSON format in the words of llguidance, which constrains llama.cpp's tokens here.

    refused       a keyword that no grammar can hold to      400, before any work
    kept_to       only keywords seen to be held to           the text may stream unchecked
    grammar       the schema, rewritten, as a grammar

llama.cpp's own `response_format` is not used: it drops `pattern`, `allOf` and the bounds of
numbers without a word. And when llguidance cannot compile a schema, the engine says nothing
and answers without constraint. So what it cannot compile must not reach it; what is left is
caught when the answer is checked. docs/decisions/0007 has what was tried.
"""

from collections.abc import Iterator
from itertools import chain
from typing import Any

import msgspec

from mavera.core.json_schema import Schema, rebuilt, subschemas
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
# Values under which a refused keyword asks for nothing; zod writes the second one.
_IDLE: dict[str, tuple[Any, ...]] = {"uniqueItems": (False,), "propertyNames": (True, {}, {"type": "string"})}
_FORMATS = frozenset(
    {"date", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "time", "uri", "uuid"}
)
_KEPT_TO = frozenset(
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
# Longer lists make a grammar too large to compile; no answer gets that long.
_LONGEST_LIST = 1000
# JSON as Python writes it, which models know best, without the freedom to emit white space for ever.
_OPTIONS = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": ", "lenient": True}


def refused(schema: Schema) -> tuple[str, str] | None:
    """Return a keyword that cannot be enforced and the path of the schema that uses it, if there is one."""
    for path, one in subschemas(schema):
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
        # With optional properties in play llguidance cannot count them.
        yield from (name for name in ("minProperties", "maxProperties") if schema.get(name, 1) != 1)


def kept_to(schema: Schema) -> bool:
    """Whether an answer under the grammar of `schema` cannot but fit it."""
    return all(_is_plain(one) for _, one in subschemas(schema))


def _is_plain(schema: Schema) -> bool:
    if schema.get("maxItems", 0) > _LONGEST_LIST:
        return False
    return all(keyword in _KEPT_TO or keyword in _ANNOTATIONS for keyword in schema)


def grammar(wanted: OutputFormat) -> str:
    """Return the grammar of `wanted`, a JSON format."""
    schema = {"type": "object"} if wanted.schema is None else rewritten(wanted.schema)
    return (
        f"%llguidance {{}}\nstart: %json {msgspec.json.encode({'x-guidance': _OPTIONS, **schema}).decode()}"
    )


def rewritten(schema: Schema) -> Schema:
    """
    Return a schema that llguidance can compile, whose values are among those of `schema`.

    It has types where they were only implied, and no room for properties that nobody
    described: a small model fills such room without end.
    """
    closed = not any(_combines(one) for _, one in subschemas(schema))
    return rebuilt(schema, lambda one: _narrowed(one, closed=closed))


def _combines(schema: Schema) -> bool:
    """Whether parts of one object are described in several places: closing one would shut the others out."""
    parts = _COMBINING & schema.keys()
    return "allOf" in parts or bool(parts and "properties" in schema)


def _narrowed(schema: Schema, *, closed: bool) -> Schema:
    narrow = {key: value for key, value in schema.items() if key not in ("$schema", "$id", "x-guidance")}
    sized = narrow.keys() & {"minLength", "maxLength", "pattern"}
    if narrow.get("format") not in _FORMATS:
        narrow.pop("format", None)
    elif sized:  # the shape says more than its length
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
