"""
Read the emojis of a text with a small table, `emojis.toml`.

    text → the first emojis that the table has, each once → a rating for each, as if it were a sentence

Emojis that the table does not have, and drawn stars, are not read.
"""

import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from mavera.analysis.ratings import NAMES, Rating

_MOST = 5
_EMOJI = re.compile(
    "[\U0001f1e6-\U0001f1ff\U0001f300-\U0001f64f\U0001f680-\U0001f6ff\U0001f900-\U0001faff\u2600-\u27bf\u2b50\u2b55]"
)
# Variation selectors, the joiner, and skin colours change the look of the emoji before them.
_LOOKS = re.compile("[\ufe0e\ufe0f\u200d\U0001f3fb-\U0001f3ff]")


def find_emojis(text: str) -> list[Rating]:
    """Return the ratings of at most five different emojis, in their order."""
    table = _load_table()
    found = dict.fromkeys(emoji for emoji in _list_emojis(text) if emoji in table)
    return [table[emoji] for emoji in list(found)[:_MOST]]


def has_unread_emojis(text: str) -> bool:
    """Return whether `text` has emojis or drawn stars that are not read."""
    return any(emoji not in _load_table() for emoji in _list_emojis(text))


def remove_emojis(text: str) -> str:
    """Return `text` without its emojis."""
    return " ".join(_EMOJI.sub(" ", _LOOKS.sub("", text)).split())


def _list_emojis(text: str) -> Iterator[str]:
    return (match[0] for match in _EMOJI.finditer(_LOOKS.sub("", text)))


@cache
def _load_table() -> dict[str, Rating]:
    groups = tomllib.loads((Path(__file__).parent / "emojis.toml").read_text(encoding="utf-8"))["groups"]
    return {
        emoji: Rating(
            one["valence"],
            one["arousal"],
            one["dominance"],
            tuple(float(name == one["emotion"]) for name in NAMES),
        )
        for one in groups
        for emoji in one["emojis"]
    }
