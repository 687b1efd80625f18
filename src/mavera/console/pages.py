"""
Every page of the console, and the checks that all pages share.

    request  →  from another site?  →  session  →  at home in the workspace?  →  handler  →  policy headers
                 403                    sign-in     404                          an error becomes a page

A session may have ended while a form was filled in. Then the answer is a page that keeps the fields and can
send them again, or, for htmx, an order to go to the sign-in, so that the sign-in never lands inside a panel.
"""

from collections.abc import Awaitable, Callable
from importlib import import_module
from urllib.parse import quote, urlsplit

import structlog
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from mavera.accounts.sessions.session import Session
from mavera.api.http.auth import services_of
from mavera.api.http.cookies import find_session
from mavera.api.http.headers import header
from mavera.api.http.same_origin import SAFE_METHODS, check_same_origin
from mavera.console import (
    audit,
    data,
    home,
    keys,
    operator,
    people,
    persona_forms,
    personas,
    playground,
    playground_requests,
    requests,
    sessions,
    shared,
    sign_in,
    studies,
    study_forms,
    study_progress,
    usage,
)
from mavera.console.assets import Assets
from mavera.console.doors import Doors, doors_of, load_doors
from mavera.console.forms import Form, read_form
from mavera.console.policy import secure
from mavera.console.rendering import Pages, is_own_path, pages_of, wants_fragment
from mavera.console.visit import Page, PublicPage, Visit
from mavera.errors import APIError, ConfigurationError, NotFound
from mavera.extras import describe_missing_extra
from mavera.settings import Settings

Endpoint = Callable[[Request], Awaitable[Response]]

PAGES: tuple[Page, ...] = (
    *home.ROUTES,
    *playground.ROUTES,
    *playground_requests.ROUTES,
    *persona_forms.ROUTES,  # before the pages of a persona, whose addresses match everything
    *personas.ROUTES,
    *study_forms.ROUTES,  # before the pages of a study, whose addresses match everything
    *studies.ROUTES,
    *study_progress.ROUTES,
    *usage.ROUTES,
    *requests.ROUTES,
    *data.ROUTES,
    *audit.ROUTES,
    *keys.ROUTES,
    *people.ROUTES,
    *sessions.ROUTES,
    *operator.ROUTES,
)
PUBLIC_PAGES: tuple[PublicPage, ...] = (*sign_in.ROUTES, *shared.ROUTES)
# A stranger has no session either, so the fields that a page keeps are few.
KEPT_BYTES = 256 * 1024

log = structlog.get_logger()


class Console:
    """The routes of the console, and what its pages are rendered with."""

    def __init__(self, settings: Settings) -> None:
        assets = Assets()
        self.doors = load_doors(settings)
        existing = frozenset(page.path for page in PAGES if page.method == "GET")
        self.pages = Pages(assets, existing, settings.path_prefix)
        self.routes: list[BaseRoute] = [
            *(Route(page.path, _guard(page), methods=[page.method]) for page in PAGES),
            *(
                Route(page.path, _publish(page), methods=[page.method])
                for page in (*PUBLIC_PAGES, *_list_oidc_pages(self.doors, settings))
            ),
            Route("/console/static/{version}/{name}", assets.respond),
            Route("/console/{rest:path}", _refuse_unknown, methods=["GET", "POST"]),
        ]


def _list_oidc_pages(doors: Doors, settings: Settings) -> tuple[PublicPage, ...]:
    """Return the pages of the issuer, if there is one. Raises ConfigurationError without the extra `oidc`."""
    if doors.oidc is None:
        return ()
    try:
        module = import_module("mavera.console.oidc_sign_in")
    except ImportError as error:
        raise ConfigurationError(describe_missing_extra("oidc", "An issuer in sign-in.toml")) from error
    pages: tuple[PublicPage, ...] = module.build_oidc_pages(doors, doors.oidc, settings)
    return pages


def list_paths(console: Console) -> dict[Endpoint, str]:
    """Return the names under which the requests of each page are counted."""
    return {route.endpoint: route.path for route in console.routes if isinstance(route, Route)}


def _guard(page: Page) -> Endpoint:
    async def respond(request: Request) -> Response:
        services = services_of(request)
        wanted = request.path_params.get("workspace_id", "")
        check_same_origin(request, services.settings)
        session = await find_session(request, wanted)
        if session is not None and _is_of_another(request, session):
            await services.sessions.end_own(session)
            session = None
        if session is None:
            return await _respond_to_stranger(request)
        request.scope.setdefault("state", {})["log"] = {"session": session.id}
        visit = Visit(request, services, session)
        try:
            if wanted not in ("", session.workspace_id):
                raise NotFound("This session has no such workspace.")
            return secure(await page.handler(visit))
        except APIError as error:
            return _render_error(visit, error)

    return _report_faults(respond)


def _is_of_another(request: Request, session: Session) -> bool:
    """Return whether a proxy now names somebody else than the session's person, or nobody."""
    return session.method == "proxy" and doors_of(request).read_proxy_user(request) != session.subject


def _publish(page: PublicPage) -> Endpoint:
    async def respond(request: Request) -> Response:
        check_same_origin(request, services_of(request).settings)
        return secure(await page.handler(request))

    return _report_faults(respond)


def _report_faults(respond: Endpoint) -> Endpoint:
    """Answer errors of requests without a session, and unforeseen ones, with a page."""

    async def endpoint(request: Request) -> Response:
        try:
            return await respond(request)
        except APIError as error:
            return _render_public_error(request, error)
        except Exception as error:
            log.error("unexpected error", exc_info=error)
            fault = APIError("Something went wrong on the server. Its log has the request id.")
            return _render_public_error(request, fault)

    return endpoint


async def _refuse_unknown(request: Request) -> Response:
    return _render_public_error(request, NotFound("There is no such page."))


def _render_error(visit: Visit, error: APIError) -> Response:
    name = "fragments/error.html" if wants_fragment(visit.request) else "error.html"
    response = visit.render(name, status=error.status, error=error, request_id=_id_of(visit.request))
    return _add_retry(response, error)


def _render_public_error(request: Request, error: APIError) -> Response:
    name = "fragments/error.html" if wants_fragment(request) else "error.html"
    values = {"error": error, "request_id": _id_of(request)}
    return _add_retry(pages_of(request).render(request, name, values, status=error.status), error)


def _add_retry(response: Response, error: APIError) -> Response:
    if error.retry_after is not None:
        response.headers["retry-after"] = str(error.retry_after)
    return response


def _id_of(request: Request) -> str:
    return str(request.scope.get("state", {}).get("request_id", ""))


async def _respond_to_stranger(request: Request) -> Response:
    """Lead somebody whose session has ended, or who never had one, to the sign-in."""
    pages = pages_of(request)
    sign_in_path = f"{pages.prefix_of(request)}/console/sign-in"
    if header(request, b"hx-request") == "true":
        back = urlsplit(header(request, b"hx-current-url") or "").path.removeprefix(pages.prefix_of(request))
        target = f"{sign_in_path}?next={quote(back)}" if is_own_path(back) else sign_in_path
        return secure(Response(status_code=401, headers={"HX-Redirect": target}))
    path = str(request.scope["path"])
    if request.method in SAFE_METHODS:
        query = request.url.query
        back = quote(f"{path}?{query}" if query else path)
        return secure(RedirectResponse(f"{sign_in_path}?next={back}", 303))
    form = await _read_kept(request)
    values = {"form": form, "action": pages.prefix_of(request) + path, "sign_in_path": sign_in_path}
    headers = {"cache-control": "no-store"}
    return pages.render(request, "sign_in/ended.html", values, status=401, headers=headers)


async def _read_kept(request: Request) -> Form | None:
    """Return the fields of a form whose sender's session has ended, or None if they are too many to keep."""
    if header(request, b"cookie") is None:
        return None
    try:
        return await read_form(request, max_bytes=KEPT_BYTES)
    except APIError:
        return None
