"""
Calls of server tools: the call that the model made, and its outcome.

    ServerCall       announced when the call starts
    ServerOutcome    announced when it has ended and the model has its result
"""

import re
from collections.abc import Iterator, Sequence
from typing import Literal

import msgspec

# The kind of a call chooses OpenAI's item type for it. `function` is every other kind of tool.
CallKind = Literal["search", "page", "image", "function"]
CallStatus = Literal["completed", "failed"]


class Source(msgspec.Struct, frozen=True):
    """The origin of a statement in a result. An answer refers to it by its `number`, as in [1]."""

    number: int
    url: str
    title: str


class ServerCall(msgspec.Struct, frozen=True):
    """`arguments` is JSON text. `round` counts, from 1, the model's answers that made calls."""

    id: str
    name: str
    arguments: str
    kind: CallKind
    round: int = 1
    target: str = ""


class ServerOutcome(msgspec.Struct, frozen=True):
    """
    `summary` is one line for people. `image` is base64, and `media_url` is the URL of the image.

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
    """The characters of the answer from `start` up to `end` refer to `source`."""

    start: int
    end: int
    source: Source


# Some models were trained to write 【1】.
_MARK = re.compile(r"\[(\d{1,4})\](?!\()|【(\d{1,4})[^】\n]{0,20}】")


def find_citations(text: str, sources: Sequence[Source]) -> list[Citation]:
    """Return the references to `sources` in `text`, by number in brackets or by URL, in order."""
    if not sources:
        return []
    return sorted(_find_marks(text, sources), key=lambda one: (one.start, one.end))


def _find_marks(text: str, sources: Sequence[Source]) -> Iterator[Citation]:
    numbered = {source.number: source for source in sources}
    for mark in _MARK.finditer(text):
        source = numbered.get(int(mark[1] or mark[2]))
        if source is not None:
            yield Citation(mark.start(), mark.end(), source)
    by_url = {source.url: source for source in sources if source.url.startswith("http")}
    if not by_url:
        return
    # The longest URL is tried first, because one page's URL may be the beginning of another's.
    urls = re.compile("|".join(map(re.escape, sorted(by_url, key=len, reverse=True))))
    for match in urls.finditer(text):
        yield Citation(match.start(), match.end(), by_url[match[0]])
