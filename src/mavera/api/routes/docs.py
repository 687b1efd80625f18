"""GET /openapi.json and GET /docs: a description of the API, and a page that shows it without a CDN."""

from collections.abc import Sequence
from functools import cache
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from mavera.api.http.json import json_bytes
from mavera.api.http.openapi import openapi_document
from mavera.api.http.operations import Handler, Operation

_TYPES = {"html": "text/html", "js": "text/javascript", "css": "text/css"}

# The page may only run its own script and call its own server.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; frame-ancestors 'none'"
)


def routes(operations: Sequence[Operation], prefix: str) -> list[BaseRoute]:
    @cache
    def document() -> bytes:
        """
        Return the document.

        The first request builds it, because that takes megabytes and most servers need none.
        """
        return json_bytes(openapi_document(operations, prefix))

    async def openapi(_: Request) -> Response:
        return Response(document(), media_type="application/json")

    async def home(_: Request) -> Response:
        return RedirectResponse("/docs")

    return [
        Route("/", home),
        Route("/openapi.json", openapi),
        Route("/docs", _build_page("index.html")),
        *(Route(f"/docs/{name}", _build_page(name)) for name in _list_assets()),
    ]


def _list_assets() -> list[str]:
    folder = files("mavera.api.routes") / "docs_page"
    return sorted(entry.name for entry in folder.iterdir() if entry.name.endswith((".js", ".css")))


def _build_page(name: str) -> Handler:
    file = files("mavera.api.routes") / "docs_page" / name
    media_type = _TYPES[name.rpartition(".")[2]]
    headers = {"content-security-policy": _POLICY, "x-content-type-options": "nosniff"}

    async def page(_: Request) -> Response:
        return Response(file.read_bytes(), media_type=media_type, headers=headers)

    return page
