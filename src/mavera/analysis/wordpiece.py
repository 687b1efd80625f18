"""
Convert text to the token numbers that the emotion encoder reads, with BERT's uncased WordPiece.

    lower case, no accents → words and punctuation → longest known pieces

This is the tokenizer of bert-base-uncased (Devlin et al. 2019). The tests compare it with the reference.
"""

import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

UNKNOWN, START, END = "[UNK]", "[CLS]", "[SEP]"
_MAX_WORD = 100
# BERT treats each character of these blocks as Chinese, so each is a word of its own.
_IDEOGRAPHS = (
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B820, 0x2CEAF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
)


class WordPiece:
    def __init__(self, vocabulary: list[str]) -> None:
        self._ids = {piece: number for number, piece in enumerate(vocabulary)}
        self._pieces = lru_cache(maxsize=8192)(self._pieces_of)

    @classmethod
    def load(cls, path: Path) -> "WordPiece":
        return cls(path.read_text(encoding="utf-8").splitlines())

    def encode(self, text: str, limit: int) -> list[int]:
        """Return at most `limit` numbers, including the start and end marks."""
        found = [self._ids[START]]
        for word in _words(text):
            found += self._pieces(word)
            if len(found) >= limit:
                break
        return [*found[: limit - 1], self._ids[END]]

    def _pieces_of(self, word: str) -> tuple[int, ...]:
        if len(word) > _MAX_WORD:
            return (self._ids[UNKNOWN],)
        found: list[int] = []
        start = 0
        while start < len(word):
            prefix = "##" if start else ""
            end = len(word)
            while end > start and (number := self._ids.get(prefix + word[start:end])) is None:
                end -= 1
            if end == start or number is None:
                return (self._ids[UNKNOWN],)
            found.append(number)
            start = end
        return tuple(found)


def _words(text: str) -> Iterator[str]:
    for chunk in _separate_ideographs(text).split():
        plain = "".join(
            c for c in unicodedata.normalize("NFD", chunk) if unicodedata.category(c) != "Mn"
        ).lower()
        word = ""
        for character in plain:
            if _is_punctuation(character):
                if word:
                    yield word
                yield character
                word = ""
            else:
                word += character
        if word:
            yield word


def _separate_ideographs(text: str) -> str:
    """Put spaces around ideographs, and drop control characters."""
    made = []
    for character in text:
        code = ord(character)
        if character in "\t\n\r":
            made.append(" ")
        elif code in (0, 0xFFFD) or unicodedata.category(character).startswith("C"):
            continue
        elif any(low <= code <= high for low, high in _IDEOGRAPHS):
            made.append(f" {character} ")
        else:
            made.append(character)
    return "".join(made)


def _is_punctuation(character: str) -> bool:
    code = ord(character)
    if 33 <= code <= 47 or 58 <= code <= 64 or 91 <= code <= 96 or 123 <= code <= 126:
        return True
    return unicodedata.category(character).startswith("P")
