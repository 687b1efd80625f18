"""
Split an answer into sentences that are exact pieces of it.

The module is pure, and its time is linear in the length of the text. It leaves out code blocks, list
marks and headings, so that only prose remains.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

# A longer sentence is cut at a space, because such a long span helps no reader.
MAX_CHARACTERS = 600

_FENCE = re.compile(r"^[ \t]{0,8}(```|~~~)")
_MARK = re.compile(r"[ \t]*(?:(?:[-*+•>]|#{1,6}|\(?\d{1,3}[.)])[ \t]+)*")
_END = re.compile(r"[.!?…。！？]+[\"'”’)\]»*_]{0,4}(?=\s|$)|[。！？]+")
_ABBREVIATION = re.compile(
    r"\b(?:[A-Z]|Mr|Mrs|Ms|Dr|Prof|St|Jr|Sr|vs|etc|e\.g|i\.e|U\.S|No|Inc|Ltd|approx)\.$"
)
_WORD = re.compile(r"\w")


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence of an answer. `text` is `answer[start:end]`."""

    text: str
    start: int
    end: int


def split_sentences(answer: str) -> list[Sentence]:
    """Return the sentences of `answer` in order. The list is empty if it has no prose."""
    found: list[Sentence] = []
    at, fenced = 0, False
    for line in answer.splitlines(keepends=True):
        if _FENCE.match(line):
            fenced = not fenced
        elif not fenced:
            found += _of_line(answer, at, at + len(line))
        at += len(line)
    return found


def _of_line(answer: str, start: int, end: int) -> Iterator[Sentence]:
    mark = _MARK.match(answer, start, end)
    start = mark.end() if mark else start
    begun = start
    for match in _END.finditer(answer, start, end):
        if _ABBREVIATION.search(answer, max(begun, match.end() - 8), match.end()):
            continue
        yield from _pieces(answer, begun, match.end())
        begun = match.end()
    yield from _pieces(answer, begun, end)


def _pieces(answer: str, start: int, end: int) -> Iterator[Sentence]:
    while start < end and answer[start].isspace():
        start += 1
    while end > start and answer[end - 1].isspace():
        end -= 1
    while end - start > MAX_CHARACTERS:
        cut = answer.rfind(" ", start + 1, start + MAX_CHARACTERS)
        cut = cut if cut > start else start + MAX_CHARACTERS
        yield from _whole(answer, start, cut)
        start = cut + (answer[cut] == " ")
    yield from _whole(answer, start, end)


def _whole(answer: str, start: int, end: int) -> Iterator[Sentence]:
    text = answer[start:end]
    if _WORD.search(text):
        yield Sentence(text, start, end)
