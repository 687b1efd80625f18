"""
Count the words of an answer that say yes, no or it depends, in the languages of the encoder.

The counts stand beside the sentence vectors, because vectors of small encoders are nearly the same for a
sentence and its negation. The words are in `words.toml`. The time is linear in the length of the text.
"""

import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mavera.reading.prose import to_plain

_WORDS: dict[str, Any] = tomllib.loads((Path(__file__).parent / "words.toml").read_text(encoding="utf-8"))


def _compile(words: Sequence[str], before: str = "") -> re.Pattern[str]:
    return re.compile(rf"{before}(?:{'|'.join(words)})(?!\w)", re.IGNORECASE)


_FILLER = rf"(?:(?:{'|'.join(_WORDS['before'])})\b)?[\s,.—¡¿-]*"
_OPENINGS = tuple(_compile(words, _FILLER) for words in _WORDS["begins"].values())
_COUNTED = (
    *(_compile(words, r"(?<!\w)") for words in _WORDS["anywhere"].values()),
    re.compile(r"\?"),
    re.compile(";"),
)
_CLOSED = _compile(_WORDS["closed"]["begins"], r"[\s¿\"'«(]*")
_NEGATION = list(_WORDS["anywhere"]).index("negation")

# The number of values that `count_words` returns.
COUNT = len(_OPENINGS) + 2 * len(_COUNTED) + 2


def count_words(text: str, first: str) -> list[float]:
    """Return `COUNT` numbers about an answer and its first sentence."""
    text, first = to_plain(text).replace("’", "'"), to_plain(first).replace("’", "'")
    begins = [float(bool(opening.match(first))) for opening in _OPENINGS]
    in_first = [float(min(2, len(words.findall(first)))) for words in _COUNTED]
    in_all = [min(4, len(words.findall(text))) / 2 for words in _COUNTED]
    # "Yes, but I would not" begins with yes and has a negation.
    contradicts = float(bool(begins[0] and in_first[_NEGATION]))
    return [*begins, *in_first, *in_all, min(1.0, len(text) / 250), contradicts]


def is_closed(question: str) -> bool:
    """Return whether `question` can be answered with yes or no. Of several questions, the last counts."""
    asked = [part for part in re.split(r"(?<=[?!.])\s+", question.strip()) if part.rstrip().endswith("?")]
    return bool(_CLOSED.match(asked[-1] if asked else question))
