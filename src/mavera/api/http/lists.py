"""Build the envelope of every list: `{"object": "list", "data", "has_more", "next_cursor"}`."""

from collections.abc import Sequence
from typing import Any

from starlette.requests import Request

from mavera.api.http.operations import Parameter
from mavera.errors import InvalidRequest, ValidationFailed

DEFAULT_LIMIT = 50
MAX_LIMIT = 100

LIST_PARAMETERS = (
    Parameter(
        "limit",
        "query",
        "The most entries of the page.",
        {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT},
    ),
    Parameter(
        "cursor",
        "query",
        "The cursor is the `next_cursor` of the page before.",
        {"type": "string", "maxLength": 64},
    ),
)


def list_body(data: Sequence[Any], next_cursor: str | None) -> dict[str, Any]:
    return {
        "object": "list",
        "data": data,
        "has_more": next_cursor is not None,
        "next_cursor": next_cursor,
    }


def limit_of(request: Request) -> int:
    """Return the requested `limit`. Raises ValidationFailed unless it is 1 to 100."""
    text = request.query_params.get("limit", str(DEFAULT_LIMIT))
    if not (text.isascii() and text.isdecimal() and 1 <= int(text[:9]) <= MAX_LIMIT):
        raise ValidationFailed(f"'limit' has to be a whole number from 1 to {MAX_LIMIT}.", param="limit")
    return int(text)


def flag_of(request: Request, name: str) -> bool | None:
    """Return a true/false query parameter, or None if it is absent. Raises ValidationFailed."""
    text = request.query_params.get(name)
    if text is None:
        return None
    if text not in ("true", "false"):
        raise ValidationFailed(f"'{name}' has to be true or false.", param=name)
    return text == "true"


def check_query(request: Request, known: Sequence[Parameter]) -> None:
    """
    Check the parameters of the query. Raises InvalidRequest for an unknown or repeated one.

    Raises ValidationFailed if one is longer than its schema's `maxLength`.
    """
    schemas = {parameter.name: parameter.schema for parameter in known}
    seen: set[str] = set()
    for name, value in request.query_params.multi_items():
        if name not in schemas:
            raise InvalidRequest(
                f"'{name[:100]}' is not a parameter of this endpoint; it takes {', '.join(schemas)}.",
                param=name[:100],
            )
        if name in seen:
            raise InvalidRequest(f"'{name}' occurs twice in the query.", param=name)
        seen.add(name)
        most = schemas[name].get("maxLength")
        if most is not None and len(value) > most:
            raise ValidationFailed(f"'{name}' has at most {most} characters.", param=name)
