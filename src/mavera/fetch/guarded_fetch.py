"""
Fetch every URL that a caller can choose. No other module does so.

    URL → http(s), allowed port, no credentials → resolve once → every address public or allowed
        → connect to exactly those → redirect? from the start, 3 at most
        → status 200, allowed content type → body, capped while it comes in and again unpacked

A caller learns that a URL was refused, but never what an internal name resolves to or which internal
port answers. A host that does not exist and a private one give the same message. The fetch uses no proxy
of the environment, no cookie and no credential.
"""

import asyncio
import ipaddress
import re
import socket
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, Self

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from mavera import __version__
from mavera.errors import ConfigurationError, InvalidRequest, ValidationFailed
from mavera.fetch.fair_places import FairPlaces
from mavera.fetch.public_addresses import Address, Network, is_public, unwrap
from mavera.settings import Settings

Resolver = Callable[[str, int], Awaitable[Sequence[str]]]

MAX_REDIRECTS = 3
MAX_URL_CHARACTERS = 8192
# The fetches at a time, so that many images cannot fill the memory, and the share of one caller.
_PLACES, _PLACES_EACH = 16, 4
# Downloads of videos take minutes. They have places of their own, so that no image waits behind one.
_LONG_PLACES, _LONG_PLACES_EACH = 8, 2
_CHUNK_BYTES = 64 * 1024
_REDIRECTS = frozenset({301, 302, 303, 307, 308})

# Parsers disagree about these characters, and a disagreement is a way around a check.
_AMBIGUOUS = re.compile(r"[\x00-\x20\x7f\\]")
# Old resolvers read these names as addresses: 2130706433, 0x7f.1, 0177.0.0.1, 127.1.
_NUMERIC = re.compile(r"(^|\.)(\d+|0x[0-9a-f]*)$", re.IGNORECASE)
_PORT = re.compile(r"[0-9]{1,5}")
_HIGHEST_PORT = 65535
_HOST_NAME = re.compile(r"[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?")

_UNREACHABLE = "The host of this URL could not be reached at a public address."


class _Refused(Exception):
    """The fetch is refused or stopped. The message is for the caller."""


class _TooLarge(_Refused):
    pass


@dataclass(frozen=True, slots=True)
class FetchPolicy:
    """The rules for fetches. `hosts` and `networks` are allowed even if they are not public."""

    enabled: bool = True
    hosts: frozenset[str] = frozenset()
    networks: tuple[Network, ...] = ()
    ports: frozenset[int] = frozenset({80, 443})
    connect_timeout_seconds: float = 5.0
    total_timeout_seconds: float = 20.0

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """Return the policy in the settings. Raises ConfigurationError if they are not valid."""
        entries = [entry.strip().lower() for entry in settings.fetch_allow.split(",") if entry.strip()]
        networks = {entry: network for entry in entries if (network := _network(entry)) is not None}
        hosts = [entry.rstrip(".") for entry in entries if entry not in networks]
        for host in hosts:
            if not _HOST_NAME.fullmatch(host) or _NUMERIC.search(host):
                raise ConfigurationError(
                    f"MAVERA_FETCH_ALLOW: '{host}' is not a host name, an address or a CIDR block."
                )
        return cls(
            enabled=settings.fetch_enabled,
            hosts=frozenset(hosts),
            networks=tuple(networks.values()),
            ports=_ports(settings.fetch_ports),
            connect_timeout_seconds=settings.fetch_connect_timeout_seconds,
            total_timeout_seconds=settings.fetch_total_timeout_seconds,
        )

    def permits(self, host: str, address: Address) -> bool:
        plain = unwrap(address)
        return is_public(address) or host in self.hosts or any(plain in network for network in self.networks)


def _network(entry: str) -> Network | None:
    try:
        return ipaddress.ip_network(entry.strip("[]"), strict=False)
    except ValueError:
        return None


def _ports(text: str) -> frozenset[int]:
    entries = [entry for part in text.split(",") if (entry := part.strip())]
    for entry in entries:
        if not _PORT.fullmatch(entry) or not 0 < int(entry) <= _HIGHEST_PORT:
            raise ConfigurationError(
                f"MAVERA_FETCH_PORTS: '{entry[:100]}' is not a port. Ports are 1 to {_HIGHEST_PORT}."
            )
    if not entries:
        raise ConfigurationError(
            "MAVERA_FETCH_PORTS names no port. To turn fetching off, set MAVERA_FETCH_ENABLED=false."
        )
    return frozenset(map(int, entries))


async def resolve_by_system(host: str, port: int) -> Sequence[str]:
    """Return the addresses that the operating system knows for `host`."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class GuardedFetch:
    def __init__(self, policy: FetchPolicy, *, resolver: Resolver = resolve_by_system) -> None:
        self._policy = policy
        self._resolver = resolver
        seconds = 2 * policy.total_timeout_seconds
        busy = "Too many URLs are being fetched. Retry in a few seconds."
        self._places = FairPlaces(_PLACES, each=_PLACES_EACH, patience_seconds=seconds, busy=busy)
        self._long_places = FairPlaces(
            _LONG_PLACES, each=_LONG_PLACES_EACH, patience_seconds=seconds, busy=busy
        )

    async def get(
        self, url: str, *, caller: str, content_types: frozenset[str], max_bytes: int, param: str | None
    ) -> bytes:
        """
        Return the body behind `url`. `caller` is the id of the workspace whose share of places is used.

        Raises InvalidRequest if the URL may not or cannot be fetched, and ValidationFailed if the body is
        larger than `max_bytes`; both name `param`. Raises ServiceUnavailable if it gets no place in time.
        """
        body = bytearray()
        async with self.open(
            url, caller=caller, content_types=content_types, max_bytes=max_bytes, param=param
        ) as pieces:
            async for piece in pieces:
                body += piece
        return bytes(body)

    async def check(self, url: str, *, param: str | None) -> None:
        """Raise InvalidRequest if `url` may not be called, as far as its address shows now."""
        with _refusals(param):
            self._refuse_if_off()
            await self._addresses(_parse_url(url))

    async def post(
        self, url: str, body: bytes, headers: Mapping[str, str], *, caller: str, param: str | None
    ) -> int:
        """
        Send `body` to `url`, and return the status. No redirect is followed, and no answer is read.

        Raises InvalidRequest if the URL may not or cannot be called, and ServiceUnavailable if it gets no
        place in time.
        """
        with _refusals(param):
            self._refuse_if_off()
            target = _parse_url(url)
            async with AsyncExitStack() as stack:
                await stack.enter_async_context(self._places.take(caller))
                async with asyncio.timeout(self._policy.total_timeout_seconds):
                    session = await stack.enter_async_context(self._session(await self._addresses(target)))
                    agent = {"User-Agent": f"mavera/{__version__}"}
                    response = await session.post(
                        target, data=body, headers={**agent, **headers}, allow_redirects=False
                    )
                    stack.callback(response.close)
                    return response.status

    async def exchange(
        self,
        url: str,
        fields: Mapping[str, str],
        headers: Mapping[str, str],
        *,
        caller: str,
        max_bytes: int,
        param: str | None,
    ) -> tuple[int, bytes]:
        """
        Send a form to `url`, and return the status and the body of the answer. No redirect is followed.

        Raises the errors of `get`.
        """
        with _refusals(param):
            self._refuse_if_off()
            target = _parse_url(url)
            seconds = self._policy.total_timeout_seconds
            async with AsyncExitStack() as stack:
                await stack.enter_async_context(self._places.take(caller))
                deadline = asyncio.get_running_loop().time() + seconds
                async with asyncio.timeout_at(deadline):
                    session = await stack.enter_async_context(self._session(await self._addresses(target)))
                    sent = {"User-Agent": f"mavera/{__version__}", "Accept-Encoding": "identity", **headers}
                    response = await session.post(
                        target, data=dict(fields), headers=sent, allow_redirects=False
                    )
                    stack.callback(response.close)
                body = bytearray()
                async for piece in _pieces(response, max_bytes, deadline):
                    body += piece
                return response.status, bytes(body)

    @asynccontextmanager
    async def open(
        self,
        url: str,
        *,
        caller: str,
        content_types: frozenset[str],
        max_bytes: int,
        param: str | None,
        total_seconds: float | None = None,
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """
        Yield the body behind `url` piece by piece, so that it is never in memory as a whole.

        `total_seconds` bounds the whole fetch from the moment that a place is free; its default is the
        policy's. A fetch with its own `total_seconds` takes one of the places for long fetches. Raises the
        errors of `get`. An error of the pieces becomes one of these at the end of the `async with`.
        """
        with _refusals(param):
            self._refuse_if_off()
            target = _parse_url(url)
            async with AsyncExitStack() as stack:
                places = self._places if total_seconds is None else self._long_places
                await stack.enter_async_context(places.take(caller))
                seconds = total_seconds or self._policy.total_timeout_seconds
                deadline = asyncio.get_running_loop().time() + seconds
                async with asyncio.timeout_at(deadline):
                    response = await self._follow(target, content_types, stack)
                _check_answer(response, content_types)
                yield _pieces(response, max_bytes, deadline)

    def _refuse_if_off(self) -> None:
        if not self._policy.enabled:
            raise _Refused("This server does not fetch URLs. Send a data URL (data:image/png;base64,…).")

    async def _follow(
        self, url: URL, content_types: frozenset[str], stack: AsyncExitStack
    ) -> aiohttp.ClientResponse:
        """Return the first response that is not a redirect. Every address on the way is checked."""
        headers = {
            "Accept": ", ".join(sorted(content_types)),
            "Accept-Encoding": "identity",
            "User-Agent": f"mavera/{__version__}",
        }
        for _ in range(MAX_REDIRECTS + 1):
            session = await stack.enter_async_context(self._session(await self._addresses(url)))
            response = await session.get(url, headers=headers, allow_redirects=False)
            stack.callback(response.close)
            if response.status not in _REDIRECTS:
                return response
            url = _parse_url(response.headers.get("Location", ""), base=url)
        raise _Refused(f"This URL redirects more than {MAX_REDIRECTS} times.")

    async def _addresses(self, url: URL) -> list[Address]:
        """Return the addresses of `url`. Refuses the URL unless the policy permits all of them."""
        host, port = (url.raw_host or "").rstrip(".").lower(), url.port
        if port is None or port not in self._policy.ports:
            allowed = ", ".join(str(number) for number in sorted(self._policy.ports))
            raise _Refused(f"This server fetches URLs from these ports only: {allowed}.")
        literal = _literal(host)
        answers = [literal] if literal is not None else await self._resolve(host, port)
        if not answers or not all(self._policy.permits(host, address) for address in answers):
            raise _Refused(_UNREACHABLE)
        return answers

    async def _resolve(self, host: str, port: int) -> list[Address]:
        try:
            return [ipaddress.ip_address(answer) for answer in await self._resolver(host, port)]
        except (OSError, ValueError) as error:
            raise _Refused(_UNREACHABLE) from error

    def _session(self, addresses: list[Address]) -> aiohttp.ClientSession:
        """Return a session that can connect to `addresses` and to nothing else."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=self._policy.connect_timeout_seconds)
        connector = aiohttp.TCPConnector(
            resolver=_Pinned(addresses),
            use_dns_cache=False,
            force_close=True,
            socket_factory=_only(addresses),
        )
        return aiohttp.ClientSession(
            connector=connector,
            timeout=timeout,
            auto_decompress=False,
            trust_env=False,
            cookie_jar=aiohttp.DummyCookieJar(),
        )


class _Pinned(AbstractResolver):
    """Resolve every name to the addresses that were checked, so that no second look-up can differ."""

    def __init__(self, addresses: list[Address]) -> None:
        self._addresses = addresses

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host,
                host=str(address),
                port=port,
                family=socket.AF_INET6 if address.version == 6 else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in self._addresses
        ]

    async def close(self) -> None:
        return None


def _only(addresses: list[Address]) -> Callable[[Any], socket.socket]:
    """
    Return a socket factory that refuses any other address.

    aiohttp skips its resolver for hosts that it takes for an address. However it reads a host, it calls
    this factory with the address that it is about to connect to.
    """

    def make(info: Any) -> socket.socket:
        family, kind, proto, _, sockaddr = info
        if ipaddress.ip_address(sockaddr[0]) not in addresses:
            raise _Refused(_UNREACHABLE)
        return socket.socket(family, kind, proto)

    return make


@contextmanager
def _refusals(param: str | None) -> Iterator[None]:
    """Turn every error of a fetch into one of the two that a caller sees."""
    try:
        yield
    except _TooLarge as error:
        raise ValidationFailed(str(error), param=param) from error
    except _Refused as error:
        raise InvalidRequest(str(error), param=param) from error
    except TimeoutError as error:
        raise InvalidRequest("This URL did not answer in time.", param=param) from error
    except aiohttp.ClientConnectionError as error:
        raise InvalidRequest("The host of this URL could not be reached.", param=param) from error
    except (aiohttp.ClientError, zlib.error) as error:
        raise InvalidRequest("The response of this URL cannot be read.", param=param) from error


def _parse_url(text: str, *, base: URL | None = None) -> URL:
    """Return the URL in `text`. It is parsed once, so the checks and the client library agree on it."""
    if len(text) > MAX_URL_CHARACTERS:
        raise _Refused(f"This URL is longer than {MAX_URL_CHARACTERS:,} characters.")
    if not text or _AMBIGUOUS.search(text):
        raise _Refused("This is not a valid URL.")
    try:
        url = URL(text) if base is None else base.join(URL(text))
        host, port = url.raw_host, url.port
    except ValueError as error:
        raise _Refused("This is not a valid URL.") from error
    if url.scheme not in ("http", "https"):
        raise _Refused("Only http and https URLs are fetched.")
    if url.raw_user is not None or url.raw_password is not None:
        raise _Refused("A URL to fetch must not contain a user name or a password.")
    if not host or not host.strip(".") or port is None:
        raise _Refused("This is not a valid URL.")
    return url.with_fragment(None)


def _literal(host: str) -> Address | None:
    """Return the address that `host` spells, None for a name. Odd spellings are refused."""
    try:
        return ipaddress.ip_address(host)
    except ValueError as error:
        if ":" in host or _NUMERIC.search(host) or not host.isascii():
            raise _Refused("Write the address in this URL in the usual form, as in 203.0.113.7.") from error
        return None


def _check_answer(response: aiohttp.ClientResponse, content_types: frozenset[str]) -> None:
    if response.status != 200:
        raise _Refused(f"This URL answered with status {response.status}.")
    if response.content_type.lower() not in content_types:
        wanted = ", ".join(sorted(kind for kind in content_types if not kind.endswith("octet-stream")))
        raise _Refused(f"The content type of this URL must be one of {wanted}.")


async def _pieces(response: aiohttp.ClientResponse, max_bytes: int, deadline: float) -> AsyncIterator[bytes]:
    """
    Yield the unpacked body. Never holds more than one chunk, and never yields more than `max_bytes`.

    The timeout is around each chunk and not around the reader. A reader then sees an error of its source,
    after which it can still clean up.
    """
    if (response.content_length or 0) > max_bytes:
        raise _too_large(max_bytes)
    unpack = _Unpacker(response.headers.get("Content-Encoding", "identity"))
    size = 0
    while True:
        async with asyncio.timeout_at(deadline):
            chunk = await response.content.read(_CHUNK_BYTES)
        if not chunk:
            break
        piece = unpack.feed(chunk, at_most=max_bytes + 1 - size)
        size += len(piece)
        if size > max_bytes:
            raise _too_large(max_bytes)
        if piece:
            yield piece
    unpack.close()


def _too_large(max_bytes: int) -> _TooLarge:
    return _TooLarge(f"The file at this URL is larger than {max_bytes:,} bytes.")


class _Unpacker:
    """Undo a Content-Encoding piece by piece, without ever producing more than the caller asked for."""

    def __init__(self, encoding: str) -> None:
        match encoding.strip().lower():
            case "identity" | "":
                self._inflate = None
            case "gzip" | "x-gzip" | "deflate":
                self._inflate = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
            case _:
                raise _Refused("The response of this URL has an encoding that was not requested.")

    def feed(self, data: bytes, *, at_most: int) -> bytes:
        return data if self._inflate is None else self._inflate.decompress(data, at_most)

    def close(self) -> None:
        if self._inflate is not None and not self._inflate.eof:
            raise _Refused("The response of this URL cannot be read.")
