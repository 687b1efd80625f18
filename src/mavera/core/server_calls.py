"""
Calls of the server's own tools: what the model asked for, and what came of it.

    ServerCall       announced when the call starts
    ServerOutcome    how it ended; the model has read the result by then
"""

import re
from collections.abc import Iterator, Sequence
from typing import Literal

import msgspec

# Which of OpenAI's item types tells of a call; `function` is every other kind of tool.
CallKind = Literal["search", "page", "image", "function"]
CallStatus = Literal["completed", "failed"]


class Source(msgspec.Struct, frozen=True):
    """Where something in a result came from; `number` is how an answer refers to it: [1]."""

    number: int
    url: str
    title: str


class ServerCall(msgspec.Struct, frozen=True):
    """`arguments` is JSON text; `round` counts, from 1, the model's answers that made calls."""

    id: str
    name: str
    arguments: str
    kind: CallKind
    round: int = 1
    target: str = ""


class ServerOutcome(msgspec.Struct, frozen=True):
    """
    `summary` is one line for people. `image` is base64, `media_url` where it can be fetched.

    `sources` are numbered through the whole run.
    """

    call: ServerCall
    status: CallStatus
    milliseconds: int
    summary: str
    sources: tuple[Source, ...] = ()
    image: str | None = None
    media_url: str | None = None


class Citation(msgspec.Struct, frozen=True):
    """Characters `start` up to `end` of the answer point at `source`."""

    start: int
    end: int
    source: Source


# 【1】 is how some models were taught to write it.
_MARK = re.compile(r"\[(\d{1,4})\](?!\()|【(\d{1,4})[^】\n]{0,20}】")


def citations(text: str, sources: Sequence[Source]) -> list[Citation]:
    """Return where `text` refers to `sources`, by their number in brackets or by their URL, in order."""
    if not sources:
        return []
    return sorted(_found(text, sources), key=lambda one: (one.start, one.end))


def _found(text: str, sources: Sequence[Source]) -> Iterator[Citation]:
    numbered = {source.number: source for source in sources}
    for mark in _MARK.finditer(text):
        source = numbered.get(int(mark[1] or mark[2]))
        if source is not None:
            yield Citation(mark.start(), mark.end(), source)
    by_url = {source.url: source for source in sources if source.url.startswith("http")}
    if not by_url:
        return
    # The longest first: one page's address may begin another's.
    urls = re.compile("|".join(map(re.escape, sorted(by_url, key=len, reverse=True))))
    for match in urls.finditer(text):
        yield Citation(match.start(), match.end(), by_url[match[0]])
