"""
Score how much a question and its answer touch the news, by topics, dates and names.

    words of a topic · dates and words of urgency · names of people, places and bodies
        → weighted sum → logistic → 1–10

`evals.news` fits the weights on a small labelled set. No model is involved.
"""

import math
import re
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources

from mavera.core.analysis import NewsRelevance

MAX_CHARACTERS = 40_000
MAX_TOPICS = 3
_TIME_SENSITIVE = 1

_URGENT = re.compile(
    r"\b(today|tonight|yesterday|tomorrow|breaking|this (?:morning|week|month|quarter|year|weekend)|"
    r"last (?:night|week|month|quarter)|next (?:week|month|year)|just (?:announced|released|reported)|"
    r"announce[sd]?|announcement|latest|ongoing|current(?:ly)?|recent(?:ly)?|upcoming|deadline|"
    r"now|right now|so far this year|headlines?|news|"
    r"(?:mon|tues|wednes|thurs|fri|satur|sun)day)\b",
    re.IGNORECASE,
)
_DATE = re.compile(
    r"\b20[2-4]\d\b|\b(?:January|February|March|April|June|July|August|September|October|November|December)\b"
    r"|\bMay \d{1,2}\b|\bQ[1-4]\b"
)
# Names: capitalised words that do not begin a sentence, and abbreviations.
_NAME = re.compile(r"(?<=[\w,;:] )(?!I\b|I')[A-Z][\w&.-]+(?: [A-Z][\w&.-]+)*|\b[A-Z]{2,6}\b")


@dataclass(frozen=True, slots=True)
class NewsWeights:
    constant: float = -1.5
    topic: float = 0.8
    urgent: float = 0.9
    date: float = 0.7
    name: float = 0.3


WEIGHTS = NewsWeights()


@cache
def _topics() -> dict[str, re.Pattern[str]]:
    text = resources.files("mavera.analysis").joinpath("topics.toml").read_text(encoding="utf-8")
    return {
        topic: re.compile(r"\b(?:" + "|".join(words) + r")\b", re.IGNORECASE)
        for topic, words in tomllib.loads(text)["topics"].items()
    }


@dataclass(frozen=True, slots=True)
class Signals:
    """The counts of the signs of news. Each count except `topics` stops at 4."""

    topics: tuple[str, ...]
    topic_words: int
    urgent: int
    dates: int
    names: int


def count_signals(question: str, answer: str) -> Signals:
    text = f"{question[:MAX_CHARACTERS]}\n{answer[:MAX_CHARACTERS]}"
    counts = {topic: len({m.lower() for m in pattern.findall(text)}) for topic, pattern in _topics().items()}
    ordered = sorted((topic for topic, count in counts.items() if count), key=lambda t: (-counts[t], t))
    return Signals(
        tuple(ordered[:MAX_TOPICS]),
        min(4, max(counts.values(), default=0)),
        min(4, len({m.lower() for m in _URGENT.findall(text)})),
        min(4, len(set(_DATE.findall(text)))),
        min(4, len(set(_NAME.findall(text)))),
    )


def score_news(question: str, answer: str, weights: NewsWeights = WEIGHTS) -> NewsRelevance:
    found = count_signals(question, answer)
    z = (
        weights.constant
        + weights.topic * found.topic_words
        + weights.urgent * found.urgent
        + weights.date * found.dates
        + weights.name * found.names
    )
    return NewsRelevance(
        score=round(1 + 9 / (1 + math.exp(-z)), 1),
        topics=list(found.topics),
        time_sensitive=found.urgent + found.dates > _TIME_SENSITIVE,
    )
