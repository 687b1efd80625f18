"""
Choose one of several servers of a model for each request, without a router.

    order    rendezvous hashing of the routing key and the server's URL, so all machines prefer the same one
    load     a server with more than 1.25 times the mean of requests in flight is passed over
    health   a server that failed is passed over for a second, then two, then four, up to half a minute
    watch    every ten seconds: does the server answer, and does it serve the model?

Counts and health are those of this process. A prompt without a key goes to the server with the fewest
requests. If every server is down, the first in the order is asked all the same.
"""

import asyncio
import math
import random
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from hashlib import blake2b
from urllib.parse import urlsplit

import structlog

from mavera.errors import ConfigurationError
from mavera.models.base_url import normalise_base_url
from mavera.models.endpoint import Endpoint
from mavera.settings import split_urls

LOAD_BOUND = 1.25
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 30.0
WATCH_SECONDS = 10.0
_DEFAULT_PORTS = {"http": 80, "https": 443}

# Returns the names of the models that a server lists, or None if it has no such list. Raises OSError if the
# server does not answer.
ListModels = Callable[[Endpoint], Awaitable[frozenset[str] | None]]

log = structlog.get_logger()


def normalise_base_urls(text: str, setting: str) -> tuple[str, ...]:
    """Return the normalised base URLs of a setting. Raises ConfigurationError if two name one server."""
    urls = tuple(normalise_base_url(url, setting) for url in split_urls(text) or (text,))
    identities = [identify_server(url) for url in urls]
    for url, identity in zip(urls, identities, strict=True):
        if identities.count(identity) > 1:
            shown = urlsplit(url)._replace(netloc=urlsplit(url).netloc.rpartition("@")[2]).geturl()
            raise ConfigurationError(f"{setting} names the same server twice: {shown}")
    return urls


def identify_server(base_url: str) -> str:
    """Return the form of a normalised URL that is the same however an operator writes it."""
    parts = urlsplit(base_url)
    port = parts.port or _DEFAULT_PORTS.get(parts.scheme, 0)
    query = f"?{parts.query}" if parts.query else ""
    return f"{parts.scheme}://{parts.hostname or ''}:{port}{parts.path}{query}"


class Server:
    """One server of the list. `in_flight` counts the requests of this process that it works on."""

    __slots__ = ("down_until", "endpoint", "failures", "identity", "in_flight", "serves_another")

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.identity = identify_server(endpoint.base_url)
        self.in_flight = 0
        self.failures = 0
        self.down_until = 0.0
        self.serves_another = False


class Servers:
    """The servers of one model, at least two. `clock` must be monotonic."""

    def __init__(
        self, endpoints: Sequence[Endpoint], model: str, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._all = tuple(Server(endpoint) for endpoint in endpoints)
        self._model = model
        self._clock = clock
        self._watcher: asyncio.Task[None] | None = None

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        return tuple(server.endpoint for server in self._all)

    def choose(self, key: str | None, tried: Collection[Server] = ()) -> Server | None:
        """Return the server for a request with `key`, none of those `tried`, or None if none is left."""
        left = [server for server in self._all if server not in tried]
        if not left:
            return None
        now = self._clock()
        up = [server for server in left if server.down_until <= now and not server.serves_another] or left
        if key is None:
            chosen = min(up, key=lambda server: (server.in_flight, random.random()))  # noqa: S311 - spreads
        else:
            ordered = sorted(up, key=lambda server: _score(key, server.identity), reverse=True)
            most = math.ceil(LOAD_BOUND * (sum(server.in_flight for server in up) + 1) / len(up))
            chosen = next((server for server in ordered if server.in_flight < most), ordered[0])
        if chosen.failures:  # one request finds out whether it is up again; the others wait for that
            chosen.down_until = now + _choose_pause(chosen.failures)
        return chosen

    def note_failure(self, server: Server) -> None:
        server.failures += 1
        server.down_until = self._clock() + _choose_pause(server.failures)
        if server.failures == 1:
            log.warning("upstream_server_down", server=server.identity)

    def note_success(self, server: Server) -> None:
        if server.failures:
            log.info("upstream_server_up", server=server.identity)
            server.failures, server.down_until = 0, 0.0

    def list_faults(self) -> dict[str, str]:
        """Return the servers that are passed over now, each with the reason."""
        faults = {server.identity: "failed" for server in self._all if server.failures}
        return faults | {
            server.identity: f"does not serve {self._model}" for server in self._all if server.serves_another
        }

    @property
    def is_down(self) -> bool:
        """Whether no server of the list works."""
        return all(server.failures or server.serves_another for server in self._all)

    def watch(self, list_models: ListModels) -> None:
        """Look at the servers regularly until `close`."""
        if self._watcher is None:
            self._watcher = asyncio.create_task(self._watch(list_models), name="mavera-upstreams")

    async def close(self) -> None:
        watcher, self._watcher = self._watcher, None
        if watcher is not None:
            watcher.cancel()
            await asyncio.gather(watcher, return_exceptions=True)

    async def look(self, list_models: ListModels) -> None:
        """
        Ask each server for its models, once.

        A server that lists models without ours is passed over if another one lists ours. If no server lists
        ours, the lists say nothing: some servers answer to any name.
        """
        lists = await asyncio.gather(*(self._list(server, list_models) for server in self._all))
        some = any(self._model in names for names in lists)
        for server, names in zip(self._all, lists, strict=True):
            serves_another = some and bool(names) and self._model not in names
            if serves_another and not server.serves_another:
                log.error(
                    "upstream_serves_another_model",
                    server=server.identity,
                    model=self._model,
                    serves=sorted(names)[:5],
                )
            server.serves_another = serves_another

    async def _watch(self, list_models: ListModels) -> None:
        while True:
            try:
                await self.look(list_models)
            except Exception as error:
                log.exception("upstreams_not_watched", error=type(error).__name__)
            await asyncio.sleep(WATCH_SECONDS * random.uniform(0.8, 1.2))  # noqa: S311 - spreads

    async def _list(self, server: Server, list_models: ListModels) -> frozenset[str]:
        try:
            return await list_models(server.endpoint) or frozenset()
        except OSError:
            self.note_failure(server)
            return frozenset()


def _score(key: str, identity: str) -> bytes:
    return blake2b(f"{key}\0{identity}".encode(), digest_size=8).digest()


def _choose_pause(failures: int) -> float:
    """Return the seconds for which a server is passed over after so many failures in a row."""
    return min(FIRST_PAUSE_SECONDS * 2.0 ** (min(failures, 10) - 1), LONGEST_PAUSE_SECONDS)
