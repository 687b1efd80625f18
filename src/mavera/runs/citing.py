"""
Add the reference that a small model forgets after an answer from search results.

The passage that shares most words with the answer is cited, if it shares enough of them. Nothing is added to
an answer that has a reference already.
"""

import re
from dataclasses import dataclass, field

_WORD = re.compile(r"\d[\d.,:]*\d|\w{3,}")
_MARK = re.compile(r"\[\d{1,4}\]")
_LEAST_WORDS = 2
_COMMON_WORDS = "and are but can for from has have its not that the they this was were will with you"
_COMMON = frozenset(_COMMON_WORDS.split())


@dataclass(slots=True)
class ReferenceFinder:
    """`add_passage` takes what was found, by its number, and `add_text` takes the answer while it comes."""

    passages: dict[int, frozenset[str]] = field(default_factory=dict)
    pieces: list[str] = field(default_factory=list)

    def add_passage(self, number: int, text: str) -> None:
        self.passages[number] = _find_words(text)

    def add_text(self, text: str) -> None:
        if self.passages:
            self.pieces.append(text)

    def find_missing(self) -> str:
        """Return the reference that the answer lacks, such as " [1]", or an empty text."""
        answer = "".join(self.pieces)
        if not self.passages or _MARK.search(answer):
            return ""
        words = _find_words(answer)
        best = max(self.passages, key=lambda number: (len(words & self.passages[number]), -number))
        return f" [{best}]" if len(words & self.passages[best]) >= _LEAST_WORDS else ""


def _find_words(text: str) -> frozenset[str]:
    return frozenset(_WORD.findall(text.casefold())) - _COMMON
