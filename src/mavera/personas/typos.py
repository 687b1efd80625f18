"""
Words that were meant, though typed wrongly: `budgte` finds Budget, `milenial` Millennial.

A word of up to three letters has to be right, up to seven one slip is forgiven, from
eight on two. A slip is a letter too many, too few, another one, or two swapped (optimal
string alignment distance). A word may also be the beginning of the one it is held against.
"""

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache

_WORD = re.compile(r"\w+")
# Of what is typed, and of what it is held against: together they bound what a search may take, some 0.1 s.
MOST_WORDS = 6
MOST_KNOWN = 3000


@lru_cache(maxsize=2048)
def plain(text: str) -> str:
    """Return `text` without case and accents."""
    if text.isascii():
        return text.casefold()
    return "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c)).casefold()


def words_of(text: str) -> frozenset[str]:
    return frozenset(_WORD.findall(plain(text)))


def meant(typed: str, vocabulary: Iterable[str]) -> list[frozenset[str]]:
    """
    Return, for each word of `typed`, the words of `vocabulary` that may be meant.

    Where one has none, nothing: there is no text that has them all.
    """
    known = list(vocabulary)
    found: list[frozenset[str]] = []
    for one in _WORD.findall(plain(typed))[:MOST_WORDS]:
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
    if abs(len(word) - len(typed)) <= slips and distance(typed, word) <= slips:
        return True
    return len(word) > len(typed) >= 5 and distance(typed, word[: len(typed)]) <= 1


def distance(a: str, b: str) -> int:
    """Return how many slips lie between two words."""
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
