"""One header of a request: Starlette's own mapping decodes every header for each one looked up."""

from starlette.requests import HTTPConnection


def header(request: HTTPConnection, name: bytes) -> str | None:
    """Return the first header called `name`, which is in small letters."""
    for given, value in request.scope["headers"]:
        if given == name:
            return str(value, "latin-1")
    return None
