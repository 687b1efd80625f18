"""
Build /openapi.json from the operations, and from the Structs that they decode and encode.

The Struct that validates a request also describes it.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from mavera import __version__
from mavera.api.http.descriptions import (
    describe_components,
    describe_error,
    load_descriptions,
    load_examples,
)
from mavera.api.http.operations import Operation, Parameter
from mavera.api.wire.objects import ErrorBody
from mavera.errors import APIError, RateLimitExceeded, ServiceUnavailable

_REF = "#/components/schemas/{name}"
_REQUEST_ID = {
    "x-request-id": {
        "description": "The id finds this request in the server's log.",
        "schema": {"type": "string"},
    }
}
_RETRY_AFTER = {"Retry-After": {"description": "The seconds to wait.", "schema": {"type": "integer"}}}


def openapi_document(operations: Sequence[Operation], prefix: str) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document. Paths are below `prefix`, unless they are absolute."""
    kinds = {
        kind
        for op in operations
        for kind in (op.request, op.response, *op.other_responses, *op.events)
        if kind is not None
    }
    ordered = sorted(kinds, key=lambda kind: str(kind.__name__))
    schemas, components = msgspec.json.schema_components([*ordered, ErrorBody], ref_template=_REF)
    describe_components(components)
    named = dict(zip(ordered, schemas, strict=False))
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        path = operation.path if operation.absolute else prefix + operation.path
        paths.setdefault(path, {})[operation.method.lower()] = _describe_operation(operation, named)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "mavera",
            "version": __version__,
            "summary": "Persona-powered answers over OpenAI's wire formats.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer", "description": "A key that starts with `mvra_`."}
            },
        },
    }


def _describe_operation(operation: Operation, named: dict[type[Any], Any]) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.handler.__name__,
        "summary": operation.summary,
        "tags": [operation.tag],
        "responses": _describe_responses(operation, named),
    }
    if operation.description:
        described["description"] = operation.description
    if operation.parameters:
        described["parameters"] = [_describe_parameter(parameter) for parameter in operation.parameters]
    if operation.request is not None:
        body = {"schema": named[operation.request]}
        if operation.example is not None:
            body["example"] = operation.example
        described["requestBody"] = {"required": True, "content": {"application/json": body}}
    if operation.needs_key:
        described["security"] = [{"key": []}]
    return described


def _describe_parameter(parameter: Parameter) -> dict[str, Any]:
    described: dict[str, Any] = {
        "name": parameter.name,
        "in": parameter.where,
        "required": parameter.where == "path",
        "description": parameter.description,
        "schema": parameter.schema,
    }
    example = load_descriptions()["parameters"].get(parameter.name)
    if example is not None:
        described["example"] = example
    return described


def _describe_response(operation: Operation, named: dict[type[Any], Any]) -> dict[str, Any]:
    if operation.response is None:
        return {"type": "object"}
    if operation.other_responses:
        return {"anyOf": [named[kind] for kind in (operation.response, *operation.other_responses)]}
    schema: dict[str, Any] = named[operation.response]
    return schema


def _describe_responses(operation: Operation, named: dict[type[Any], Any]) -> dict[str, Any]:
    schema = _describe_response(operation, named)
    if operation.media_type != "application/json":
        schema = {"type": "string"}
    content: dict[str, Any] = {operation.media_type: {"schema": schema}}
    example = load_examples().get(operation.handler.__name__)
    if not isinstance(example, str | None):
        content[operation.media_type]["example"] = example
    if operation.events:
        content["text/event-stream"] = {
            "schema": {
                "description": "The `data` of each event; the last is `[DONE]`.",
                "oneOf": [named[event] for event in operation.events],
            }
        }
    done = {"description": "Done.", "headers": _REQUEST_ID, "content": content}
    responses: dict[str, Any] = {str(operation.status): done}
    for status, description in operation.other_statuses.items():
        responses[str(status)] = {
            "description": description,
            "headers": _REQUEST_ID,
            "content": {"application/json": {"schema": schema}},
        }
    for status in sorted({error.status for error in operation.all_errors}):
        kinds = [error for error in operation.all_errors if error.status == status]
        responses[str(status)] = _describe_error(kinds)
    return responses


def _describe_error(kinds: list[type[APIError]]) -> dict[str, Any]:
    waits = any(issubclass(kind, RateLimitExceeded | ServiceUnavailable) for kind in kinds)
    described = {kind.code: describe_error(kind) for kind in kinds}
    content = {
        "schema": {"$ref": _REF.format(name="ErrorBody")},
        "examples": {code: {"summary": cause, "value": body} for code, (cause, body) in described.items()},
    }
    return {
        "description": " ".join(f"`{code}`: {cause}" for code, (cause, _) in described.items()),
        "headers": {**_REQUEST_ID, **(_RETRY_AFTER if waits else {})},
        "content": {"application/json": content},
    }
