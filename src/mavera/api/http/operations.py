"""
Declare an operation of the API once, for its route and for its description.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from starlette.requests import Request
from starlette.responses import Response

from mavera.errors import APIError, RateLimitExceeded, Unauthorized

Handler = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Parameter:
    """
    A parameter outside of the body. `schema` is JSON Schema.

    An id in the path that is longer than its `maxLength` does not exist, so it gets a 404. With
    `may_have_slashes`, the last parameter of a path takes all the rest of the path.
    """

    name: str
    where: Literal["path", "query", "header"]
    description: str
    schema: dict[str, Any]
    may_have_slashes: bool = False


@dataclass(frozen=True, slots=True)
class Operation:
    """
    An operation. `path` is below `/api/v1` and `/v1`, unless it is `absolute`.

    A `media_type` other than JSON is that of a file. `other_responses` are further objects that an answer may
    be. `events` are the server-sent events of a streamed response. `errors` are the errors of the operation
    in addition to 401 and 429, which every operation with a key has.
    """

    method: Literal["GET", "POST", "PATCH", "DELETE"]
    path: str
    handler: Handler
    summary: str
    tag: str
    description: str = ""
    request: type[Any] | None = None
    example: dict[str, Any] | None = None
    response: type[Any] | None = None
    other_responses: tuple[type[Any], ...] = ()
    media_type: str = "application/json"
    parameters: tuple[Parameter, ...] = ()
    errors: tuple[type[APIError], ...] = ()
    events: tuple[type[Any], ...] = ()
    absolute: bool = False
    needs_key: bool = True
    status: int = 200
    other_statuses: dict[int, str] = field(default_factory=dict)

    @property
    def all_errors(self) -> tuple[type[APIError], ...]:
        key: tuple[type[APIError], ...] = (Unauthorized, RateLimitExceeded) if self.needs_key else ()
        return (*key, *self.errors, APIError)
