"""
Turn templates and values into HTML. Every value is escaped.

Filters for templates:

    {{ 1234567 | number }}       1,234,567
    {{ row.created_at | time }}  <time datetime="…">29 Nov 2026, 13:05 UTC</time>
    {{ row.ends_at | time("date") }}   the same, with a shorter text
    {{ row.created_at | date }}  29 Nov 2026
    {{ 1 | plural("key") }}      1 key

A script changes the texts of `<time>` to the reader's zone.
"""

import datetime
import re
from collections.abc import Collection
from typing import Any, Literal
from urllib.parse import quote, urlsplit

import jinja2
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import Response

from mavera import __version__
from mavera.accounts.sessions.session import Session
from mavera.api.http.headers import header
from mavera.console.assets import Assets
from mavera.console.navigation import list_links
from mavera.console.policy import secure
from mavera.core.text import format_count

_PREFIX = re.compile(r"(?:/[\w.~-]+)*")


class Pages:
    """Renders pages. One is at `app.state.console`; `existing` has the templates of all addresses."""

    def __init__(self, assets: Assets, existing: Collection[str], prefix: str) -> None:
        self._assets = assets
        self._existing = existing
        self._prefix = prefix
        self._environment = jinja2.Environment(
            loader=jinja2.PackageLoader("mavera.console"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters.update(
            number=format_number, time=format_time, date=format_date, plural=format_count
        )
        self._environment.globals["version"] = __version__

    def prefix_of(self, request: Request) -> str:
        """Return the path below which browsers reach this server: "" or a path such as `/mavera`."""
        root: str = request.scope.get("root_path", "")
        return root if root and _PREFIX.fullmatch(root) else self._prefix

    def render(
        self,
        request: Request,
        name: str,
        values: dict[str, Any],
        *,
        session: Session | None = None,
        status: int = 200,
        headers: dict[str, str] | None = None,
    ) -> Response:
        prefix = self.prefix_of(request)
        path = str(request.scope["path"])
        html = self._environment.get_template(name).render(
            **values,
            session=session,
            request_path=path,
            prefix=prefix,
            asset=lambda asset: prefix + self._assets.path(asset),
            link=lambda *parts: prefix + build_path(*parts),
            here=lambda *parts: (
                prefix + build_path("console", "w", session.workspace_id, *parts) if session else ""
            ),
            navigation=list(list_links(session, self._existing, path)) if session else [],
        )
        return secure(Response(html, status, headers, "text/html; charset=utf-8"))


def pages_of(request: Request) -> Pages:
    pages: Pages = request.app.state.console
    return pages


def wants_fragment(request: Request) -> bool:
    """Return whether htmx asks, which puts the answer into a part of the page."""
    return header(request, b"hx-request") == "true" and header(request, b"hx-boosted") != "true"


def build_path(*parts: str) -> str:
    """Return a path of escaped parts. A part with slashes, such as `settings/keys`, keeps them."""
    return "/" + "/".join(quote(part.strip("/"), safe="/") for part in parts if part)


def is_own_path(path: str) -> bool:
    """Return whether a browser that is redirected to `path` stays in the console of this server."""
    try:
        parts = urlsplit(path)
    except ValueError:
        return False
    return (
        not parts.scheme
        and not parts.netloc
        and path.startswith("/console/")
        and "\\" not in path
        and ".." not in path
        and path.isprintable()
    )


def format_number(value: float | None) -> str:
    return "–" if value is None else f"{value:,}"


def format_time(seconds: int | None, detail: Literal["minute", "date"] = "minute") -> Markup | str:
    """Return a `<time>` in UTC, whose text is the date alone if that is enough `detail`."""
    if seconds is None:
        return "–"
    moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    minute = f", {moment:%H:%M} UTC" if detail == "minute" else ""
    shown = f"{moment.day} {moment:%b %Y}{minute}"
    attributes = f"{moment:%Y-%m-%dT%H:%M:%SZ}", detail
    return Markup('<time datetime="{}" data-detail="{}">{}</time>').format(*attributes, shown)


def format_date(seconds: int | None) -> str:
    if seconds is None:
        return "–"
    moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return f"{moment.day} {moment:%b %Y}"
