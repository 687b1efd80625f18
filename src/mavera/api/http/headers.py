"""Look one header up. Starlette's mapping would decode all headers for each look-up."""

from starlette.requests import HTTPConnection


def header(request: HTTPConnection, name: bytes) -> str | None:
    """Return the first header called `name`, which is in lower case."""
    for given, value in request.scope["headers"]:
        if given == name:
            return str(value, "latin-1")
    return None
