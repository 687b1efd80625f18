"""
Tell browsers which pages of other origins may call this server (CORS).

    MAVERA_CORS_ORIGINS   empty                                  no page may, which is the default
                          https://app.example.com, http://…      pages of these origins may
                          *                                      every page may

Everybody who opens a public page can read a key in it; see docs/how-to/operations.md.
"""

from urllib.parse import urlsplit

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from mavera.errors import ConfigurationError
from mavera.settings import Settings

_METHODS = ("GET", "POST", "PATCH", "DELETE")
# The headers of a response that a page may read.
_EXPOSED = (
    "x-request-id",
    "retry-after",
    "x-ratelimit-limit",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
    "x-ratelimit-limit-requests",
    "x-ratelimit-remaining-requests",
    "x-ratelimit-reset-requests",
)
_PREFLIGHT_SECONDS = 3600


def parse_origins(text: str) -> tuple[str, ...]:
    """
    Return the origins that MAVERA_CORS_ORIGINS names, as browsers write them.

    Raises ConfigurationError for an origin that no browser sends, such as one with a path.
    """
    origins = tuple(one.strip().rstrip("/").lower() for one in text.split(",") if one.strip())
    for origin in origins:
        if origin != "*" and not _is_origin(origin):
            raise ConfigurationError(
                f"MAVERA_CORS_ORIGINS: '{origin}' is not an origin. Write scheme and host, and the port if it"
                " is not the scheme's default: https://app.example.com, http://localhost:3000"
            )
    return origins


def _is_origin(text: str) -> bool:
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return False
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    written = f"{parts.scheme}://{host}" + (f":{port}" if port is not None else "")
    return parts.scheme in ("http", "https") and bool(parts.hostname) and text == written


def allow_origins(app: ASGIApp, settings: Settings) -> ASGIApp:
    """
    Wrap `app` so that it answers the preflights of the origins in `settings`.

    Raises ConfigurationError.
    """
    origins = parse_origins(settings.cors_origins)
    if not origins:
        return app
    return CORSMiddleware(
        app,
        allow_origins=origins,
        allow_methods=_METHODS,
        allow_headers=("*",),
        expose_headers=_EXPOSED,
        max_age=_PREFLIGHT_SECONDS,
    )
