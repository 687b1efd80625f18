"""
Convert a JSON format to a grammar of llguidance, which constrains llama.cpp's tokens.

    kept_to     only keywords seen to be held to        the text may stream before it has been checked
    grammar     the schema, rewritten, as a grammar     without what llguidance cannot hold to

llama.cpp's own `response_format` is not used: it drops `pattern`, `allOf` and the bounds of
numbers without a word. And when llguidance cannot compile a schema, the engine says nothing
and answers without constraint. So the grammar leaves out what llguidance cannot compile, and the answer is
checked against the whole schema afterwards. docs/decisions/0007 has what was tried.
"""

import re
from itertools import chain
from typing import Any

import msgspec
from jsonschema_rs import ValidationError

from mavera.core.ecma_patterns import is_irregular
from mavera.core.json_schema import Schema, modernize_schema, rebuild_schema, walk_schemas
from mavera.core.prompt import OutputFormat
from mavera.core.schema_validators import compile_validator, count_visits
from mavera.models.minimal import NoValue, build_minimal_value

# Keywords that no grammar holds to.
_LEFT_OUT = frozenset(
    {
        "$dynamicRef",
        "$recursiveRef",
        "$schema",
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
        "x-guidance",
    }
)
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
_BESIDE_REFERENCE = frozenset({"$anchor", "$defs", "$id", "$ref", "definitions"})
_COMBINING = frozenset({"$ref", "allOf", "anyOf", "oneOf"})
# Longer lists make a grammar too large to compile, and no answer is that long.
_LONGEST_LIST = 1000
_LONGEST_STRING = 3000
# More of them take the engine seconds to compile, during which it does nothing else.
_MOST_SUBSCHEMAS = 1000
_LARGEST_BOUND = 1e15
_SMALLEST_STEP = 1e-9
_PATTERN_BYTES = 100_000
_BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
# Edges of words, and controls by their letters.
_UNKNOWN_ESCAPES = re.compile(r"\\[bBc]")
# An answer has at most so many times the words that it has to have.
_MOST_TIMES = 5
# A view in English that has its reason or is followed by one, after a short sentence at most ("No."). Words
# are forced at the end of a sentence only. If a full stop is forbidden within it, a small model writes
# anything else ("online.razil", a Chinese word). "$4.90" and "6 a.m." end no sentence.
_VIEW = r"([^.!?\n]{1,25}[.!?]+ )?([^.!?\n]|[.]\d|[.]m[.])+"
_WITH_REASON = r"[ ,](because|since|unless|due to|too [a-z]+) "
# JSON as Python writes it, which models know best, without the freedom to emit white space for ever.
_OPTIONS = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": ", "lenient": True}


def is_enforced(schema: Schema) -> bool:
    """Whether an answer under the grammar of `schema` cannot but fit it."""
    inside = [one for _, one in walk_schemas(schema)]
    if len(inside) > _MOST_SUBSCHEMAS or not all(map(_is_plain, inside)):
        return False
    if any(map(_narrows_reference, inside)) and count_visits(schema) is None:
        return False
    return _has_a_value(schema)


def _is_plain(schema: Schema) -> bool:
    if max(schema.get("maxItems", 0), schema.get("minItems", 0)) > _LONGEST_LIST:
        return False
    if schema.get("minLength", 0) > _LONGEST_STRING or _is_of_an_older_draft(schema):
        return False
    if any(abs(schema.get(bound, 0)) > _LARGEST_BOUND for bound in _BOUNDS):
        return False
    return all(keyword in _ENFORCED or keyword in _ANNOTATIONS for keyword in schema)


def _narrows_reference(schema: Schema) -> bool:
    """Whether a reference has keywords beside it that narrow its target."""
    return "$ref" in schema and not schema.keys() <= _BESIDE_REFERENCE | _ANNOTATIONS


def _is_of_an_older_draft(schema: Schema) -> bool:
    named = str(schema.get("$schema", "2020-12"))
    is_old = "2020-12" not in named or isinstance(schema.get("items"), list)
    return is_old or any(isinstance(schema.get(bound), bool) for bound in _BOUNDS)


def _has_a_value(schema: Schema) -> bool:
    """Whether a small value is known to fit. Without one, llguidance would not compile the schema."""
    try:
        value = build_minimal_value(schema, most_steps=1000)
        if count_visits(schema) is None:  # checking the value might take long
            return True
        return compile_validator(schema, pattern_bytes=_PATTERN_BYTES).is_valid(value)
    except (NoValue, ValidationError, ValueError):
        return False


def build_grammar(wanted: OutputFormat) -> str:
    """Return the grammar of `wanted`: a JSON format, or what is asked of a text."""
    if wanted.type == "text":
        return _build_text_grammar(wanted)
    schema = {"type": "object"} if wanted.schema is None else rewrite_schema(wanted.schema)
    return (
        f"%llguidance {{}}\nstart: %json {msgspec.json.encode({'x-guidance': _OPTIONS, **schema}).decode()}"
    )


def _build_text_grammar(wanted: OutputFormat) -> str:
    begins = f"{msgspec.json.encode(wanted.begins).decode()} " if wanted.begins else ""
    least = wanted.least_words
    # The upper bound ends the answer of a model that decoding lets not end by itself.
    text = rf"(\S+\s+){{{least},{least * _MOST_TIMES}}}\S*" if least else r"(.|\n)*"
    # A long answer has its reasons anyway, and both in one expression would be large.
    reason = _build_reason(wanted.reason_opening) if wanted.reason_opening and not least else ""
    return f"%llguidance {{}}\nstart: {begins}/{reason}{text}/"


def _build_reason(opening: str) -> str:
    """Return the expression of a view with its reason. A voice in small letters may write the opening so."""
    first, rest = opening[0], re.escape(opening[1:]).replace(r"\ ", " ")
    return rf"{_VIEW}({_WITH_REASON}|[.!?]+ [{first.upper()}{first.lower()}]{rest} )"


def rewrite_schema(schema: Schema) -> Schema:
    """
    Return a schema that llguidance can compile, whose values are mostly among those of `schema`.

    It has types where they were only implied, and no room for properties that nobody
    described: a small model fills such room without end. Keywords that llguidance cannot hold to are left
    out, so some of its values may not be among those of `schema`. So are keywords beside a recursive
    reference: llguidance merges them with its target, which has no end. A schema that would take the engine
    seconds to compile leaves only its type.
    """
    schema = modernize_schema(schema)
    if sum(1 for _ in walk_schemas(schema)) > _MOST_SUBSCHEMAS:
        return {"type": schema["type"]} if "type" in schema else {"type": "object"}
    if count_visits(schema) is None:
        schema = rebuild_schema(schema, _bare_reference)
    closed = not any(_combines(one) for _, one in walk_schemas(schema))
    return rebuild_schema(schema, lambda one: _narrow(one, closed=closed))


def _bare_reference(schema: Schema) -> Schema:
    """Return `schema` without what narrows the target of its reference, if it has one."""
    if not _narrows_reference(schema):
        return schema
    return {key: value for key, value in schema.items() if key in _BESIDE_REFERENCE}


def _combines(schema: Schema) -> bool:
    """Say whether several walk_schemas describe parts of one object. Closing one would exclude the others."""
    parts = _COMBINING & schema.keys()
    return "allOf" in parts or bool(parts and "properties" in schema)


def _narrow(schema: Schema, *, closed: bool) -> Schema:
    narrow = {key: value for key, value in schema.items() if _is_understood(key, value)}
    if narrow.get("patternProperties", {}).keys() != schema.get("patternProperties", {}).keys():
        narrow.pop("additionalProperties", None)
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


def _is_understood(keyword: str, value: Any) -> bool:
    """Whether llguidance compiles and holds to a keyword."""
    match keyword:
        case "minItems":
            return bool(value <= _LONGEST_LIST)
        case "minLength":
            return bool(value <= _LONGEST_STRING)
        case "multipleOf":
            return bool(value >= _SMALLEST_STEP)
        case "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum":
            return bool(abs(value) <= _LARGEST_BOUND)
        case "pattern":
            return not _is_unknown_to_llguidance(value)
        case "patternProperties":
            return not any(map(_is_unknown_to_llguidance, value))
        case _:
            return keyword not in _LEFT_OUT


def _is_unknown_to_llguidance(pattern: str) -> bool:
    return is_irregular(pattern) or _UNKNOWN_ESCAPES.search(pattern) is not None


def _is_open(schema: Schema) -> bool:
    properties = schema.get("properties")
    if properties is None or schema.keys() & {"additionalProperties", "patternProperties"}:
        return False
    return set(chain(schema.get("required", ()))) <= set(properties) and "minProperties" not in schema
