"""
Structured logs: one event a line, as text on a terminal and as JSON elsewhere.

Keys never reach a log: whatever looks like one is cut to its prefix, wherever it stands, and
the secrets of the settings are cut out whatever they look like.

What people ask and models answer never does either. Our own lines name no content, at any level. The
debug and info lines of libraries do: aiosqlite logs each statement with its values, HTTP clients log
URLs and bodies. So MAVERA_LOG_LEVEL is for our own lines. Of libraries only warnings and errors are
shown, whatever level they set for themselves.
"""

import json
import logging
import re
import sys
from collections.abc import Iterable
from typing import Any

import msgspec
import structlog
from structlog.typing import EventDict, Processor

from mavera.settings import Settings

LIBRARY_LEVEL = logging.WARNING

_SECRET = re.compile(r"(mvra_(?:live|test)_|Bearer\s+|sk-)[A-Za-z0-9._~+/=-]+")


def configure_logs(settings: Settings) -> None:
    """Send mavera's and its libraries' logs to standard error, in one form."""
    as_text = sys.stderr.isatty() if settings.log_format == "auto" else settings.log_format == "text"
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        hide_secrets,
        _Without(settings.secrets),
    ]
    renderer: Processor = (
        structlog.dev.ConsoleRenderer() if as_text else structlog.processors.JSONRenderer(_as_json)
    )
    level = getattr(logging, settings.log_level.upper())
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setLevel(max(level, LIBRARY_LEVEL))
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(max(level, LIBRARY_LEVEL))
    # Its warnings are about slow callbacks, with their arguments.
    logging.getLogger("asyncio").setLevel(logging.ERROR)


def hide_secrets(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """Cut keys out of every text of a log event."""
    for name, value in event.items():
        # What begins none is not searched: there are few keys, and many lines.
        if isinstance(value, str) and ("mvra_" in value or "Bearer" in value or "sk-" in value):
            event[name] = _SECRET.sub(r"\1…", value)
    return event


def _as_json(event: EventDict, **_: Any) -> str:
    try:
        return msgspec.json.encode(event, enc_hook=repr).decode()
    except (TypeError, ValueError, RecursionError):  # half a character, or keys that are no text
        return json.dumps(event, default=repr, skipkeys=True)


class _Without:
    """Cut `secrets` out of every text of a log event."""

    def __init__(self, secrets: Iterable[str]) -> None:
        known = sorted({re.escape(secret) for secret in secrets}, key=len, reverse=True)
        self._known = re.compile("|".join(known)) if known else None

    def __call__(self, _logger: Any, _method: str, event: EventDict) -> EventDict:
        if self._known is not None:
            for name, value in event.items():
                if isinstance(value, str):
                    event[name] = self._known.sub("…", value)
        return event


def logs_to_stderr() -> None:
    """Send what commands log to standard error: what they print is for other programs to read."""
    structlog.configure(
        processors=[
            structlog.stdlib.add_log_level,
            structlog.processors.format_exc_info,  # the renderer's own would show every local variable
            hide_secrets,
            structlog.dev.ConsoleRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
    )
