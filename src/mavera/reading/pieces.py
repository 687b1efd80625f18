"""
Split text into the numbered pieces that the sentence encoder reads, as SentencePiece's unigram model does.

    NFKC → "▁" before each word → the split whose pieces have the highest sum of scores

The tokenizer is the one of XLM-RoBERTa (Kudo 2018) with fewer pieces: a word without its own piece is read
as two shorter pieces. No piece goes beyond a word, so each word is split alone and kept. The time is
linear in the length of the text.
"""

import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

SPECIALS = ("<s>", "<pad>", "</s>", "<unk>")
START, PADDING, END, UNKNOWN = range(len(SPECIALS))
# The penalty of an unknown character against the rarest piece. The value is SentencePiece's.
_UNKNOWN_PENALTY = 10.0
_WORD = "▁"
# The pieces of this many words are kept. Longer words are rare, and they would take memory.
_REMEMBERED, _LONGEST_REMEMBERED = 8192, 32


class Pieces:
    """The known pieces. The first pieces are `SPECIALS`. The number of a piece is its index."""

    def __init__(self, pieces: Sequence[str], scores: Sequence[float]) -> None:
        pairs = list(zip(pieces, scores, strict=True))
        self._known = {piece: (n, score) for n, (piece, score) in enumerate(pairs) if n >= len(SPECIALS)}
        self._longest = max(len(piece) for piece in self._known)
        self._unknown = min(score for _, score in pairs) - _UNKNOWN_PENALTY
        self._split_known = lru_cache(maxsize=_REMEMBERED)(self._split)

    @classmethod
    def load(cls, path: Path) -> "Pieces":
        """Read a file of lines `piece<TAB>score`. Raises OSError if there is no such file."""
        rows = [line.split("\t") for line in path.read_text(encoding="utf-8").split("\n") if line]
        return cls([piece for piece, _ in rows], [float(score) for _, score in rows])

    def encode(self, text: str) -> list[int]:
        """Return the numbers of the pieces of `text`, without `START` and `END`."""
        normal = unicodedata.normalize("NFKC", text)
        # A mark inside a word begins a piece too.
        words = "".join(f"{_WORD}{word}" for word in normal.split()).split(_WORD)[1:]
        return [number for word in words or [""] for number in self._split_word(_WORD + word)]

    def _split_word(self, word: str) -> tuple[int, ...]:
        return self._split_known(word) if len(word) <= _LONGEST_REMEMBERED else self._split(word)

    def _split(self, word: str) -> tuple[int, ...]:
        # best[i] is the score of the best split of word[:i]. Its last piece begins at begun[i].
        length = len(word)
        best = [0.0] + [float("-inf")] * length
        begun, last = [0] * (length + 1), [UNKNOWN] * (length + 1)
        for start in range(length):
            for end in range(start + 1, min(length, start + self._longest) + 1):
                found = self._known.get(word[start:end])
                if found is not None and best[start] + found[1] > best[end]:
                    best[end], begun[end], last[end] = best[start] + found[1], start, found[0]
            if best[start] + self._unknown > best[start + 1]:
                best[start + 1], begun[start + 1], last[start + 1] = (
                    best[start] + self._unknown,
                    start,
                    UNKNOWN,
                )
        numbers = []
        end = length
        while end:
            numbers.append(last[end])
            end = begun[end]
        return tuple(reversed(numbers))
