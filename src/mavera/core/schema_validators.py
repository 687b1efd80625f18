"""
Compile the JSON Schemas of callers: draft 2020-12, older drafts, and patterns of ECMA-262.

    compile_validator   a validator, or the fault of the schema
    count_visits        the most schemas that a check visits for each value, None if that has no small bound

A schema without `$schema` is read as 2020-12. If it is invalid by 2020-12, it is read as an older draft,
because callers still write `exclusiveMinimum: true` and `items: [...]` without `$schema`.
"""

from collections.abc import Iterator
from typing import Any, Final

import jsonschema_rs

from mavera.core.ecma_patterns import is_irregular, portable_pattern
from mavera.core.json_schema import Schema, children, rebuild_schema, walk_schemas

_OLDER_DRAFTS: Final = (
    jsonschema_rs.Draft201909Validator,
    jsonschema_rs.Draft7Validator,
    jsonschema_rs.Draft4Validator,
)
# The operator chose the tools, so their patterns are allowed to be large.
TOOL_PATTERN_BYTES: Final = 8_000_000
# The most backtracking steps of one look-around pattern for one string.
_MOST_STEPS_BACK = 10_000
_MOST_VISITS = 20_000
_UNBOUNDED: Final = frozenset({"$dynamicRef", "$recursiveRef"})
_UNEVALUATED: Final = frozenset({"unevaluatedItems", "unevaluatedProperties"})


def compile_validator(schema: Schema, *, pattern_bytes: int) -> jsonschema_rs.Validator:
    """
    Return a validator of `schema`. Each of its patterns may take `pattern_bytes` of memory.

    Raises jsonschema_rs.ValidationError, or ValueError, if the schema is invalid or a pattern too large.
    """
    try:
        return _compile(jsonschema_rs.validator_for, schema, pattern_bytes)
    except jsonschema_rs.ValidationError as error:
        for other in (schema, rebuild_schema(schema, _with_portable_patterns)):
            for draft in _drafts_of(other):
                try:
                    return _compile(draft, other, pattern_bytes)
                except (jsonschema_rs.ValidationError, ValueError):
                    continue
        raise error from None


def is_about_a_pattern(error: jsonschema_rs.ValidationError) -> bool:
    """Whether a schema was refused because a pattern is invalid or too large."""
    return error.message.endswith('is not a "regex"')


def patterns_of(schema: Schema) -> list[str]:
    """Return the patterns of `schema` itself, without the patterns of schemas inside it."""
    pattern, named = schema.get("pattern"), schema.get("patternProperties")
    found = [pattern] if isinstance(pattern, str) else []
    return [*found, *named] if isinstance(named, dict) else found


def count_visits(schema: Schema) -> int | None:
    """
    Return the most schemas that a check visits for each value.

    Returns None if a reference leads into itself or to an unknown place, if references multiply, or if a
    pattern looks around. Such a check can take any time, so it needs a budget.
    """
    known = {"/".join(("#", *path)): inner for path, inner in walk_schemas(schema)}
    if any(is_irregular(pattern) for inner in known.values() for pattern in patterns_of(inner)):
        return None
    try:
        return _Visits(known).of(schema, 0)
    except _Unbounded:
        return None


class _Unbounded(Exception):
    """The number of visits has no small bound."""


class _Visits:
    def __init__(self, known: dict[str, Schema]) -> None:
        self._known = known
        self._counts: dict[int, int | None] = {}

    def of(self, schema: Schema, depth: int) -> int:
        """Return the schemas visited below `schema`. Raises _Unbounded."""
        if id(schema) in self._counts:
            count = self._counts[id(schema)]
            if count is None:  # this schema is still being counted, so it leads into itself
                raise _Unbounded
            return count
        if depth > 200 or _UNBOUNDED & schema.keys():
            raise _Unbounded
        self._counts[id(schema)] = None
        count = 1 + sum(self.of(inner, depth + 1) for inner in self._iterate_applied(schema))
        # To find the unevaluated members, a check visits all the other schemas again.
        count *= 2 if _UNEVALUATED & schema.keys() else 1
        if count > _MOST_VISITS:
            raise _Unbounded
        self._counts[id(schema)] = count
        return count

    def _iterate_applied(self, schema: Schema) -> Iterator[Schema]:
        for path, inner in children(schema):
            if path[0] not in ("$defs", "definitions"):
                yield inner
        if "$ref" in schema:
            target = self._known.get(schema["$ref"]) if isinstance(schema["$ref"], str) else None
            if target is None:
                raise _Unbounded
            yield target


def _compile(draft: Any, schema: Schema, pattern_bytes: int) -> jsonschema_rs.Validator:
    patterns = jsonschema_rs.FancyRegexOptions(
        backtrack_limit=_MOST_STEPS_BACK, size_limit=pattern_bytes, dfa_size_limit=pattern_bytes
    )
    validator: jsonschema_rs.Validator = draft(
        schema, pattern_options=patterns, offline=True, validate_formats=False
    )
    return validator


def _drafts_of(schema: Schema) -> tuple[Any, ...]:
    return (jsonschema_rs.validator_for, *(() if "$schema" in schema else _OLDER_DRAFTS))


def _with_portable_patterns(schema: Schema) -> Schema:
    changed = dict(schema)
    if isinstance(changed.get("pattern"), str):
        changed["pattern"] = portable_pattern(changed["pattern"])
    if isinstance(changed.get("patternProperties"), dict):
        named = changed["patternProperties"].items()
        changed["patternProperties"] = {portable_pattern(pattern): inner for pattern, inner in named}
    return changed
