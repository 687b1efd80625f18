"""Search with a SearXNG server, by `GET /search?format=json`, which its settings must allow."""

from collections.abc import Iterator
from contextlib import contextmanager

import aiohttp
import msgspec

from mavera import __version__
from mavera.tools.tool import Found, ToolFailed

MOST_BYTES = 4 * 1024 * 1024
# Firewalls in front of hosted servers refuse requests that do not say who asks.
PLAIN = {"Accept-Encoding": "identity", "User-Agent": f"mavera/{__version__}"}
_TIMEOUT = aiohttp.ClientTimeout(total=30, sock_connect=5)


class _Result(msgspec.Struct):
    url: str = ""
    title: str = ""
    content: str | None = None
    publishedDate: str | None = None  # noqa: N815 - as the server calls it


class _SearchResponse(msgspec.Struct):
    results: list[_Result] = []


class SearXNG:
    name = "searxng"

    def __init__(self, base_url: str) -> None:
        self._url = f"{base_url.rstrip('/')}/search"
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def search(self, query: str, *, most: int) -> tuple[Found, ...]:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=_TIMEOUT, trust_env=False, auto_decompress=False, headers=PLAIN
            )
        parameters = {"q": query, "format": "json"}
        with searxng_errors():
            async with self._session.get(self._url, params=parameters, allow_redirects=False) as response:
                _check(response.status)
                body = await read_capped(response, MOST_BYTES)
            found = msgspec.json.decode(body, type=_SearchResponse).results
        return tuple(
            Found(one.url, one.title, one.content or "", (one.publishedDate or "")[:10])
            for one in found[:most]
            if one.url.startswith(("http://", "https://"))
        )


def _check(status: int) -> None:
    if status == 403:
        raise ToolFailed("The search server refuses JSON. Its settings need 'json' in search.formats.")
    if status == 429:
        raise ToolFailed("The search server asks to wait. Retry later.")
    if status != 200:
        raise ToolFailed(f"The search server answered with status {status}.")


async def read_capped(response: aiohttp.ClientResponse, most_bytes: int) -> bytes:
    """
    Return the body. Raises ToolFailed beyond `most_bytes`, and never holds more than that.

    The session must not unpack responses, because a small packed response can be huge.
    """
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        response.close()
        raise ToolFailed("The result has an encoding that was not requested.")
    body = bytearray()
    async for chunk in response.content.iter_chunked(64 * 1024):
        body += chunk
        if len(body) > most_bytes:
            response.close()
            raise ToolFailed(f"The result is larger than {most_bytes:,} bytes.")
    return bytes(body)


@contextmanager
def searxng_errors() -> Iterator[None]:
    """Turn the client library's errors into ToolFailed."""
    try:
        yield
    except (aiohttp.ClientError, OSError) as error:
        raise ToolFailed("The search server could not be reached.") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ToolFailed("The response of the search server cannot be read.") from error
