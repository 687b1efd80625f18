"""
Read web pages and documents: HTML in, Markdown with title, date and links out.

Child processes do the parsing (`child_reader.py`), because it is slow, takes much memory and works on
untrusted bytes.
"""

import asyncio
import importlib.util
from typing import Literal

import msgspec

from mavera.errors import ServiceUnavailable, ValidationFailed
from mavera.fetch.child_reader import Budget, ReaderPool, TooHeavy, count_children

MODULE = "mavera.fetch.page_reader_child"
# docs/how-to/operations.md states these.
PAGE_BUDGET = Budget(cpu_seconds=20, clock_seconds=40, memory_bytes=1024 * 1024 * 1024)
IDLE_SECONDS = 60.0

# The content types that can be read, and the kind of each.
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
    """A page that was read. `text` is Markdown. `date` has the form 2026-11-21, or is empty."""

    title: str
    date: str
    text: str
    links: tuple[Link, ...] = ()


class UnreadablePage(msgspec.Struct, frozen=True, tag="unreadable"):
    """No text was found in the page, or reading it exceeds the budget."""

    too_heavy: bool = False


def is_installed() -> bool:
    """Say whether the extra `pages` is installed, without importing any of it."""
    return importlib.util.find_spec("trafilatura") is not None


class PageReader:
    def __init__(self, *, budget: Budget = PAGE_BUDGET, idle_seconds: float = IDLE_SECONDS) -> None:
        self._pool = ReaderPool(MODULE, budget=budget, idle_seconds=idle_seconds, children=count_children())

    @property
    def pids(self) -> tuple[int, ...]:
        """The process ids of the running children."""
        return self._pool.pids

    async def read(self, body: bytes, *, url: str = "", caller: str = "") -> Page | None:
        """
        Return the text of an HTML page, None if there is nothing to read. `caller` is a workspace's id.

        Raises ValidationFailed if the page exceeds the budget, and ServiceUnavailable.
        """
        try:
            answer = await self._pool.read(msgspec.msgpack.encode(PageRequest(body, url)), caller=caller)
            page = await asyncio.to_thread(_decode, answer)
        except TooHeavy as error:
            raise _too_heavy() from error
        except msgspec.DecodeError as error:
            raise ServiceUnavailable(
                "The page could not be read. Retry in a few seconds.", retry_after=5
            ) from error
        if isinstance(page, UnreadablePage) and page.too_heavy:
            raise _too_heavy()
        return page if isinstance(page, Page) else None

    async def close(self) -> None:
        await self._pool.close()


def _too_heavy() -> ValidationFailed:
    return ValidationFailed("This page takes more time or memory to read than this server gives one page.")


def _decode(answer: bytes) -> Page | UnreadablePage:
    return msgspec.msgpack.decode(answer, type=Page | UnreadablePage)


def build_text_page(body: bytes, *, title: str) -> Page | None:
    """Return a page for a text document. Its title is its first heading, or else `title`."""
    text = body.decode("utf-8", errors="replace").strip()
    if not text or "\x00" in text:
        return None
    first = text.splitlines()[0]
    return Page(first.lstrip("# ").strip()[:200] if first.startswith("#") else title, "", text)
