"""
Read web pages and documents: HTML in, Markdown with title, date and links out.

The parsing is done in a child process (`child_reader.py`), since it is slow, large and
works on bytes of strangers.
"""

import asyncio
import importlib.util
from typing import Literal

import msgspec

from mavera.errors import ServiceUnavailable
from mavera.fetch.child_reader import ChildReader

MODULE = "mavera.fetch.page_reader_child"
READ_SECONDS = 20.0
IDLE_SECONDS = 60.0

# The content types of what can be read, and of which kind each is.
KINDS: dict[str, Literal["html", "text"]] = {
    "text/html": "html",
    "application/xhtml+xml": "html",
    "text/plain": "text",
    "text/markdown": "text",
    "text/csv": "text",
    "application/json": "text",
    "application/xml": "html",
    "text/xml": "html",
}


class PageRequest(msgspec.Struct, frozen=True):
    body: bytes
    url: str = ""


class Link(msgspec.Struct, frozen=True):
    url: str
    text: str


class Page(msgspec.Struct, frozen=True, tag="page"):
    """`text` is Markdown; `date` is as in 2026-11-21, or empty."""

    title: str
    date: str
    text: str
    links: tuple[Link, ...] = ()


class UnreadablePage(msgspec.Struct, frozen=True, tag="unreadable"):
    """There is no text in it that could be found."""


def is_installed() -> bool:
    """Say whether the extra `pages` is installed, without importing any of it."""
    return importlib.util.find_spec("trafilatura") is not None


class PageReader:
    def __init__(self, *, read_seconds: float = READ_SECONDS, idle_seconds: float = IDLE_SECONDS) -> None:
        self._child = ChildReader(MODULE, read_seconds=read_seconds, idle_seconds=idle_seconds)

    @property
    def pid(self) -> int | None:
        """The child's, while there is one."""
        return self._child.pid

    async def read(self, body: bytes, *, url: str = "") -> Page | None:
        """Return what an HTML page says, None where nothing can be read. Raises ServiceUnavailable."""
        async with self._child.turn:
            answer = await self._child.ask(msgspec.msgpack.encode(PageRequest(body, url)))
        try:
            page = await asyncio.to_thread(_decode, answer)
        except msgspec.DecodeError as error:
            raise ServiceUnavailable("The page could not be read just now.", retry_after=5) from error
        return page if isinstance(page, Page) else None

    async def close(self) -> None:
        await self._child.close()


def _decode(answer: bytes) -> Page | UnreadablePage:
    return msgspec.msgpack.decode(answer, type=Page | UnreadablePage)


def plain_page(body: bytes, *, title: str) -> Page | None:
    """Return a document that is text already; its title is its first heading, where it has one."""
    text = body.decode("utf-8", errors="replace").strip()
    if not text or "\x00" in text:
        return None
    first = text.splitlines()[0]
    return Page(first.lstrip("# ").strip()[:200] if first.startswith("#") else title, "", text)
