"""
Write structured logs: one event per line, as text on a terminal and as JSON elsewhere.

Keys never reach a log. Anything that looks like a key is cut to its prefix, and the secrets of the
settings are cut out.

Questions and answers never reach a log either. Our own lines contain no content, at any level. The
debug and info lines of libraries do: SQLAlchemy logs each statement with its values, and HTTP clients log
URLs and bodies. Therefore MAVERA_LOG_LEVEL applies to our own lines only. Libraries log warnings and
errors only, whatever level they set for themselves.
"""

import json
import logging
import re
import sys
from collections.abc import Collection, Iterable
from typing import Any

import msgspec
import structlog
from structlog.typing import EventDict, Processor

from mavera.settings import Settings

LIBRARY_LEVEL = logging.WARNING

_SECRET = re.compile(r"(mvra_(?:live|test)_|Bearer\s+|sk-)[A-Za-z0-9._~+/=-]+")


def configure_logs(settings: Settings, secrets: Collection[str] = ()) -> None:
    """
    Send the logs of mavera and of its libraries to standard error, in one format.

    No line shows `secrets` or those of the settings.
    """
    as_text = sys.stderr.isatty() if settings.log_format == "auto" else settings.log_format == "text"
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        hide_secrets,
        _SecretFilter({*settings.secrets, *secrets}),
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
    # The warnings of asyncio report slow callbacks with their arguments, which can be content.
    logging.getLogger("asyncio").setLevel(logging.ERROR)


def hide_secrets(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """Cut keys out of every text of a log event."""
    for name, value in event.items():
        # Most lines contain no key, and this check is cheaper than the regular expression.
        if isinstance(value, str) and ("mvra_" in value or "Bearer" in value or "sk-" in value):
            event[name] = _SECRET.sub(r"\1…", value)
    return event


def _as_json(event: EventDict, **_: Any) -> str:
    try:
        return msgspec.json.encode(event, enc_hook=repr).decode()
    except (TypeError, ValueError, RecursionError):  # a lone surrogate, or keys that are not strings
        return json.dumps(event, default=repr, skipkeys=True)


class _SecretFilter:
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


def send_logs_to_stderr() -> None:
    """Send the logs of commands to standard error, because other programs read their standard output."""
    structlog.configure(
        processors=[
            structlog.stdlib.add_log_level,
            structlog.processors.format_exc_info,  # the renderer's own format shows every local variable
            hide_secrets,
            structlog.dev.ConsoleRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
    )
