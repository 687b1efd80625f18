"""
One worker of `mavera serve --workers N`, started as `python -m mavera.server.worker LINK LISTENER`.

Both arguments are file descriptors of sockets: the link to the parent, and the listening socket.
"""

import asyncio
import ctypes
import os
import signal
import socket
import sys
from typing import Any, NoReturn

import uvloop

from mavera.app import create_app
from mavera.link import Link
from mavera.logs import configure_logs
from mavera.models.embedded.model import EmbeddedModel
from mavera.models.embedded.pull import resolve_projector
from mavera.models.named import find_model_secrets
from mavera.server.config import build_server, settle_garbage
from mavera.server.linked import LinkedEngine, LinkedLimiter, LinkedRunning, exchange_counts
from mavera.server.memory import limit_heaps
from mavera.server.questions import GetSettings
from mavera.server.signals import stop_on_hangup
from mavera.settings import Settings, from_values

PR_SET_PDEATHSIG = 1


def main() -> None:
    if sys.platform == "linux":
        # This ends the worker even if it is too busy to notice the end of its link.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    stop_on_hangup()
    limit_heaps()
    link, listener = (socket.socket(fileno=int(number)) for number in sys.argv[1:3])
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(link, listener))


async def _serve(link_socket: socket.socket, listener: socket.socket) -> None:
    link = await Link.open(link_socket, lost=_end_with_parent)
    settings = from_values(await link.fetch_reply(GetSettings(), dict[str, Any]))
    configure_logs(settings, find_model_secrets(settings))
    server = build_server(_build_application(settings, link), settings)
    settle_garbage()
    await server.serve(sockets=[listener])


def _build_application(settings: Settings, link: Link) -> Any:
    engine = LinkedEngine(link, context_tokens=settings.embedded_context_tokens)
    sees_images = resolve_projector(settings) is not None
    embedded = EmbeddedModel(engine, sees_images=sees_images) if settings.backend == "embedded" else None
    return create_app(
        settings,
        live_model=embedded,
        limiter=None if settings.rate_limit_url else LinkedLimiter(link),
        running=LinkedRunning(link),
        counts=exchange_counts(link),
    )


def _end_with_parent() -> NoReturn:
    os._exit(1)


if __name__ == "__main__":
    main()
