"""
Keep text that looks like a call of a known function from being said.

    {"name": "get_weather"  …  also in a ``` fence, in brackets or with doubled braces
    {"get_weather": {  …       <tool_call>       get_weather(  at the beginning of a line

Text is held back only while it could still turn out to be one of these, and then goes on
as it came. What stands before a call is said; the call is `caught`.
"""

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from mavera.core.events import TextDelta

_KEYS = ("name", "function", "function_name", "tool", "tool_name", "recipient_name", "action")


class _Piece(NamedTuple):
    """A piece of a pattern: what matches it whole, and what matches a beginning of it."""

    whole: str
    begun: str


def _free(pattern: str) -> _Piece:
    """Return a piece all of whose beginnings match it too."""
    return _Piece(pattern, pattern)


def _words(*words: str) -> _Piece:
    beginnings = {word[:end] for word in words for end in range(len(word) + 1)}
    return _Piece(_any(words), _any(beginnings))


def _any(words: Iterable[str]) -> str:
    return f"(?:{'|'.join(map(re.escape, sorted(words, key=len, reverse=True)))})"


# Bounded, like all that may repeat here, so that no more than a line or two is ever held.
_SPACE = _free(r"\s{0,20}")
_QUOTE = _words('"')
_COLON = (_SPACE, _words(":"), _SPACE)
_FENCE = _free(r"(?:`{1,3}\w{0,20}\s{0,20})?\[?\s{0,20}")
_OPENED = (_FENCE, _free(r"\{[{\s]{0,20}"), _QUOTE)
_KEY = (_words(*_KEYS), _QUOTE, *_COLON, _QUOTE)
_INSIDE = (_words("function"), _QUOTE, *_COLON, _words("{"), _SPACE, _QUOTE)
# Any name at first; only a whole call is compared with the names that there are.
_NAME = _Piece(r"(?P<name>[\w-]{1,64})", r"[\w-]{0,64}")
_PATTERNS: tuple[tuple[_Piece, ...], ...] = (
    (*_OPENED, *_KEY, _NAME, _QUOTE),
    (*_OPENED, *_INSIDE, *_KEY, _NAME, _QUOTE),
    (*_OPENED, _NAME, _QUOTE, *_COLON, _words("{")),
    (_free(r"(?<=\n)[ \t`*]{0,20}"), _NAME, _words("(")),
    (*_OPENED, _words("type"), _QUOTE, *_COLON, _QUOTE, _words("function"), _QUOTE),
    (_words("<tool_call>"),),
)
_WHOLE = [re.compile("".join(piece.whole for piece in pattern)) for pattern in _PATTERNS]
_BEGUN = re.compile(
    "(?:{})\\Z".format(
        "|".join(
            "".join(piece.whole for piece in pattern[:end]).replace("?P<name>", "?:") + pattern[end].begun
            for pattern in _PATTERNS
            for end in range(len(pattern))
        )
    )
)
# Most of what is said, in the middle of a line: let through without a closer look.
_HARMLESS = re.compile(r"[^\n`\[{<]*[^\s`\[{<]")


class CallGuard:
    """`names` are the functions whose calls are looked for."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self._names = frozenset(names)
        self._held: list[TextDelta] = []
        self._before = "\n"
        self.caught: str | None = None

    def feed(self, delta: TextDelta) -> Iterator[TextDelta]:
        """Yield what can be said. A call ends it: `caught` is then the function's name, "" if unknown."""
        if not self._held and self._before != "\n" and _HARMLESS.fullmatch(delta.text):
            self._before = delta.text[-1]
            yield delta
            return
        self._held.append(delta)
        text = self._before + "".join(held.text for held in self._held)
        if (call := self._call(text)) is not None:
            start, self.caught = call
            yield from _clipped(self._held, start - 1)
            self._held = []
        else:
            begun = _BEGUN.search(text)
            yield from self._released(len(text) if begun is None else begun.start())

    def _call(self, text: str) -> tuple[int, str] | None:
        """Return where the first call begins, and of which function."""
        found = [match for pattern in _WHOLE for match in pattern.finditer(text) if self._is_known(match)]
        if not found:
            return None
        first = min(found, key=re.Match.start)
        return first.start(), first.groupdict().get("name", "")

    def _is_known(self, match: re.Match[str]) -> bool:
        return match.groupdict().get("name") in (None, *self._names)

    def flush(self) -> Iterator[TextDelta]:
        """Yield what was held back: it was no call."""
        held, self._held = self._held, []
        yield from held

    def _released(self, end: int) -> Iterator[TextDelta]:
        """Yield the deltas that end before `end`, a place in the held text after `_before`."""
        end -= 1
        while self._held and len(self._held[0].text) <= end:
            delta = self._held.pop(0)
            end -= len(delta.text)
            self._before = delta.text[-1:] or self._before
            yield delta


def _clipped(deltas: list[TextDelta], length: int) -> Iterator[TextDelta]:
    """Yield the first `length` characters; a delta cut in two loses its log-probabilities."""
    for delta in deltas:
        if length <= 0:
            return
        yield delta if len(delta.text) <= length else TextDelta(delta.text[:length])
        length -= len(delta.text)
