"""
Extract the text of HTML pages, in a process of its own, one page after the other.

    stdin    frames, each of them a PageRequest
    stdout   one report, then frames: a Page or an UnreadablePage, as MessagePack

`page_reader.py` starts the process as `python -m mavera.fetch.page_reader_child MEMORY CPU_SECONDS`. Only
this module imports trafilatura and lxml. They take about 60 MB, which the server saves, and their parsers
may crash on hostile bytes without harm to it. The process ends when its stdin ends. It opens no connection.
"""

import sys
from typing import Any

import msgspec
import trafilatura
from lxml import etree

from mavera.fetch.page_reader import Link, Page, PageRequest, UnreadablePage
from mavera.fetch.reader_child import answer_frames, limit_memory, take_stdout

MOST_TEXT_CHARACTERS = 400_000
MOST_LINKS = 50


def main() -> None:
    memory_bytes, cpu_seconds = (int(float(argument)) for argument in sys.argv[1:3])
    limit_memory(memory_bytes)
    answer_frames(_read_frame, cpu_seconds=cpu_seconds, answers=take_stdout())


def _read_frame(frame: bytes) -> bytes:
    return msgspec.msgpack.encode(_read_page(frame))


def _read_page(frame: bytes) -> Page | UnreadablePage:
    try:
        return _page(msgspec.msgpack.decode(frame, type=PageRequest)) or UnreadablePage()
    except MemoryError:
        return UnreadablePage(too_heavy=True)
    except Exception:  # parsers raise many types on hostile pages, and none of them says more than this
        return UnreadablePage()


def _page(request: PageRequest) -> Page | None:
    tree = trafilatura.load_html(request.body)
    if tree is None:
        return None
    url = request.url or None
    text = trafilatura.extract(request.body, url=url, include_comments=False, output_format="markdown")
    metadata = trafilatura.extract_metadata(request.body, default_url=url)
    links = _links(tree, request.url)
    text = text or _all_text(tree)
    if not text:
        return None
    title = (metadata.title or _title(tree)).strip()
    return Page(title[:300], metadata.date or "", text[:MOST_TEXT_CHARACTERS], links)


def _all_text(tree: Any) -> str:
    """Return all words of a page. This is for pages of which no part stands out as the text."""
    etree.strip_elements(tree, "script", "style", "noscript", "template", with_tail=False)
    return "\n".join(" ".join(line.split()) for line in tree.text_content().splitlines() if line.strip())


def _title(tree: Any) -> str:
    return str(tree.findtext(".//title") or "")


def _links(tree: Any, url: str) -> tuple[Link, ...]:
    if url:
        tree.make_links_absolute(url, handle_failures="ignore")
    found: dict[str, str] = {}
    for anchor in tree.iter("a"):
        target, words = anchor.get("href") or "", " ".join(anchor.text_content().split())
        if target.startswith(("http://", "https://")) and words and len(target) < 2000:
            found.setdefault(target.partition("#")[0], words[:120])
        if len(found) >= MOST_LINKS:
            break
    return tuple(Link(target, words) for target, words in found.items())


if __name__ == "__main__":
    main()
