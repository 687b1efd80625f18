"""
Split an answer into sentences that are exact pieces of it.

The module is pure, and its time is linear in the length of the text. It leaves out code blocks, list
marks, marks of headings, and the tags of HTML around a sentence. Tags of blocks end a sentence.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

# A longer sentence is cut at a space, because such a long span helps no reader.
MAX_CHARACTERS = 600

# The tags of text in web pages. Other tags are code.
_BLOCKS = (
    "p|div|br|hr|li|ul|ol|dl|dt|dd|h[1-6]|tr|td|th|table|thead|tbody|html|head|body|title|header|footer|main"
    "|section|article|blockquote|pre"
)
_INLINE = "a|abbr|b|strong|i|em|u|s|del|ins|mark|small|sub|sup|span|font|q|cite|img|meta|link"
TAG = re.compile(
    rf"</?(?:{_BLOCKS}|{_INLINE})(?:\s[^<>]{{0,500}})?/?>|<!doctype[^<>]{{0,200}}>", re.IGNORECASE
)
_BLOCK = rf"</?(?:{_BLOCKS})(?:\s[^<>]{{0,500}})?/?>"

_FENCE = re.compile(r"^[ \t]{0,8}(```|~~~)")
_MARK = re.compile(r"[ \t]*(?:(?:[-*+•>]|#{1,6}|\(?\d{1,3}[.)])[ \t]+)*")
_END = re.compile(rf"[.!?…。！？]+[\"'”’)\]»*_]{{0,4}}(?=\s|$|<)|[。！？]+|{_BLOCK}", re.IGNORECASE)
_INVISIBLE = r"[\s\ufeff\u200b-\u200f\u202a-\u202e\u2060-\u2069\x00-\x1f]"
_BEFORE = re.compile(rf"(?:{_INVISIBLE}|{TAG.pattern})*", re.IGNORECASE)
_ONE_INVISIBLE = re.compile(_INVISIBLE)
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
    start, end = _trim(answer, start, end)
    while end - start > MAX_CHARACTERS:
        cut = answer.rfind(" ", start + 1, start + MAX_CHARACTERS)
        cut = cut if cut > start else start + MAX_CHARACTERS
        yield from _whole(answer, start, cut)
        start = cut + (answer[cut] == " ")
    yield from _whole(answer, start, end)


def _trim(answer: str, start: int, end: int) -> tuple[int, int]:
    """Leave out blanks, invisible signs and tags at both ends."""
    before = _BEFORE.match(answer, start, end)
    start = before.end() if before else start
    while end > start:
        if answer[end - 1].isspace() or _ONE_INVISIBLE.match(answer, end - 1):
            end -= 1
        elif answer[end - 1] == ">" and (tag := TAG.match(answer, answer.rfind("<", start, end), end)):
            end = tag.start()
        else:
            break
    return start, end


def _whole(answer: str, start: int, end: int) -> Iterator[Sentence]:
    text = answer[start:end]
    if _WORD.search(text):
        yield Sentence(text, start, end)
