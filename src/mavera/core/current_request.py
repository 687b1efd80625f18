"""The HTTP request that the current task serves, for the records of the run that it may begin."""

from contextvars import ContextVar
from dataclasses import dataclass

from mavera.core.ids import id_beside, new_id


@dataclass(slots=True)
class CurrentRequest:
    """`is_admitted` says that a run began, whose row of usage names the request."""

    id: str
    is_admitted: bool = False


def id_of_answer(prefix: str) -> str:
    """Return an id for the answer to the current request, with the request's digits if there is one."""
    request = CURRENT.get()
    return new_id(prefix) if request is None else id_beside(prefix, request.id)


CURRENT: ContextVar[CurrentRequest | None] = ContextVar("current_request", default=None)
