"""
One operation of the API, declared once: the route and its description come from the same object.
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
    A parameter outside of the body; `schema` is JSON Schema.

    An id in the path that is longer than its `maxLength` is one that does not exist: a 404. With
    `may_have_slashes`, the last parameter of a path takes all the rest of it.
    """

    name: str
    where: Literal["path", "query", "header"]
    description: str
    schema: dict[str, Any]
    may_have_slashes: bool = False


@dataclass(frozen=True, slots=True)
class Operation:
    """
    `path` stands under `/api/v1` and `/v1` unless `absolute`. `events` are what the answer
    may also come as, as server-sent events. `errors` lists what a client can get
    beside the 401 and 429 of every operation that needs a key.
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
