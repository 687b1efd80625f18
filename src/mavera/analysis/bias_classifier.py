"""
Rate which bias a piece of text shows, if any, from its meaning and its words.

    piece → vector of the encoder · its words and pairs of words → multinomial logistic → P(bias) each
          → calibrated: the share of such pieces, among ordinary text, that do show the bias

`python -m evals.biases.train` fits it on texts that were written for it and on thousands of plain ones.
"""

import importlib
import re
import threading
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from mavera.reading.encoder import SentenceEncoder

WEIGHTS = Path(__file__).parent / "weights" / "biases.npz"
VERSION = "biases-2"
# The vectors of e5 differ little, and the words have at most the length 1.
VECTOR_SCALE = 16.0
WORD_SCALE = 4.0

_TOKEN = re.compile(r"[a-z]+(?:'[a-z]+)?|\d[\d.,]*")


def find_grams(text: str) -> set[str]:
    """
    Return the words of `text` and the pairs of neighbours, in lower case. All numbers are the same word.
    """
    words = ["0" if token[0].isdigit() else token for token in _TOKEN.findall(text.lower().replace("’", "'"))]
    return {*words, *(f"{one} {two}" for one, two in pairwise(words))}


class BiasClassifier:
    """
    The classifier, loaded by the first call. It can be called from several threads and takes processor time.
    """

    version = VERSION

    def __init__(self, encoder: SentenceEncoder, path: Path = WEIGHTS) -> None:
        self._encoder = encoder
        self._path = path
        self._loading = threading.Lock()
        self._parts: _Parts | None = None

    def rate(self, texts: Sequence[str]) -> list[dict[str, float]]:
        """
        Return the probability of each bias that the classifier knows, for each of `texts`.

        Raises NoEncoder.
        """
        parts = self._load()
        if not texts:
            return []
        scores = parts.score(texts, self._encoder.embed(texts))
        return [dict(zip(parts.names, map(float, row), strict=True)) for row in scores]

    def threshold_of(self, name: str) -> float:
        """Return the least probability of a bias that is reported. It is above 1 for a dropped bias."""
        return self._load().thresholds.get(name, 2.0)

    def _load(self) -> "_Parts":
        with self._loading:
            if self._parts is None:
                self._parts = _Parts(self._path)
            return self._parts


class _Parts:
    """The weights. The first class is "none"."""

    def __init__(self, path: Path) -> None:
        self._numpy = importlib.import_module("numpy")
        with self._numpy.load(path) as found:
            labels = bytes(found["labels"]).decode().split("\n")
            self._index = {gram: n for n, gram in enumerate(bytes(found["grams"]).decode().split("\n"))}
            self._grams = found["gram_weights"].astype("float32")
            self._vectors = found["vector_weights"].astype("float32")
            self._constants = found["constants"]
            self._calibration = found["calibration"]
            self.names = labels[1:]
            self.thresholds = dict(zip(self.names, map(float, found["thresholds"]), strict=True))

    def score(self, texts: Sequence[str], vectors: Any) -> Any:
        numpy = self._numpy
        scores = VECTOR_SCALE * vectors @ self._vectors + self._constants
        for row, text in enumerate(texts):
            known = [self._index[gram] for gram in find_grams(text) if gram in self._index]
            if known:
                scores[row] += WORD_SCALE / len(known) ** 0.5 * self._grams[known].sum(axis=0)
        odds = numpy.exp(scores - scores.max(axis=1, keepdims=True))
        shares = odds / odds.sum(axis=1, keepdims=True)
        slope, constant = self._calibration
        shares = numpy.clip(shares[:, 1:], 1e-6, 1 - 1e-6)
        return 1 / (1 + numpy.exp(-(slope * numpy.log(shares / (1 - shares)) + constant)))
