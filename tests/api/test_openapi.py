"""
/openapi.json against the server that it describes, by requests that schemathesis makes up.

Whatever is sent, fitting or not: no 500, no status that is not described, no body that
does not fit its description.
"""

import json
from collections.abc import Iterator
from typing import Any

import httpx2
import jsonschema_rs
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from mavera.api.http.openapi import openapi_document
from mavera.app import OPERATIONS, PREFIXES
from tests.conftest import Served, running_server

STREAM = "text/event-stream"
SCHEMA = schemathesis.openapi.from_dict(json.loads(json.dumps(openapi_document(OPERATIONS, PREFIXES[0]))))
EXAMPLES = 8


def body_conformance(context: Any, response: Any, case: Any) -> bool | None:
    """Check the body. Of a stream, the description is of the data of each event and not of the event."""
    if not response.headers.get("content-type", [""])[0].startswith(STREAM):
        return response_schema_conformance(context, response, case)
    described = case.operation.definition.raw["responses"]["200"]["content"][STREAM]["schema"]
    check_events(response.text, described)
    return None


def check_events(text: str, described: dict[str, Any]) -> None:
    events = [line[6:] for line in text.splitlines() if line.startswith("data: ")]
    assert len(events) > 1
    assert events.pop() == "[DONE]"
    validator = jsonschema_rs.validator_for({**described, "components": SCHEMA.raw_schema["components"]})
    for event in events:
        validator.validate(json.loads(event))


CHECKS: Any = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    body_conformance,
]
# Nothing is wrong to send to an operation that takes nothing.
CASES = [
    pytest.param(path, method, mode, id=f"{method} {path} {mode.value}")
    for path, item in SCHEMA.raw_schema["paths"].items()
    for method, described in item.items()
    for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
    if mode == GenerationMode.POSITIVE or {"parameters", "requestBody"} & set(described)
]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with running_server(tmp_path_factory.mktemp("openapi"), log_level="error") as served:
        yield served


def test_the_server_shows_the_description(served: Served) -> None:
    assert httpx2.get(f"{served.url}/openapi.json").json() == SCHEMA.raw_schema


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/v1/responses", {"input": "Would you pay?"}),
        ("/api/v1/chat/completions", {"messages": [{"role": "user", "content": "Would you pay?"}]}),
    ],
)
def test_every_event_of_a_stream_keeps_to_its_description(
    served: Served, path: str, body: dict[str, Any]
) -> None:
    answer = httpx2.post(
        f"{served.url}{path}", json={"model": "mavera-1", "stream": True, **body}, headers=served.headers
    )
    described = SCHEMA.raw_schema["paths"][path]["post"]["responses"]["200"]["content"][STREAM]["schema"]

    check_events(answer.text, described)
    with pytest.raises(jsonschema_rs.ValidationError):
        check_events(answer.text.replace('"model":', '"model_of_yore":'), described)


@pytest.mark.parametrize(("path", "method", "mode"), CASES)
def test_an_operation_keeps_to_its_description(
    served: Served, path: str, method: str, mode: GenerationMode
) -> None:
    operation = SCHEMA[path][method]

    @settings(
        max_examples=EXAMPLES,
        phases=[Phase.generate],
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def keeps_to_it(data: st.DataObject) -> None:
        case = data.draw(operation.as_strategy(generation_mode=mode))
        case.call_and_validate(base_url=served.url, headers=served.headers, checks=CHECKS)

    keeps_to_it()
