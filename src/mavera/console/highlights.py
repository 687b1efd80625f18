"""
Mark pieces of an answer in its parsed Markdown: the sentences of insights, and the evidence of biases.

A piece is found by its letters and digits, because the signs between them (stars, quotes, line breaks) differ
between the source and the tokens. Two pieces may overlap: the text is then cut into runs, and each run is
wrapped once for each piece. Marks never change the text itself. A piece that is not found is not marked.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from typing import Literal

from markdown_it.token import Token

Kind = Literal["insight", "evidence", "stance"]
# Code inside a sentence is part of it, but no mark can stand within it.
_TEXT = ("text", "code_inline")


@dataclass(frozen=True, slots=True)
class Mark:
    """
    A piece of an answer to mark.

    `id` is the target of links to it, and `title` tells what it is.
    """

    kind: Kind
    id: str
    text: str
    title: str = ""


@dataclass(frozen=True, slots=True)
class _Span:
    mark: Mark
    start: int
    end: int


def place_marks(tokens: Sequence[Token], marks: Iterable[Mark]) -> None:
    """Wrap the text of `marks` in `tokens`, each with a `<mark>`."""
    inlines = [token for token in tokens if token.type == "inline" and token.children]
    texts = [child.content for token in inlines for child in token.children or () if child.type in _TEXT]
    spans = list(_find_spans("".join(texts), marks))
    if not spans:
        return
    at, opened = 0, set[str]()
    for token in inlines:
        children: list[Token] = []
        for child in token.children or ():
            is_plain = child.type == "text"
            children += _cut(child.content, at, spans, opened) if is_plain else [child]
            at += len(child.content) if child.type in _TEXT else 0
        token.children = children


def _find_spans(text: str, marks: Iterable[Mark]) -> Iterator[_Span]:
    """Yield the place of each mark in `text`. Insights are looked for in their order."""
    places = [at for at, character in enumerate(text) if character.isalnum()]
    letters = "".join(text[at] for at in places)
    begins: dict[str, int] = {}
    for mark in marks:
        wanted = "".join(filter(str.isalnum, mark.text))
        # The same piece twice is marked at both its places.
        key = "insight" if mark.kind == "insight" else f"{mark.kind} {wanted}"
        found = letters.find(wanted, begins.get(key, 0)) if wanted else -1
        if found < 0:
            continue
        begins[key] = found + len(wanted)
        yield _Span(mark, places[found], places[found + len(wanted) - 1] + 1)


def _cut(text: str, at: int, spans: Sequence[_Span], opened: set[str]) -> Iterator[Token]:
    """Yield `text`, which begins at `at`, as runs inside their marks. `opened` has the ids that are taken."""
    end = at + len(text)
    here = [span for span in spans if span.start < end and span.end > at]
    edges = {at, end, *(edge for span in here for edge in (span.start, span.end) if at < edge < end)}
    ordered = sorted(edges)
    for start, stop in pairwise(ordered):
        around = [span.mark for span in here if span.start <= start and span.end >= stop]
        for mark in around:
            yield _wrap(_open(mark, opened))
        yield Token("text", "", 0, content=text[start - at : stop - at])
        yield from (_wrap("</mark>") for _ in around)


def _open(mark: Mark, opened: set[str]) -> str:
    anchor = "" if mark.id in opened else f' id="{escape(mark.id)}"'
    opened.add(mark.id)
    title = f' title="{escape(mark.title)}"' if mark.title else ""
    return f'<mark class="{mark.kind}"{anchor}{title}>'


def _wrap(markup: str) -> Token:
    return Token("html_inline", "", 0, content=markup)
