"""
Search and extract with Tavily, through its own client.

The client reads whole responses, so its HTTP client gets a transport that stops beyond a size. The module
is imported only if MAVERA_TAVILY_API_KEY is set, because it needs the extra `tools`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
from tavily import AsyncTavilyClient, errors

from mavera.tools.capped_http import CappedTransport, TooLarge
from mavera.tools.tool import Found, ToolFailed

MOST_BYTES = 8 * 1024 * 1024
# Sources become links in a user's browser.
_SCHEMES = ("http://", "https://")


class Tavily:
    """One client for both tools. Each of them may call `close`."""

    name = "tavily"

    def __init__(self, api_key: str, base_url: str, *, timeout_seconds: float) -> None:
        self._timeout_seconds = timeout_seconds
        self._http = httpx.AsyncClient(
            base_url=base_url,
            headers={"Authorization": f"Bearer {api_key}"},
            transport=CappedTransport(MOST_BYTES),
            trust_env=False,
        )
        self._client = AsyncTavilyClient(api_key=api_key, api_base_url=base_url, client=self._http)

    async def close(self) -> None:
        await self._http.aclose()

    async def search(self, query: str, *, most: int) -> tuple[Found, ...]:
        with _tavily_errors():
            answer = await self._client.search(query, max_results=most, timeout=self._timeout_seconds)
            return tuple(
                Found(
                    _read_text(one, "url"),
                    _read_text(one, "title"),
                    _read_text(one, "content"),
                    _read_text(one, "published_date"),
                )
                for one in answer["results"][:most]
                if _read_text(one, "url").startswith(_SCHEMES)
            )

    async def extract(self, url: str, *, caller: str) -> Found:
        with _tavily_errors():
            answer = await self._client.extract([url], format="markdown", timeout=self._timeout_seconds)
            for one in answer.get("results", []):
                found = _read_text(one, "url")
                found = found if found.startswith(_SCHEMES) else url
                return Found(found, _read_text(one, "title"), _read_text(one, "raw_content"))
        raise ToolFailed("Tavily could not read this page.")


def _read_text(result: dict[str, Any], name: str) -> str:
    value = result.get(name)
    return value if isinstance(value, str) else ""


@contextmanager
def _tavily_errors() -> Iterator[None]:
    """Turn the client's errors into ToolFailed, without their texts."""
    try:
        yield
    except errors.InvalidAPIKeyError as error:
        raise ToolFailed("Tavily refuses this server's key. The operator must check it.") from error
    except errors.UsageLimitExceededError as error:
        raise ToolFailed("Tavily asks to wait. Retry later.") from error
    except errors.ForbiddenError as error:
        raise ToolFailed(
            "Tavily refuses the request. The plan of this server's key does not allow it."
        ) from error
    except errors.BadRequestError as error:
        raise ToolFailed("Tavily refuses this request.") from error
    except (errors.TimeoutError, httpx.TimeoutException) as error:
        raise ToolFailed("Tavily did not answer in time.") from error
    except httpx.HTTPStatusError as error:
        raise ToolFailed(f"Tavily answered with status {error.response.status_code}.") from error
    except TooLarge as error:
        raise ToolFailed(f"The result is larger than {MOST_BYTES:,} bytes.") from error
    except httpx.HTTPError as error:
        raise ToolFailed("Tavily could not be reached.") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ToolFailed("The response of Tavily cannot be read.") from error
