"""
Sign in with a pasted key, or with a one-time link or an invitation, and sign out.

Opening a link changes nothing, because scanners and previews open links too. It shows one button, whose POST
uses the link up.
"""

from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from mavera.accounts.sessions.session import Session
from mavera.accounts.sessions.sessions import NewToken
from mavera.api.http.auth import services_of
from mavera.api.http.cookies import delete_session_cookie, find_session, set_session_cookie
from mavera.api.http.headers import header
from mavera.console.forms import read_form
from mavera.console.policy import secure
from mavera.console.rendering import is_own_path, pages_of
from mavera.console.visit import PublicPage
from mavera.errors import APIError

_NO_STORE = {"cache-control": "no-store"}
_SHORT_FORM_BYTES = 16 * 1024
_LONGEST_TOKEN = 200


async def open_console(request: Request) -> Response:
    """Lead to the home page of the session, or to the sign-in."""
    session = await find_session(request)
    path = _home_of(session) if session else "/console/sign-in"
    return _redirect(request, path)


async def show_sign_in(request: Request) -> Response:
    return _render_sign_in(request, next_path=request.query_params.get("next", ""))


async def sign_in_with_key(request: Request) -> Response:
    """Begin a session with the rights of the pasted key."""
    services = services_of(request)
    form = await read_form(request, max_bytes=_SHORT_FORM_BYTES)
    try:
        principal = await services.keyring.authenticate(f"Bearer {form.text('key')}")
    except APIError as error:
        return _render_sign_in(request, next_path=form.text("next"), error=error)
    token = await services.sessions.begin_with_key(principal, agent=_agent_of(request))
    return await _enter(request, token, next_path=form.text("next"))


async def show_link(request: Request) -> Response:
    """Show one button. The token stays in the page, which nobody may store."""
    values = {"token": request.query_params.get("token", "")[:_LONGEST_TOKEN]}
    return pages_of(request).render(request, "sign_in/link.html", values, headers=_NO_STORE)


async def redeem_link(request: Request) -> Response:
    """Use a link up, and begin its session."""
    form = await read_form(request, max_bytes=_SHORT_FORM_BYTES)
    token = await services_of(request).sessions.redeem(form.text("token"), agent=_agent_of(request))
    return await _enter(request, token)


async def sign_out(request: Request) -> Response:
    session = await find_session(request)
    if session is not None:
        await services_of(request).sessions.end_own(session)
    response = _redirect(request, "/console/sign-in?signed-out=1")
    await delete_session_cookie(request, response)
    return response


def _render_sign_in(request: Request, *, next_path: str, error: APIError | None = None) -> Response:
    values = {
        "next_path": next_path if is_own_path(next_path) else "",
        "signed_out": request.query_params.get("signed-out") == "1",
        "error": error,
    }
    status = error.status if error else 200
    return pages_of(request).render(request, "sign_in/sign_in.html", values, status=status, headers=_NO_STORE)


async def _enter(request: Request, token: NewToken, *, next_path: str = "") -> Response:
    """Give the browser its cookie, and lead it to the page that it wanted."""
    services = services_of(request)
    response = _redirect(request, next_path if is_own_path(next_path) else "/console")
    await set_session_cookie(request, response, token, services.settings.console_session_seconds)
    return response


def _redirect(request: Request, path: str) -> Response:
    return secure(RedirectResponse(pages_of(request).prefix_of(request) + path, 303, _NO_STORE))


def _home_of(session: Session) -> str:
    return f"/console/w/{quote(session.workspace_id)}/home"


def _agent_of(request: Request) -> str:
    return header(request, b"user-agent") or ""


ROUTES = (
    PublicPage("GET", "/", open_console),
    PublicPage("GET", "/console", open_console),
    PublicPage("GET", "/console/sign-in", show_sign_in),
    PublicPage("POST", "/console/sign-in", sign_in_with_key),
    PublicPage("GET", "/console/sign-in/link", show_link),
    PublicPage("POST", "/console/sign-in/link", redeem_link),
    PublicPage("POST", "/console/sign-out", sign_out),
)
