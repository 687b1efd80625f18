"""
Hold back text that looks like a call of a known function.

    {"name": "get_weather"  …  even in a ``` fence, in brackets or with doubled braces
    {"get_weather": {  …       <tool_call>       get_weather(  at the beginning of a line

Text is held back only while it could still become one of these, and is then passed on unchanged. The text
before a call is passed on, and the call is `caught`.
"""

import re
from collections.abc import Iterator
from functools import lru_cache

import regex

from mavera.core.events import TextDelta

# Every repetition is bounded, so that no more than a line or two is ever held back.
_SPACE = r"\s{0,20}"
_COLON = rf"{_SPACE}:{_SPACE}"
_OPENED = rf'(?:`{{1,3}}\w{{0,20}}\s{{0,20}})?\[?{_SPACE}\{{[{{\s]{{0,20}}"'
_KEY = rf'(?:name|function|function_name|tool|tool_name|recipient_name|action)"{_COLON}"'
_CALLS = (
    rf'{_OPENED}{_KEY}NAME"',
    rf'{_OPENED}function"{_COLON}\{{{_SPACE}"{_KEY}NAME"',
    rf'{_OPENED}NAME"{_COLON}\{{',
    r"(?<=\n)[ \t`*]{0,20}NAME\(",
    rf'{_OPENED}type"{_COLON}"function"',
    r"<tool_call>",
)
# Most text in the middle of a line matches this, and needs no closer look.
_HARMLESS = re.compile(r"[^\n`\[{<]*[^\s`\[{<]")


@lru_cache(maxsize=256)
def _pattern_of(names: tuple[str, ...]) -> regex.Pattern[str]:
    """Return the pattern of a call of one of `names`; its group `name` is empty if the call has none yet."""
    return regex.compile("|".join(_CALLS).replace("NAME", r"(?P<name>\L<names>)"), names=names)


class CallGuard:
    """`names` are the functions whose calls are looked for."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self._pattern = _pattern_of(names)
        self._held: list[TextDelta] = []
        self._before = "\n"
        self.caught: str | None = None

    def feed(self, delta: TextDelta) -> Iterator[TextDelta]:
        """Yield text that is not a call. After a call, `caught` is the function's name, or "" if unknown."""
        if not self._held and self._before != "\n" and _HARMLESS.fullmatch(delta.text):
            self._before = delta.text[-1]
            yield delta
            return
        self._held.append(delta)
        text = self._before + "".join(held.text for held in self._held)
        # Find the first whole call, or else the first place from which the text may become one.
        match = self._pattern.search(text, partial=True)
        if match is None or match.partial:
            yield from self._release(len(text) if match is None else match.start())
        else:
            self.caught = match["name"] or ""
            yield from _clip(self._held, match.start() - 1)
            self._held = []

    def flush(self) -> Iterator[TextDelta]:
        """Yield the text that was held back, because it is not a call."""
        held, self._held = self._held, []
        yield from held

    def _release(self, end: int) -> Iterator[TextDelta]:
        """Yield the deltas that end before `end`, a place in the held text after `_before`."""
        end -= 1
        while self._held and len(self._held[0].text) <= end:
            delta = self._held.pop(0)
            end -= len(delta.text)
            self._before = delta.text[-1:] or self._before
            yield delta


def _clip(deltas: list[TextDelta], length: int) -> Iterator[TextDelta]:
    """Yield the first `length` characters; a delta cut in two loses its log-probabilities."""
    for delta in deltas:
        if length <= 0:
            return
        yield delta if len(delta.text) <= length else TextDelta(delta.text[:length])
        length -= len(delta.text)
