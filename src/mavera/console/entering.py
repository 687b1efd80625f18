"""Begin a session for somebody whom a trusted party has named, and give the browser its cookie."""

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from mavera.accounts.keys.repository import find_first_workspace_id
from mavera.accounts.sessions.session import Method
from mavera.accounts.sessions.sessions import NewToken
from mavera.api.http.auth import services_of
from mavera.api.http.cookies import set_session_cookie
from mavera.api.http.headers import header
from mavera.console.doors import Access
from mavera.console.policy import secure
from mavera.console.rendering import is_own_path, pages_of
from mavera.errors import Forbidden

_NO_STORE = {"cache-control": "no-store"}


async def enter(
    request: Request, row: Access, method: Method, subject: str, *, next_path: str = ""
) -> Response:
    """Begin a session with the workspace and the role of `row`. Raises Forbidden if the workspace is gone."""
    services = services_of(request)
    workspace_id = row.workspace or await find_first_workspace_id(services.database)
    if workspace_id is None or not await services.sessions.has_workspace(workspace_id):
        raise Forbidden("Your workspace does not exist. Ask the operator of this server.")
    token = await services.sessions.begin(workspace_id, row.role, method, subject, agent=agent_of(request))
    return await give_cookie(request, token, next_path=next_path)


async def give_cookie(request: Request, token: NewToken, *, next_path: str = "") -> Response:
    """Give the browser the cookie of a new session, and lead it to the page that it wanted."""
    response = redirect_to(request, next_path if is_own_path(next_path) else "/console")
    await set_session_cookie(request, response, token, services_of(request).settings.console_session_seconds)
    return response


def redirect_to(request: Request, path: str) -> Response:
    return secure(RedirectResponse(pages_of(request).prefix_of(request) + path, 303, _NO_STORE))


def agent_of(request: Request) -> str:
    return header(request, b"user-agent") or ""
