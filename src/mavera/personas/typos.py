"""
Find words in spite of typing errors: `budgte` finds Budget, `milenial` finds Millennial.

A word of up to three letters must be correct. One slip is allowed in four to seven letters, and two in
longer words. A slip is an extra letter, a missing one, a wrong one, or two swapped ones (optimal string
alignment count_slips). A typed word also matches longer words that begin with it.
"""

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache

_WORD = re.compile(r"\w+")
# The most words of a search and of the vocabulary. Together they bound the time of a search to about 0.1 s.
MOST_WORDS = 6
MOST_KNOWN = 3000


@lru_cache(maxsize=2048)
def fold(text: str) -> str:
    """Return `text` without case and accents."""
    if text.isascii():
        return text.casefold()
    return "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c)).casefold()


def find_words(text: str) -> frozenset[str]:
    return frozenset(_WORD.findall(fold(text)))


def match_words(typed: str, vocabulary: Iterable[str]) -> list[frozenset[str]]:
    """
    Return the matching words of `vocabulary` for each word of `typed`.

    The list is empty if one word matches nothing, because then no text can contain them all.
    """
    known = list(vocabulary)
    found: list[frozenset[str]] = []
    for one in _WORD.findall(fold(typed))[:MOST_WORDS]:
        near = frozenset(word for word in known if _is_near(one, word))
        if not near:
            return []
        found.append(near)
    return found


def _is_near(typed: str, word: str) -> bool:
    slips = 0 if len(typed) < 4 else 1 if len(typed) < 8 else 2
    if word.startswith(typed):
        return True
    if not slips or len(word) < len(typed) - slips or len(typed) > 40:
        return False
    if len(set(typed) ^ set(word[: len(typed) + slips])) > 2 * slips + 1:
        return False
    if abs(len(word) - len(typed)) <= slips and count_slips(typed, word) <= slips:
        return True
    return len(word) > len(typed) >= 5 and count_slips(typed, word[: len(typed)]) <= 1


def count_slips(a: str, b: str) -> int:
    """Return the number of slips between two words."""
    before: list[int] = []
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        last, row, older = row, [i], before
        for j, y in enumerate(b, 1):
            cost = min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (x != y))
            if older and j > 1 and x == b[j - 2] and a[i - 2] == y:
                cost = min(cost, older[j - 2] + 1)
            row.append(cost)
        before = last
    return row[-1]
