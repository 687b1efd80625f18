"""
Take JSON out of the Markdown fence that some models put around it.

    ```json        held until it is known to be a fence, then left out
    {"a": 1}       passed on as it comes
    ```            held until the end, then left out

A byte-order mark and white space before the JSON are left out too. Any other text stays as it is.
"""

import re
from collections.abc import Iterator
from typing import Final

from mavera.core.events import TextDelta

_BEFORE: Final = re.compile(r"[\s\ufeff]*")
# A word behind the fence is the name of a language only if it begins with json, or ends its line.
_OPENING: Final = re.compile(
    r"(?:`{3,8}|~{3,8})[ \t]*(?:\w{1,20}[ \t\r]*\n|(?:json\w{0,8})?)\s*", re.IGNORECASE
)
_BEGUN: Final = re.compile(r"(?:`{1,8}|~{1,8})[ \t]{0,20}\w{0,20}\s{0,20}", re.IGNORECASE)
_IN_TAIL: Final = " \t\r\n\ufeff`~"
# A longer tail is not a fence.
_MOST_TAIL_CHARACTERS: Final = 256
_CLOSING: Final = re.compile(r"\s*(?:`{3,8}|~{3,8})?[\s\ufeff]*")


class Unfenced:
    """Takes the deltas of a text, and then a flush. A delta that is cut loses its log-probabilities."""

    def __init__(self) -> None:
        self._held: list[TextDelta] = []
        self._is_begun = self._is_fenced = False

    def feed(self, delta: TextDelta) -> Iterator[TextDelta]:
        if self._is_begun and not self._is_fenced:
            yield delta
            return
        self._held.append(delta)
        text = "".join(held.text for held in self._held)
        if not self._is_begun:
            start = self._start(text)
            if start is None:
                if not text[-1:].strip(_IN_TAIL[:5]) and not text.strip(_IN_TAIL[:5]):
                    self._held = []
                return
            self._is_begun = True
            self._held = list(_cut(self._held, start, len(text)))
            text = text[start:]
        end = _find_tail(text) if self._is_fenced else len(text)
        yield from _cut(self._held, 0, end)
        self._held = list(_cut(self._held, end, len(text)))

    def flush(self) -> Iterator[TextDelta]:
        """Yield the rest, unless it is the end of the fence."""
        held, self._held = self._held, []
        if not (self._is_fenced and _CLOSING.fullmatch("".join(one.text for one in held))):
            yield from held

    def _start(self, text: str) -> int | None:
        """Return the index at which the JSON begins in `text`, or None while it is not known."""
        before = _BEFORE.match(text)
        start = before.end() if before else 0
        rest = text[start:]
        if not rest or _BEGUN.fullmatch(rest):
            return None
        opening = _OPENING.match(rest)
        self._is_fenced = opening is not None
        return start + (opening.end() if opening else 0)


def _find_tail(text: str) -> int:
    start = len(text.rstrip(_IN_TAIL))
    return start if len(text) - start <= _MOST_TAIL_CHARACTERS else len(text)


def _cut(deltas: list[TextDelta], start: int, end: int) -> Iterator[TextDelta]:
    """Yield the text of `deltas` from `start` to `end`."""
    at = 0
    for delta in deltas:
        text = delta.text[max(start - at, 0) : max(end - at, 0)]
        at += len(delta.text)
        if text == delta.text:
            yield delta
        elif text:
            yield TextDelta(text)
