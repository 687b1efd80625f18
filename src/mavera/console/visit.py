"""
A request of somebody who is signed in, and the shape of a page.

    async def show_keys(visit: Visit) -> Response:
        visit.principal.require("admin")
        keys = await visit.services.keyring.list(visit.workspace_id)
        return visit.render("keys/list.html", keys=keys)

    ROUTES = (Page("GET", "/console/w/{workspace_id}/settings/keys", show_keys),)

Each subject is a module that exports `ROUTES`, and `pages.py` lists the modules. Before a handler runs,
`pages.py` has found the session, has checked that it is at home in the workspace of the address, and has
refused unsafe requests from other sites. A handler raises the errors of `mavera.errors`; they become pages.

A handler of a POST reads its fields with `read_form`, and answers with a page or with `visit.redirect(…)`.
Templates extend `base.html` and fill the blocks `title` and `main`. They have these names at hand:

    session          the Session, or None on pages without one
    here("usage")    the address of a page of the workspace
    link("console", "operator", "log")   any other address of this server
    asset("console.css")                 the address of a static file
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from mavera.accounts.audit import Actor
from mavera.accounts.principal import Principal
from mavera.accounts.sessions.session import Session
from mavera.console.policy import secure
from mavera.console.rendering import build_path, pages_of
from mavera.services import Services


@dataclass(frozen=True, slots=True)
class Visit:
    request: Request
    services: Services
    session: Session

    @property
    def principal(self) -> Principal:
        return self.session.principal

    @property
    def actor(self) -> Actor:
        """Whoever visits, for the audit log."""
        return Actor.of(self.principal)

    @property
    def workspace_id(self) -> str:
        return self.session.workspace_id

    def path(self, *parts: str) -> str:
        """Return the address of a page of the workspace, as in `visit.path("settings/keys")`."""
        prefix = pages_of(self.request).prefix_of(self.request)
        return prefix + build_path("console", "w", self.workspace_id, *parts)

    def render(
        self, name: str, *, status: int = 200, headers: dict[str, str] | None = None, **values: Any
    ) -> Response:
        """Return the page or fragment of a template. The template must know what `values` it gets."""
        return pages_of(self.request).render(
            self.request, name, values, session=self.session, status=status, headers=headers
        )

    def redirect(self, *parts: str) -> Response:
        """Send the browser to a page of the workspace with a GET, after a POST has changed something."""
        return secure(RedirectResponse(self.path(*parts), 303))


@dataclass(frozen=True, slots=True)
class Page:
    """A page for people who are signed in. `path` is below the prefix of the server."""

    method: Literal["GET", "POST"]
    path: str
    handler: Callable[[Visit], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class PublicPage:
    """A page for everybody, such as the sign-in."""

    method: Literal["GET", "POST"]
    path: str
    handler: Callable[[Request], Awaitable[Response]]
