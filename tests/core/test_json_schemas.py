"""JSON schemas as data: walked, rebase_schema, rewritten for the engine, and the smallest value of one."""

import json
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mavera.core.json_schema import modernize_schema, rebase_schema, walk_schemas
from mavera.core.prompt import OutputFormat
from mavera.models.embedded.grammar import build_grammar, is_enforced, rewrite_schema
from mavera.models.minimal import NoValue, build_minimal_value

leaves: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.sampled_from(
        [
            {"type": "string"},
            {"type": "string", "minLength": 2, "maxLength": 5},
            {"type": "string", "format": "date"},
            {"type": "integer", "minimum": 3, "maximum": 9},
            {"type": "integer", "exclusiveMinimum": -4, "exclusiveMaximum": -1},
            {"type": "integer", "minimum": 7, "multipleOf": 5},
            {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
            {"type": "number", "maximum": -0.5},
            {"type": "boolean"},
            {"type": ["null", "string"]},
            {"enum": ["a", 1]},
            {"const": {"x": [1]}},
            {"$ref": "#/$defs/shared"},
        ]
    )
)


def objects(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    names = st.sampled_from(["a", "not", "$ref", "items", "é", "with space"])
    properties = st.dictionaries(names, inner, max_size=4)
    closed: Any = st.sampled_from([{}, {"additionalProperties": False}])
    return st.tuples(properties, st.integers(0, 4), closed).map(
        lambda drawn: {
            "type": "object",
            "properties": drawn[0],
            "required": sorted(drawn[0])[: drawn[1]],
            **drawn[2],
        }
    )


def lists(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.tuples(inner, st.integers(0, 2)).map(
        lambda drawn: {"type": "array", "items": drawn[0], "minItems": drawn[1]}
    )


def choices(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(inner, min_size=1, max_size=2).map(lambda options: {"anyOf": options})


bodies: st.SearchStrategy[dict[str, Any]] = st.recursive(
    leaves, lambda inner: objects(inner) | lists(inner) | choices(inner), max_leaves=8
)
schemas = bodies.map(lambda body: {**body, "$defs": {"shared": {"type": "string", "minLength": 1}}})


def fits(schema: dict[str, Any], value: Any) -> bool:
    return jsonschema_rs.validator_for(schema, offline=True).is_valid(value)


@given(schemas)
def test_the_smallest_value_fits_its_schema(schema: dict[str, Any]) -> None:
    assert fits(schema, build_minimal_value(schema))


def test_the_smallest_value_of_a_schema_inside_itself_ends() -> None:
    tree = {
        "type": "object",
        "properties": {"left": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}},
        "required": ["left"],
    }

    assert build_minimal_value(tree) == {"left": None}


@pytest.mark.parametrize(
    "schema",
    [
        {"anyOf": [{"$ref": "#"}, {"$ref": "#"}]},
        {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]},
        {"type": "integer", "minimum": 5, "maximum": 3},
        {"$ref": "#/nowhere"},
    ],
)
def test_a_schema_without_a_small_value_is_given_up(schema: dict[str, Any]) -> None:
    with pytest.raises(NoValue):
        build_minimal_value(schema)


@given(schemas)
def test_values_of_the_rewritten_schema_are_values_of_the_schema(schema: dict[str, Any]) -> None:
    assert fits(schema, build_minimal_value(rewrite_schema(schema)))


@given(schemas)
def test_a_schema_means_the_same_after_a_move(schema: dict[str, Any]) -> None:
    home = {"$defs": {"f": rebase_schema(schema, "#/$defs/f")}, "$ref": "#/$defs/f"}

    assert fits(home, build_minimal_value(schema))
    assert fits(schema, build_minimal_value(home))


@given(schemas)
def test_every_schema_inside_is_visited_once_and_found_at_its_path(schema: dict[str, Any]) -> None:
    paths = []
    for path, inner in walk_schemas(schema):
        found: Any = schema
        for step in path:
            found = found[int(step)] if isinstance(found, list) else found[step]
        assert found is inner
        paths.append(path)

    assert len(set(paths)) == len(paths)


@pytest.mark.parametrize(
    ("schema", "keyword"),
    [
        ({"not": {}}, "not"),
        ({"type": "array", "uniqueItems": True}, "uniqueItems"),
        ({"properties": {"a": {"items": {"if": {}}}}}, "if"),
        ({"anyOf": [{}, {"contains": {}}]}, "contains"),
        ({"$defs": {"x": {"propertyNames": {"pattern": "a"}}}}, "propertyNames"),
        ({"dependentRequired": {"a": ["b"]}}, "dependentRequired"),
        ({"unevaluatedProperties": False}, "unevaluatedProperties"),
        ({"minItems": 2000}, "minItems"),
        ({"pattern": "^(?=a)a"}, "pattern"),
        ({"pattern": r"\bfoo"}, "pattern"),
        ({"patternProperties": {"(?!b)": {}}}, "patternProperties"),
        ({"multipleOf": 1e-300}, "multipleOf"),
        ({"minimum": 1e300}, "minimum"),
        (
            {"$schema": "http://json-schema.org/draft-04/schema#", "exclusiveMinimum": True},
            "exclusiveMinimum",
        ),
    ],
)
def test_the_engine_gets_no_keyword_that_it_cannot_be_held_to(schema: dict[str, Any], keyword: str) -> None:
    assert f'"{keyword}"' in json.dumps(schema)
    assert f'"{keyword}"' not in json.dumps(rewrite_schema(schema))
    assert not is_enforced(schema)


@pytest.mark.parametrize(
    "schema",
    [
        {"enum": []},
        {
            "type": "object",
            "properties": {"a": {"enum": []}},
            "required": ["a"],
            "additionalProperties": False,
        },
        {"type": "integer", "minimum": 5, "maximum": 3},
        {"type": "string", "minLength": 5, "maxLength": 3},
        {"const": 1, "type": "string"},
        {"type": "object", "properties": {"a": False}, "required": ["a"]},
        {"$ref": "#"},
        {"anyOf": [{"$ref": "#"}, {"$ref": "#"}]},
    ],
)
def test_a_schema_without_a_known_value_is_checked_at_the_end(schema: dict[str, Any]) -> None:
    assert not is_enforced(schema)


@pytest.mark.parametrize(
    ("schema", "modern"),
    [
        ({"minimum": 3, "exclusiveMinimum": True}, {"exclusiveMinimum": 3}),
        ({"minimum": 3, "exclusiveMinimum": False}, {"minimum": 3}),
        ({"exclusiveMaximum": 3}, {"exclusiveMaximum": 3}),
        ({"items": [{"type": "null"}]}, {"prefixItems": [{"type": "null"}]}),
        ({"items": [{}], "additionalItems": False}, {"prefixItems": [{}], "items": False}),
        ({"items": {"items": [{}]}}, {"items": {"prefixItems": [{}]}}),
        ({"$schema": "x", "dependencies": {"a": ["b"]}}, {}),
    ],
)
def test_older_drafts_are_written_as_2020_12(schema: dict[str, Any], modern: dict[str, Any]) -> None:
    assert modernize_schema(schema) == modern


def test_what_narrows_a_recursive_reference_is_checked_at_the_end() -> None:
    schema = {"type": "object", "properties": {"c": {"$ref": "#", "type": "object", "description": "Hm."}}}

    assert not is_enforced(schema)
    assert rewrite_schema(schema)["properties"] == {"c": {"$ref": "#"}}


def test_what_narrows_any_other_reference_is_enforced() -> None:
    assert is_enforced({"$defs": {"a": {"type": "string"}}, "$ref": "#/$defs/a", "maxLength": 3})


def test_a_recursive_schema_streams() -> None:
    assert is_enforced(
        {"type": "object", "properties": {"next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}}}
    )


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "minLength": 10**12},
        {"type": "number", "minimum": 10**400, "multipleOf": 0.1},
        {"type": "integer", "minimum": 1, "multipleOf": 1e-320},
    ],
)
def test_numbers_beyond_use_make_no_large_value(schema: dict[str, Any]) -> None:
    with pytest.raises(NoValue):
        build_minimal_value(schema)


@pytest.mark.parametrize("keyword", ["pattern", "oneOf", "allOf", "multipleOf", "patternProperties", "x-own"])
def test_a_keyword_that_is_not_sure_to_be_held_to_is_checked_at_the_end(keyword: str) -> None:
    assert not is_enforced({"properties": {"a": {keyword: 3}}})


def test_the_engine_gets_no_format_that_it_does_not_know_and_no_length_beside_one_that_it_does() -> None:
    uri = {"type": "string", "format": "uri", "minLength": 1, "maxLength": 2083}

    assert rewrite_schema({"type": "string", "format": "colour"}) == {"type": "string"}
    assert rewrite_schema(uri) == {"type": "string", "format": "uri"}


def test_a_closed_object_is_not_made_of_parts_that_are_described_apart() -> None:
    parts: dict[str, Any] = {"allOf": [{"properties": {"a": {}}}, {"properties": {"b": {}}}]}

    assert "additionalProperties" not in json.dumps(rewrite_schema(parts))


def test_the_grammar_carries_the_schema_as_json() -> None:
    text = build_grammar(OutputFormat("json_schema", "x", schema={"enum": ["é\n"]}))
    head, schema = text.split("%json ")

    assert head == "%llguidance {}\nstart: "
    assert json.loads(schema)["enum"] == ["é\n"]
