"""
Which tools there are and who does their work: what the settings come down to.

Providers that need a package of their own are imported here, by name, only where they are
set up; a package that is missing stops the start with the line to type.
"""

import importlib
from dataclasses import dataclass
from types import ModuleType

from mavera.errors import ConfigurationError
from mavera.settings import Settings
from mavera.tools.fetch import GuardedFetch
from mavera.tools.page_reader import PageReader
from mavera.tools.search_index import SearchIndex
from mavera.tools.searxng import SearXNG
from mavera.tools.tavily_extract import ExtractProvider, FetchedPages, TavilyExtractTool
from mavera.tools.tavily_search import SearchProvider, TavilySearchTool
from mavera.tools.tool import Tool


@dataclass(frozen=True, slots=True)
class Parts:
    """What tools share with the rest of the server."""

    fetch: GuardedFetch


def choose_tools(settings: Settings, parts: Parts) -> list[Tool]:
    """Return the server's tools; one that is not set up has no provider. Raises ConfigurationError."""
    seconds = settings.tools_timeout_seconds
    search: SearchProvider = SearchIndex(settings.search_index_path)
    extract: ExtractProvider = FetchedPages(parts.fetch, PageReader(), enabled=settings.fetch_enabled)
    if settings.searxng_url:
        search = SearXNG(_http_url("MAVERA_SEARXNG_URL", settings.searxng_url))
    if settings.tavily_api_key:
        tavily = needed("mavera.tools.tavily", "MAVERA_TAVILY_API_KEY", "tools")
        base_url = _http_url("MAVERA_TAVILY_BASE_URL", settings.tavily_base_url)
        search = extract = tavily.Tavily(settings.tavily_api_key, base_url, timeout_seconds=seconds)
    return [
        TavilySearchTool(search, timeout_seconds=seconds),
        # Without a key it reads what a search found; alone, it is there for those who name it.
        TavilyExtractTool(
            extract,
            timeout_seconds=seconds,
            unasked=bool(settings.tavily_api_key or settings.searxng_url),
        ),
    ]


def needed(module: str, setting: str, extra: str) -> ModuleType:
    """Return a module of ours that needs optional packages. Raises ConfigurationError without them."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"{setting} needs a package that is not installed ({error.name}): pip install 'mavera[{extra}]'"
        ) from error


def _http_url(setting: str, url: str) -> str:
    if not url.startswith(("http://", "https://")):
        raise ConfigurationError(f"{setting} has to begin with http:// or https://.")
    return url
