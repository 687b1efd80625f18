"""
The program behind `mavera serve`: `python -m mavera.server.main`, with the command's options as settings.

It is a separate program so that the parser of the command line, some 10 MB, does not stay in memory.
"""

import asyncio
import os
import socket
import sys

import uvicorn
from starlette.applications import Starlette

from mavera.accounts.first_run import make_first_key
from mavera.accounts.keys.text import peppers_of
from mavera.accounts.sessions.links import address_of_link
from mavera.api.http.hosts import is_loopback
from mavera.app import create_app
from mavera.logs import configure_logs
from mavera.models.embedded.sharing import Announcement
from mavera.models.named import find_model_secrets
from mavera.server.config import build_server_config, settle_garbage
from mavera.server.descriptors import raise_descriptor_limit
from mavera.server.draining import DrainingServer
from mavera.server.endings import one_line_endings
from mavera.server.greeting import Greeting
from mavera.server.listening import listen
from mavera.server.memory import limit_heaps
from mavera.server.parent import run_workers
from mavera.server.signals import stop_on_hangup
from mavera.server.studies import run_studies_beside
from mavera.services import open_sessions, open_store
from mavera.settings import Settings, load_settings


def main() -> None:
    with one_line_endings():
        serve(load_settings())


def serve(settings: Settings) -> None:
    """Print the information that a user needs for a first request, then serve until a signal."""
    # Other users of the machine must not read files that this process or its children write.
    os.umask(0o077)
    limit_heaps()
    configure_logs(settings, find_model_secrets(settings))
    raise_descriptor_limit()
    stop_on_hangup()
    application = create_app(settings, beside=run_studies_beside(settings))
    listener = listen(settings, "mavera serve --port 8001")
    key = asyncio.run(_find_first_key(settings))
    link = asyncio.run(_make_link(settings, _build_url(listener)))
    url = _build_url(listener)
    announcement = Announcement.open(settings.data_dir) if settings.backend == "embedded" else None
    greeting = Greeting(settings, url, key, announcement, link)
    greeting.print_address()
    try:
        if settings.workers > 1:
            run_workers(settings, listener, greeting)
            return
        settle_garbage()
        config = build_server_config(application, settings)
        _GreetingServer(config, application, greeting, drain_seconds=settings.drain_seconds).run([listener])
    finally:
        if announcement is not None:
            announcement.close()


class _GreetingServer(DrainingServer):
    """A server that greets its user once it answers requests."""

    def __init__(
        self, config: uvicorn.Config, application: Starlette, greeting: Greeting, *, drain_seconds: float
    ) -> None:
        super().__init__(config, application.state.drain, drain_seconds=drain_seconds)
        self._application = application
        self._greeting = greeting
        self._task: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if not self.should_exit:
            model = self._application.state.services.models["live"]
            self._task = asyncio.create_task(self._greeting.greet(model), name="mavera-greeting")

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        await super().shutdown(sockets)


async def _find_first_key(settings: Settings) -> str | None:
    """Bring the store up to date, and return the new key if this is the first start."""
    async with open_store(settings) as database:
        return await make_first_key(database, peppers_of(settings))


async def _make_link(settings: Settings, url: str) -> str | None:
    """
    Return a link that signs the operator in to the console once, for somebody who sits before this terminal.

    It is None without a terminal, because logs are kept, and on an address that others reach.
    """
    if settings.console == "off" or not sys.stdout.isatty() or not is_loopback(settings.host):
        return None
    async with open_store(settings) as database:
        token = await open_sessions(database, settings).make_link()
    return address_of_link(settings.public_url.rstrip("/") or url, token)


def _build_url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
    return f"http://{host}:{port}"


if __name__ == "__main__":
    main()
