"""The envelope of every list: `{"object": "list", "data", "has_more", "next_cursor"}`."""

from collections.abc import Sequence
from typing import Any

from starlette.requests import Request

from mavera.api.operation import Parameter
from mavera.errors import InvalidRequest, ValidationFailed

DEFAULT_LIMIT = 50
MAX_LIMIT = 100

LIST_PARAMETERS = (
    Parameter(
        "limit",
        "query",
        "How many to return.",
        {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT},
    ),
    Parameter("cursor", "query", "The `next_cursor` of the page before.", {"type": "string"}),
)


def list_body(data: Sequence[Any], next_cursor: str | None) -> dict[str, Any]:
    return {
        "object": "list",
        "data": data,
        "has_more": next_cursor is not None,
        "next_cursor": next_cursor,
    }


def limit_of(request: Request) -> int:
    """Return the `limit` asked for. Raises ValidationFailed unless it is 1 to 100."""
    text = request.query_params.get("limit", str(DEFAULT_LIMIT))
    if not (text.isascii() and text.isdecimal() and 1 <= int(text[:9]) <= MAX_LIMIT):
        raise ValidationFailed(f"'limit' has to be a whole number from 1 to {MAX_LIMIT}.", param="limit")
    return int(text)


def flag_of(request: Request, name: str) -> bool | None:
    """Return a true/false query parameter, None where it is absent. Raises ValidationFailed."""
    text = request.query_params.get(name)
    if text is None:
        return None
    if text not in ("true", "false"):
        raise ValidationFailed(f"'{name}' has to be true or false.", param=name)
    return text == "true"


def refuse_unknown_query(request: Request, known: tuple[str, ...]) -> None:
    """Raise InvalidRequest for a query parameter that nobody documents, or that stands there twice."""
    names = [name for name, _ in request.query_params.multi_items()]
    for name in names:
        if name not in known:
            raise InvalidRequest(
                f"'{name[:100]}' is not a parameter of this endpoint; it takes {', '.join(known)}.",
                param=name[:100],
            )
        if names.count(name) > 1:
            raise InvalidRequest(f"'{name}' stands twice in the query.", param=name)
