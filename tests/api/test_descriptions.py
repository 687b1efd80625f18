"""Everything in /openapi.json has a sentence and an example that fits."""

from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest
from docs_site.record_examples import WITHOUT_EXAMPLE

from mavera.api.http.descriptions import (
    describe_error,
    find_example,
    list_leftovers,
    load_descriptions,
    load_examples,
)
from mavera.api.http.openapi import openapi_document
from mavera.app import OPERATIONS, PREFIXES
from mavera.errors import APIError

DOCUMENT = openapi_document(OPERATIONS, PREFIXES[0])
COMPONENTS: dict[str, dict[str, Any]] = DOCUMENT["components"]["schemas"]
SCALARS = ("string", "integer", "number", "boolean")


def properties() -> Iterator[tuple[str, dict[str, Any]]]:
    for name, schema in COMPONENTS.items():
        for field, described in schema.get("properties", {}).items():
            yield f"{name}.{field}", described


def described_operations() -> Iterator[dict[str, Any]]:
    for item in DOCUMENT["paths"].values():
        yield from item.values()


def is_sentence(text: str) -> bool:
    return text[:1].strip("`").isupper() or (text.startswith("`") and text.rstrip().endswith((".", "?", ":")))


def test_every_object_and_every_property_has_a_sentence() -> None:
    silent = [name for name, schema in COMPONENTS.items() if not schema.get("description")]
    silent += [
        place for place, described in properties() if not is_sentence(described.get("description", ""))
    ]

    assert silent == []


def test_every_single_value_has_an_example_that_fits() -> None:
    missing = [
        place
        for place, described in properties()
        if described.get("type") in SCALARS and not described.get("examples")
    ]
    wrong = [
        place
        for place, described in properties()
        for example in described.get("examples", [])
        if not jsonschema_rs.is_valid({**described, "components": DOCUMENT["components"]}, example)
    ]

    assert (missing, wrong) == ([], [])


def test_every_parameter_has_a_sentence_and_an_example_that_fits() -> None:
    for operation in described_operations():
        for parameter in operation.get("parameters", []):
            where = f"{operation['operationId']}.{parameter['name']}"
            assert is_sentence(parameter["description"]), where
            assert jsonschema_rs.is_valid(parameter["schema"], parameter["example"]), where


def test_every_example_of_a_body_fits_its_schema() -> None:
    bodies = [
        content
        for operation in described_operations()
        if "requestBody" in operation
        for content in operation["requestBody"]["content"].values()
    ]

    assert bodies
    for content in bodies:
        schema = {**content["schema"], "components": DOCUMENT["components"]}
        jsonschema_rs.validator_for(schema).validate(content["example"])


def test_every_recorded_answer_fits_its_schema() -> None:
    recorded = load_examples()
    unasked = {name for operation in OPERATIONS if (name := operation.handler.__name__) not in recorded}

    assert unasked == WITHOUT_EXAMPLE
    for operation in described_operations():
        answers = [answer for status, answer in operation["responses"].items() if status.startswith("2")]
        content = next(iter(answers[0]["content"].values()))
        if "example" in content:
            schema = {**content["schema"], "components": DOCUMENT["components"]}
            jsonschema_rs.validator_for(schema).validate(content["example"])


def all_errors(kind: type[APIError]) -> Iterator[type[APIError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from all_errors(child)


@pytest.mark.parametrize("kind", sorted(set(all_errors(APIError)), key=str), ids=lambda kind: kind.__name__)
def test_every_error_has_a_cause_and_a_body_as_it_is_sent(kind: type[APIError]) -> None:
    cause, body = describe_error(kind)

    assert is_sentence(cause)
    schema = {"$ref": "#/components/schemas/ErrorBody", "components": DOCUMENT["components"]}
    jsonschema_rs.validator_for(schema).validate(body)


def test_no_sentence_describes_what_is_gone() -> None:
    parameters = {
        parameter["name"]
        for operation in described_operations()
        for parameter in operation.get("parameters", [])
    }

    assert list_leftovers(COMPONENTS) == []
    assert set(load_descriptions()["parameters"]) <= parameters


@pytest.mark.parametrize(
    ("schema", "wanted", "example"),
    [
        ({"const": "list"}, [], "list"),
        ({"enum": [None, "low", "high"]}, ["medium"], "low"),
        ({"enum": ["low", "high"]}, ["high"], "high"),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, ["seven", 7], 7),
        ({"type": "number"}, [3], 3),
        ({"type": "boolean"}, [], True),
        ({"type": "string"}, [3], None),
    ],
)
def test_an_example_is_the_first_that_fits(
    schema: dict[str, Any], wanted: list[Any], example: object
) -> None:
    assert find_example(schema, *wanted) == example
