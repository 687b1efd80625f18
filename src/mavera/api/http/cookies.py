"""
The cookie of a console session.

    behind TLS   __Host-mavera-<instance>    Secure, so no other site of the domain can set it
    elsewhere    mavera-<instance>

The name has the instance because browsers share cookies between the ports and prefixes of a host.
"""

from starlette.requests import HTTPConnection
from starlette.responses import Response

from mavera.accounts.sessions.session import Session
from mavera.accounts.sessions.sessions import NewToken
from mavera.api.http.headers import header
from mavera.api.http.services import services_of
from mavera.settings import Settings

_LONGEST_TOKEN = 200


def is_behind_tls(settings: Settings) -> bool:
    """Return whether browsers reach this server over TLS, which only a proxy can give it."""
    return settings.public_url.lower().startswith("https://")


async def name_cookie(request: HTTPConnection) -> str:
    services = services_of(request)
    name = f"mavera-{await services.sessions.name_instance()}"
    return f"__Host-{name}" if is_behind_tls(services.settings) else name


async def find_session(request: HTTPConnection, workspace_id: str = "") -> Session | None:
    """Return the living session of the request's cookie, seen from `workspace_id`, or None."""
    services = services_of(request)
    text = header(request, b"cookie")
    if text is None or services.settings.console == "off":
        return None
    token = read_cookie(text, await name_cookie(request))
    if not token or len(token) > _LONGEST_TOKEN:
        return None
    return await services.sessions.find(token, workspace_id=workspace_id)


def read_cookie(text: str, name: str) -> str | None:
    """Return the value of the cookie `name` in a Cookie header."""
    for part in text.split(";"):
        given, _, value = part.strip().partition("=")
        if given == name:
            return value
    return None


async def set_session_cookie(request: HTTPConnection, response: Response, token: NewToken, age: int) -> None:
    settings = services_of(request).settings
    response.set_cookie(
        await name_cookie(request),
        token.text,
        max_age=age,
        path="/",
        secure=is_behind_tls(settings),
        httponly=True,
        samesite="lax",
    )


async def delete_session_cookie(request: HTTPConnection, response: Response) -> None:
    settings = services_of(request).settings
    response.delete_cookie(
        await name_cookie(request), path="/", secure=is_behind_tls(settings), httponly=True, samesite="lax"
    )
