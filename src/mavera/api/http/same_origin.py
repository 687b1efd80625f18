"""
Refuse unsafe requests that another site's page made a browser send (CSRF).

    Sec-Fetch-Site   same-origin              allowed
                     anything else            refused
                     absent                   `Origin` must be our own: that of MAVERA_PUBLIC_URL, or, if that
                                              is not set, one with the request's own host
    Origin           absent or `null`         refused

Browsers send Sec-Fetch-Site over TLS and on loopback addresses. This concerns only requests that a cookie
signs in, and the forms that sign somebody in. A key in a header is judged without it.
"""

from urllib.parse import urlsplit

from starlette.requests import HTTPConnection

from mavera.api.http.headers import header
from mavera.errors import Forbidden
from mavera.settings import Settings

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_REFUSAL = "This request came from a page of another site, so it was refused. Open the console and try again."


def check_same_origin(request: HTTPConnection, settings: Settings) -> None:
    """Raise Forbidden if the request changes something and does not come from a page of this server."""
    # A WebSocket's handshake is a GET that can change something.
    if request.scope.get("method") in SAFE_METHODS:
        return
    site = header(request, b"sec-fetch-site")
    if site is not None:
        if site != "same-origin":
            raise Forbidden(_REFUSAL)
        return
    origin = header(request, b"origin")
    if origin is None or origin == "null" or not _is_own(origin, request, settings):
        raise Forbidden(_REFUSAL)


def _is_own(origin: str, request: HTTPConnection, settings: Settings) -> bool:
    try:
        given = urlsplit(origin)
        if settings.public_url:
            own = urlsplit(settings.public_url)
            return (given.scheme, given.netloc.lower()) == (own.scheme, own.netloc.lower())
    except ValueError:
        return False
    return given.netloc != "" and given.netloc.lower() == (header(request, b"host") or "").lower()
