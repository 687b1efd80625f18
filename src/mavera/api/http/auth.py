"""
Authenticate a request by the key in its Authorization or api-key header, or by a console session's cookie.
Count it.

Each request with a key is counted once, however it ends. Every response to it has headers with the number of
requests that are left.
"""

import time

from starlette.requests import HTTPConnection

from mavera.accounts.limits.windows import Verdict
from mavera.accounts.plans import Scope
from mavera.accounts.principal import Principal
from mavera.api.http.cookies import find_session
from mavera.api.http.headers import header
from mavera.api.http.same_origin import check_same_origin
from mavera.api.http.services import services_of
from mavera.core.text import format_count
from mavera.errors import NotFound, RateLimitExceeded

__all__ = ["authenticate", "credentials_of", "rate_limit_headers", "services_of"]

# The console names the workspace of its page. Only a session at home in it may do so.
WORKSPACE_HEADER = b"x-mavera-workspace"


async def authenticate(request: HTTPConnection, scope: Scope | None = None) -> Principal:
    """
    Return the principal of the request's key, and count the request.

    Raises Unauthorized with the fault of the key, RateLimitExceeded, or Forbidden if the key lacks `scope`.
    """
    services = services_of(request)
    principal = await _find_principal(request)
    # Starlette's `request.state` would make a new object at each use.
    state = request.scope.setdefault("state", {})
    state["log"] = {"key": principal.key_id}
    state["principal"] = principal
    verdict = await services.limiter.allow(principal.key_id, principal.limits)
    state["headers"] = rate_limit_headers(verdict, now=time.time())
    if not verdict.allowed:
        raise RateLimitExceeded(
            f"This API key has made all {format_count(verdict.limit, 'request')} of this window."
            f" Retry in {format_count(verdict.reset_seconds, 'second')}.",
            retry_after=verdict.reset_seconds,
        )
    if scope is not None:
        principal.require(scope)
    return principal


async def _find_principal(request: HTTPConnection) -> Principal:
    """Return the principal of the key, which wins over a cookie, or of the session. Raises APIError."""
    services = services_of(request)
    credentials = credentials_of(request)
    if credentials is None and b"cookie" in (name for name, _ in request.scope["headers"]):
        wanted = header(request, WORKSPACE_HEADER) or ""
        session = await find_session(request, wanted)
        if session is not None:
            check_same_origin(request, services.settings)
            if wanted not in ("", session.workspace_id):
                raise NotFound("This session has no such workspace.")
            return session.principal
    return await services.keyring.authenticate(credentials)


def credentials_of(request: HTTPConnection) -> str | None:
    """Return the Authorization header, or one with the key in Azure's header `api-key`."""
    authorization = header(request, b"authorization")
    if authorization is None and (key := header(request, b"api-key")) is not None:
        return f"Bearer {key}"
    return authorization


def rate_limit_headers(verdict: Verdict, *, now: float) -> list[tuple[bytes, bytes]]:
    """Return the headers under the names of the hosted API, and under OpenAI's."""
    limit, remaining = str(verdict.limit).encode(), str(verdict.remaining).encode()
    return [
        (b"x-ratelimit-limit", limit),
        (b"x-ratelimit-remaining", remaining),
        (b"x-ratelimit-reset", str(round(now) + verdict.reset_seconds).encode()),
        (b"x-ratelimit-limit-requests", limit),
        (b"x-ratelimit-remaining-requests", remaining),
        (b"x-ratelimit-reset-requests", _format_duration(verdict.reset_seconds).encode()),
    ]


def _format_duration(seconds: int) -> str:
    """Format a duration as OpenAI does: 17s, 6m0s, 2h0m5s."""
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes}m{seconds}s"
    return f"{minutes}m{seconds}s" if minutes else f"{seconds}s"
