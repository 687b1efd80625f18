"""
Read web pages, as the server tool `tavily_extract`.

    Tavily             with MAVERA_TAVILY_API_KEY
    the guarded fetch  without a key: this server fetches the page, and `page_reader.py` reads it
"""

import asyncio
from typing import ClassVar, Protocol

from mavera.core.json_schema import Schema
from mavera.core.server_calls import CallKind
from mavera.errors import APIError
from mavera.fetch.guarded_fetch import GuardedFetch
from mavera.fetch.page_reader import KINDS, Page, PageReader, build_text_page
from mavera.tools.tool import Arguments, CallContext, Found, ToolFailed, ToolResult

MOST_URLS = 3
MOST_PAGE_BYTES = 5 * 1024 * 1024
_SHOWN_LINKS = 20


class ExtractProvider(Protocol):
    @property
    def name(self) -> str: ...

    async def extract(self, url: str, *, caller: str) -> Found:
        """Return the text of the page. `caller` is a workspace's id. Raises ToolFailed."""
        ...

    async def close(self) -> None: ...


class TavilyExtractTool:
    name = "tavily_extract"
    kind: CallKind = "page"
    description = "Read the text of web pages, given their full URLs."
    parameters: ClassVar[Schema] = {
        "type": "object",
        "properties": {
            "urls": {
                "type": "array",
                "description": "Full addresses, as in https://example.com/page.",
                "items": {"type": "string"},
                "minItems": 1,
                "maxItems": MOST_URLS,
            }
        },
        "required": ["urls"],
        "additionalProperties": False,
    }
    setting = "set MAVERA_TAVILY_API_KEY, or MAVERA_FETCH_ENABLED=true and install the extra 'pages'"

    def __init__(self, provider: ExtractProvider, *, timeout_seconds: float, unasked: bool) -> None:
        self._provider = provider
        self.timeout_seconds = timeout_seconds
        self.unasked = unasked

    @property
    def provider(self) -> str:
        return self._provider.name

    async def start(self) -> None:
        return None

    async def close(self) -> None:
        await self._provider.close()

    def target(self, arguments: Arguments) -> str:
        urls = arguments.get("urls")
        return str(urls[0]) if isinstance(urls, list) and urls else ""

    async def run(self, arguments: Arguments, context: CallContext) -> ToolResult:
        urls = list(dict.fromkeys(arguments["urls"]))
        read = await asyncio.gather(*(self._read(url, context.principal.workspace_id) for url in urls))
        pages = [one for one in read if isinstance(one, Found)]
        failures = [
            f"{url}: {one}" for url, one in zip(urls, read, strict=True) if isinstance(one, ToolFailed)
        ]
        if not pages:
            raise ToolFailed(" ".join(failures))
        summary = f"Read {', '.join(page.title or page.url for page in pages)}"
        if failures:
            summary += f"; not {', '.join(failures)}"
        return ToolResult(summary[:300], tuple(pages))

    async def _read(self, url: str, caller: str) -> Found | ToolFailed:
        if not url.startswith(("http://", "https://")):
            return ToolFailed("Only http and https URLs can be read.")
        try:
            return await self._provider.extract(url, caller=caller)
        except ToolFailed as error:
            return error


class FetchedPages:
    """A provider that fetches pages itself, through the guard. It sends nothing about the caller."""

    def __init__(self, fetch: GuardedFetch, reader: PageReader, *, enabled: bool) -> None:
        self._fetch = fetch
        self._reader = reader
        self.name = "fetch" if enabled else ""

    async def close(self) -> None:
        await self._reader.close()

    async def extract(self, url: str, *, caller: str) -> Found:
        page = await self.fetch_page(url, caller=caller)
        links = "\n".join(f"- [{link.text}]({link.url})" for link in page.links[:_SHOWN_LINKS])
        text = f"{page.text}\n\nLinks:\n{links}" if links else page.text
        return Found(url, page.title, text, page.date)

    async def fetch_page(self, url: str, *, caller: str = "") -> Page:
        """Return the page at `url`. Raises ToolFailed."""
        try:
            body = await self._fetch.get(
                url, caller=caller, content_types=frozenset(KINDS), max_bytes=MOST_PAGE_BYTES, param=None
            )
            page = await read_document(self._reader, body, url=url, caller=caller)
        except APIError as error:
            raise ToolFailed(error.message) from error
        if page is None:
            raise ToolFailed("This page has no text.")
        return page


async def read_document(
    reader: PageReader, body: bytes, *, url: str, title: str = "", caller: str = ""
) -> Page | None:
    """Return the text of a document. The first bytes show whether it is HTML."""
    begun = body[:2048].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if begun.startswith((b"<!doctype", b"<html", b"<?xml", b"<head", b"<body")) or b"<html" in begun:
        return await reader.read(body, url=url, caller=caller)
    return build_text_page(body, title=title or url)
