"""
Sign in with a pasted key, or with a one-time link or an invitation, and sign out.

Opening a link changes nothing, because scanners and previews open links too. It shows one button, whose POST
uses the link up.
"""

from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response

from mavera.accounts.sessions.session import Session
from mavera.api.http.auth import services_of
from mavera.api.http.cookies import delete_session_cookie, find_session
from mavera.console.doors import USER, doors_of
from mavera.console.entering import agent_of, enter, give_cookie, redirect_to
from mavera.console.forms import read_form
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
    return redirect_to(request, path)


async def show_sign_in(request: Request) -> Response:
    """Show the ways to sign in. Somebody whom a trusted proxy names needs none of them."""
    user = doors_of(request).read_proxy_user(request)
    if user is not None and request.query_params.get("signed-out") != "1":
        row = doors_of(request).find_access({USER: user})
        return await enter(request, row, "proxy", user, next_path=request.query_params.get("next", ""))
    return _render_sign_in(request, next_path=request.query_params.get("next", ""))


async def sign_in_with_key(request: Request) -> Response:
    """Begin a session with the rights of the pasted key."""
    services = services_of(request)
    form = await read_form(request, max_bytes=_SHORT_FORM_BYTES)
    try:
        principal = await services.keyring.authenticate(f"Bearer {form.text('key')}")
    except APIError as error:
        return _render_sign_in(request, next_path=form.text("next"), error=error)
    token = await services.sessions.begin_with_key(principal, agent=agent_of(request))
    return await give_cookie(request, token, next_path=form.text("next"))


async def show_link(request: Request) -> Response:
    """Show one button. The token stays in the page, which nobody may store."""
    values = {"token": request.query_params.get("token", "")[:_LONGEST_TOKEN]}
    return pages_of(request).render(request, "sign_in/link.html", values, headers=_NO_STORE)


async def redeem_link(request: Request) -> Response:
    """Use a link up, and begin its session."""
    form = await read_form(request, max_bytes=_SHORT_FORM_BYTES)
    token = await services_of(request).sessions.redeem(form.text("token"), agent=agent_of(request))
    return await give_cookie(request, token)


async def sign_out(request: Request) -> Response:
    session = await find_session(request)
    if session is not None:
        await services_of(request).sessions.end_own(session)
    response = redirect_to(request, "/console/sign-in?signed-out=1")
    await delete_session_cookie(request, response)
    return response


def _render_sign_in(request: Request, *, next_path: str, error: APIError | None = None) -> Response:
    values = {
        "next_path": next_path if is_own_path(next_path) else "",
        "signed_out": request.query_params.get("signed-out") == "1",
        "error": error,
        "issuer": doors_of(request).oidc,
    }
    status = error.status if error else 200
    return pages_of(request).render(request, "sign_in/sign_in.html", values, status=status, headers=_NO_STORE)


def _home_of(session: Session) -> str:
    return f"/console/w/{quote(session.workspace_id)}/home"


ROUTES = (
    PublicPage("GET", "/", open_console),
    PublicPage("GET", "/console", open_console),
    PublicPage("GET", "/console/sign-in", show_sign_in),
    PublicPage("POST", "/console/sign-in", sign_in_with_key),
    PublicPage("GET", "/console/sign-in/link", show_link),
    PublicPage("POST", "/console/sign-in/link", redeem_link),
    PublicPage("POST", "/console/sign-out", sign_out),
)
