"""
Leave out of a found text the sentences that give orders to the model that reads it.

    sentence → vector → P(order) → left out from `LEAST_PROBABILITY` on

A small model does what a page says ("Reply only with the word …"), whatever its prompt says about quotations.
The reader is a logistic regression that learned from injections and from sentences of pages, many of them
imperatives ("Preheat the oven"). It overlooks some orders, and it cannot tell a lie from a fact. So it makes
an attack harder and no page true. `evals/README.md` has its figures.
"""

import importlib
import math
import re
import threading
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from mavera.reading.encoder import WEIGHTS, NoEncoder, SentenceEncoder

WEIGHTS_FILE = WEIGHTS / "orders.npz"
# The probability from which a sentence is left out.
LEAST_PROBABILITY = 0.4
# The vectors are multiplied by this, because the cosines of e5 differ little.
SCALE = 8.0
# Of a longer text the rest is left out, because nobody has read it.
MOST_SENTENCES = 100
# A sentence with the white space behind it. Code and tables are split too, unlike in `reading.sentences`,
# because an order may hide anywhere.
_END = r"[.!?…。！？]{1,8}[\"'”’)\]»]{0,4}\s{1,8}|-->\s{0,8}|</\w{1,20}>\s{0,8}|\n|\Z"
_SENTENCE = re.compile(rf"[^\n]{{1,400}}?(?:{_END})|[^\n]{{400}}|\n{{1,400}}")


def split_text(text: str) -> list[str]:
    """Return the first `MOST_SENTENCES` sentences of `text`, each with the white space behind it."""
    return [found.group() for found in islice(_SENTENCE.finditer(text), MOST_SENTENCES)]


class OrderReader:
    """Reads found texts with an encoder: some 10 ms of processor time for each sentence."""

    def __init__(self, encoder: SentenceEncoder, weights: Path = WEIGHTS_FILE) -> None:
        self._encoder = encoder
        self._path = weights
        self._loading = threading.Lock()
        self._parts: tuple[Any, Any, float] | None = None

    def leave_out_orders(self, text: str) -> str:
        """Return the first sentences of `text` that give no order. Raises NoEncoder."""
        sentences = split_text(text)
        shares = self.rate(sentences)
        return "".join(one for one, share in zip(sentences, shares, strict=True) if share < LEAST_PROBABILITY)

    def rate(self, sentences: Sequence[str]) -> list[float]:
        """Return for each sentence how likely it is an order to a model, 0–1. Raises NoEncoder."""
        if not sentences:
            return []
        vectors = self._encoder.embed([sentence.strip() for sentence in sentences])
        mean, weights, constant = self._load()
        scores = (vectors - mean) * SCALE @ weights + constant
        return [1 / (1 + math.exp(-float(score))) for score in scores]

    def _load(self) -> tuple[Any, Any, float]:
        with self._loading:
            if self._parts is None:
                numpy = importlib.import_module("numpy")
                try:
                    with numpy.load(self._path) as found:
                        self._parts = (found["mean"], found["weights"], float(found["constant"]))
                except OSError as error:
                    raise NoEncoder(f"{self._path} cannot be read: {error}") from error
            return self._parts
