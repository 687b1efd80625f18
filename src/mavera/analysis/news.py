"""
Rate how much a question and its answer touch the news, and name the topics.

    question, and some sentences of the answer → vectors of the encoder
        → a linear model: news or not → their mean → 1–10
        → a linear model: ten topics or none → the topics of the likeliest sentences

`python -m evals.news.train` fits both models, and `python -m evals.news` measures them. `time_sensitive` is a
rule about dates and words of urgency. No language model is involved.
"""

import importlib
import re
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mavera.core.analysis import NewsRelevance
from mavera.reading.encoder import SentenceEncoder
from mavera.reading.prose import pick_prose
from mavera.reading.sentences import split_sentences

WEIGHTS = Path(__file__).parent / "weights" / "news.npz"
VERSION = "news-1"
MAX_CHARACTERS = 40_000
# The question and this many evenly spread sentences are read.
MAX_SENTENCES = 12
MAX_TOPICS = 3
# The least probability that a text is news of a topic, as the mean over the texts and as the highest of one.
LEAST_MEAN = 0.2
LEAST_PEAK = 0.5
VECTOR_SCALE = 8.0
_TIME_SENSITIVE = 1

_URGENT = re.compile(
    r"\b(today|tonight|yesterday|tomorrow|breaking|this (?:morning|week|month|quarter|year|weekend)|"
    r"last (?:night|week|month|quarter)|next (?:week|month|year)|just (?:announced|released|reported)|"
    r"announce[sd]?|announcement|latest|ongoing|current(?:ly)?|recent(?:ly)?|upcoming|deadline|"
    r"right now|so far this year|headlines?|"
    r"(?:mon|tues|wednes|thurs|fri|satur|sun)day)\b",
    re.IGNORECASE,
)
_DATE = re.compile(
    r"\b20[2-4]\d\b|\b(?:January|February|March|April|June|July|August|September|October|November|December)\b"
    r"|\bMay \d{1,2}\b|\bQ[1-4]\b"
)


class NewsReader:
    """Rates the relevance for the news. It can be called from several threads and takes processor time."""

    version = VERSION

    def __init__(self, encoder: SentenceEncoder, path: Path = WEIGHTS) -> None:
        self._encoder = encoder
        self._path = path
        self._loading = threading.Lock()
        self._parts: _Parts | None = None

    def rate(self, question: str, answer: str) -> NewsRelevance | None:
        """Return the relevance, None if there is no text. Raises NoEncoder."""
        texts = _pick_texts(question, answer)
        if not texts:
            return None
        with self._loading:
            if self._parts is None:
                self._parts = _Parts(self._path)
        vectors = self._encoder.embed(texts)
        relevance = self._parts.measure_relevance(vectors)
        return NewsRelevance(
            score=round(1 + 9 * float(relevance.mean()), 1),
            topics=self._parts.name_topics(vectors, relevance),
            time_sensitive=is_time_sensitive(question, answer),
        )


def is_time_sensitive(question: str, answer: str) -> bool:
    """Return whether the text has at least two different dates and words of urgency."""
    text = f"{question[:MAX_CHARACTERS]}\n{answer[:MAX_CHARACTERS]}"
    urgent = {match.lower() for match in _URGENT.findall(text)}
    return len(urgent) + len(set(_DATE.findall(text))) > _TIME_SENSITIVE


def _pick_texts(question: str, answer: str) -> list[str]:
    sentences = pick_prose(split_sentences(answer[:MAX_CHARACTERS]))
    if len(sentences) > MAX_SENTENCES:
        sentences = [sentences[n * len(sentences) // MAX_SENTENCES] for n in range(MAX_SENTENCES)]
    return [text for text in (question.strip(), *(one.text for one in sentences)) if text]


class _Parts:
    """The weights. The first topic is "none"."""

    def __init__(self, path: Path) -> None:
        self._numpy = importlib.import_module("numpy")
        with self._numpy.load(path) as found:
            self._topics: Sequence[str] = bytes(found["topics"]).decode().split("\n")
            self._topic_weights = found["topic_weights"].astype("float32")
            self._topic_constants = found["topic_constants"]
            self._weights = found["weights"].astype("float32")
            self._constant = float(found["constant"])

    def measure_relevance(self, vectors: Any) -> Any:
        """Return the probability (0–1) that each text is news."""
        scores = VECTOR_SCALE * vectors @ self._weights + self._constant
        return 1 / (1 + self._numpy.exp(-scores))

    def name_topics(self, vectors: Any, relevance: Any) -> list[str]:
        """Return the topics of the texts. A topic counts as much as its text is news."""
        numpy = self._numpy
        scores = VECTOR_SCALE * vectors @ self._topic_weights + self._topic_constants
        odds = numpy.exp(scores - scores.max(axis=1, keepdims=True))
        shares = odds / odds.sum(axis=1, keepdims=True) * relevance[:, None]
        means, peaks = shares.mean(axis=0), shares.max(axis=0)
        found = [
            (float(means[n]), topic)
            for n, topic in enumerate(self._topics)
            if n and (means[n] >= LEAST_MEAN or peaks[n] >= LEAST_PEAK)
        ]
        return [topic for _, topic in sorted(found, reverse=True)[:MAX_TOPICS]]
