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


def _words(words: Iterable[str], group: str = "") -> _Piece:
    known = sorted(words, key=len, reverse=True)
    beginnings = {word[:end] for word in known for end in range(len(word) + 1)}
    whole = "|".join(map(re.escape, known))
    return _Piece(f"(?P<{group}>{whole})" if group else f"(?:{whole})", f"(?:{_any(beginnings)})")


def _any(words: Iterable[str]) -> str:
    return "|".join(map(re.escape, sorted(words, key=len, reverse=True)))


# Bounded, like all that may repeat here, so that no more than a line or two is ever held.
_SPACE = _free(r"\s{0,20}")
_QUOTE = _words('"')
_COLON = (_SPACE, _words(":"), _SPACE)
_FENCE = _free(r"(?:`{1,3}\w{0,20}\s{0,20})?\[?\s{0,20}")


def _patterns(names: tuple[str, ...]) -> Iterator[tuple[_Piece, ...]]:
    opened = (_FENCE, _free(r"\{[{\s]{0,20}"), _QUOTE)
    function = (_words(["function"]), _QUOTE, *_COLON, _words("{"), _SPACE, _QUOTE)
    key = (_words(_KEYS), _QUOTE, *_COLON, _QUOTE)
    yield (*opened, *key, _words(names, "by_key"), _QUOTE)
    yield (*opened, *function, *key, _words(names, "by_nested_key"), _QUOTE)
    yield (*opened, _words(["type"]), _QUOTE, *_COLON, _QUOTE, _words(["function"]), _QUOTE)
    yield (*opened, _words(names, "as_key"), _QUOTE, *_COLON, _words("{"))
    yield (_free(r"(?<=\n)[ \t`*]{0,20}"), _words(names, "applied"), _words("("))
    yield (_words(["<tool_call>"]),)


class CallGuard:
    """`names` are the functions whose calls are looked for."""

    def __init__(self, names: tuple[str, ...]) -> None:
        patterns = list(_patterns(names))
        begun = [
            "".join(piece.whole for piece in pattern[:end]) + pattern[end].begun
            for pattern in patterns
            for end in range(len(pattern))
        ]
        # The names of groups are needed once only, in what matches a whole call.
        self._begun = re.compile(f"(?:{re.sub(r'[?]P<[^>]*>', '?:', '|'.join(begun))})\\Z")
        self._whole = re.compile("|".join("".join(piece.whole for piece in pattern) for pattern in patterns))
        self._held: list[TextDelta] = []
        self._before = "\n"
        self.caught: str | None = None

    def feed(self, delta: TextDelta) -> Iterator[TextDelta]:
        """Yield what can be said. A call ends it: `caught` is then the function's name, "" if unknown."""
        self._held.append(delta)
        text = self._before + "".join(held.text for held in self._held)
        if call := self._whole.search(text):
            self.caught = next((name for name in call.groupdict().values() if name), "")
            yield from _clipped(self._held, call.start() - 1)
            self._held = []
        else:
            begun = self._begun.search(text)
            yield from self._released(len(text) if begun is None else begun.start())

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
