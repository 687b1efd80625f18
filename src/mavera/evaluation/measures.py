"""
Turn answers into shares with intervals. The module is pure and needs no numeric library.

The intervals are Wilson's for shares (E. B. Wilson, 1927) at 95 %. The classifier is a nearest centroid
by cosine over TF-IDF weights. It is trained on the answers to half of the questions and tested on the
other half, so it has never seen an answer to a question of its test.
"""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from mavera.core.speech import breaks_character

Z = 1.959964
_WORD = re.compile(r"[a-z']+|[0-9]+|[$€£%]|[.!?,]")

Vector = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Share:
    """The share of `hits` in `cases`, with a 95 % interval. Without cases, all three numbers are NaN."""

    hits: float
    cases: int

    @property
    def value(self) -> float:
        return self.hits / self.cases if self.cases else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        if not self.cases:
            return math.nan, math.nan
        n, p = self.cases, self.value
        middle = (p + Z * Z / (2 * n)) / (1 + Z * Z / n)
        half = Z * math.sqrt(p * (1 - p) / n + Z * Z / (4 * n * n)) / (1 + Z * Z / n)
        # At 0 and 1 the bound equals the share, except for rounding.
        return min(p, max(0.0, middle - half)), max(p, min(1.0, middle + half))


def measure_distinctness(answers: Mapping[tuple[str, int], str]) -> Share:
    """Return how often the classifier recognises a persona. Keys are (persona, question number)."""
    hits = cases = 0
    for fold in (0, 1):
        train = {key: text for key, text in answers.items() if key[1] % 2 != fold}
        test = {key: text for key, text in answers.items() if key[1] % 2 == fold}
        if not train:
            continue
        weights = _inverse_frequencies(train.values())
        by_persona: dict[str, list[Vector]] = defaultdict(list)
        for (persona, _), text in train.items():
            by_persona[persona].append(_vector(text, weights))
        centroids = {persona: _unit(_sum(vectors)) for persona, vectors in by_persona.items()}
        for (persona, _), text in test.items():
            vector = _vector(text, weights)
            named = max(sorted(centroids), key=lambda name, v=vector: _dot(v, centroids[name]))  # type: ignore[misc]
            hits += named == persona
            cases += 1
    return Share(hits, cases)


def measure_character(answers: Iterable[str]) -> Share:
    texts = list(answers)
    return Share(sum(not breaks_character(text) and bool(text.strip()) for text in texts), len(texts))


def measure_direction(differences: Sequence[tuple[float, int]]) -> Share:
    """Return how many differences have the expected sign. A difference of zero counts half."""
    hits = [0.5 if not value else float((value > 0) == (sign > 0)) for value, sign in differences]
    return Share(sum(hits), len(hits))


def measure_stability(pairs: Sequence[tuple[float, float]]) -> Share:
    """Return how often two wordings lean the same way. Each value is the probability of yes."""
    return Share(sum((a > 0.5) == (b > 0.5) for a, b in pairs), len(pairs))


def find_features(text: str) -> list[str]:
    """Return words, punctuation marks and pairs of words."""
    single = _WORD.findall(text.lower())
    return [*single, *(f"{a} {b}" for a, b in pairwise(single))]


def _inverse_frequencies(texts: Iterable[str]) -> dict[str, float]:
    bags = [set(find_features(text)) for text in texts]
    counts = Counter(word for bag in bags for word in bag)
    return {word: math.log((1 + len(bags)) / (1 + count)) + 1 for word, count in counts.items()}


def _vector(text: str, weights: Mapping[str, float]) -> Vector:
    counts = Counter(word for word in find_features(text) if word in weights)
    return _unit({word: (1 + math.log(count)) * weights[word] for word, count in counts.items()})


def _sum(vectors: Iterable[Vector]) -> Vector:
    total: dict[str, float] = defaultdict(float)
    for vector in vectors:
        for word, weight in vector.items():
            total[word] += weight
    return total


def _unit(vector: Vector) -> Vector:
    length = math.sqrt(sum(weight * weight for weight in vector.values())) or 1.0
    return {word: weight / length for word, weight in vector.items()}


def _dot(a: Vector, b: Vector) -> float:
    return sum(weight * b.get(word, 0.0) for word, weight in a.items())
