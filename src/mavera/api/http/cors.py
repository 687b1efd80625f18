"""
Answers to browsers that ask whether a page of another origin may call this server (CORS).

    MAVERA_CORS_ORIGINS   empty                                  none may, which is the default
                          https://app.example.com, http://…      these may
                          *                                      any may

A key in a public page belongs to whoever opens the page: docs/operations.md.
"""

from urllib.parse import urlsplit

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from mavera.errors import ConfigurationError
from mavera.settings import Settings

_METHODS = ("GET", "POST", "PATCH", "DELETE")
# What a page may read of an answer beside its body.
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

    Raises ConfigurationError for one that no browser sends, such as one with a path.
    """
    origins = tuple(one.strip().rstrip("/").lower() for one in text.split(",") if one.strip())
    for origin in origins:
        if origin != "*" and not _is_origin(origin):
            raise ConfigurationError(
                f"MAVERA_CORS_ORIGINS: '{origin}' is no origin. Write scheme and host, and the port if it is"
                " another than the scheme's: https://app.example.com, http://localhost:3000"
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
    """Return `app`, answering preflights of the origins that `settings` name. Raises ConfigurationError."""
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
