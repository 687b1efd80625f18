"""
Authenticate a request: the key in its Authorization or api-key header, and how often it may ask.

Each request with a key is counted here, once, whatever becomes of it; the headers that
say how many are left go out with every answer to it.
"""

import time

from starlette.requests import HTTPConnection

from mavera.accounts.limits.windows import Verdict
from mavera.accounts.plans import Scope
from mavera.accounts.principal import Principal
from mavera.api.http.headers import header
from mavera.errors import RateLimitExceeded
from mavera.services import Services


def services_of(request: HTTPConnection) -> Services:
    services: Services = request.app.state.services
    return services


async def authenticate(request: HTTPConnection, scope: Scope | None = None) -> Principal:
    """
    Return whose key the request carries, and count the request.

    Raises Unauthorized, saying what is wrong with the key, RateLimitExceeded, or
    Forbidden where it lacks `scope`.
    """
    services = services_of(request)
    principal = await services.keyring.authenticate(credentials_of(request))
    # Starlette's `request.state` makes an object of it, each time it is named.
    state = request.scope.setdefault("state", {})
    state["log"] = {"key": principal.key_id}
    verdict = await services.limiter.allow(principal.key_id, principal.limits)
    state["headers"] = rate_limit_headers(verdict, now=time.time())
    if not verdict.allowed:
        raise RateLimitExceeded(
            f"This API key may make {verdict.limit} requests in this window, and has made them."
            f" Try again in {verdict.reset_seconds} seconds.",
            retry_after=verdict.reset_seconds,
        )
    if scope is not None:
        principal.require(scope)
    return principal


def credentials_of(request: HTTPConnection) -> str | None:
    """Return the Authorization header, or one with the key of the header `api-key`, as Azure sends it."""
    authorization = header(request, b"authorization")
    if authorization is None and (key := header(request, b"api-key")) is not None:
        return f"Bearer {key}"
    return authorization


def rate_limit_headers(verdict: Verdict, *, now: float) -> list[tuple[bytes, bytes]]:
    """Return the headers, by the names of the hosted API and by OpenAI's."""
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
    """Write a duration as OpenAI does: 17s, 6m0s, 2h0m5s."""
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes}m{seconds}s"
    return f"{minutes}m{seconds}s" if minutes else f"{seconds}s"
