"""
Measure how answers are worded: their length, loops, reasons, what they copy, and whether they stay on topic.

The module opens no socket and needs no numeric library, except for `measure_topic`, which reads vectors.
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from mavera.core.speech import find_copied_grams, find_words, has_loop
from mavera.evaluation.measures import Share, Z

_WORD = re.compile(r"[\w€£$₦₹¥]+(?:['’.,-]\w+)*")
# A rule, not a judge: it also finds a "so" that gives no reason, and misses a reason without a marker.
_REASON = re.compile(
    r"\b(?:because|since|so|that'?s why|which is why|cause|cuz|due to|means?|otherwise|unless|the reason"
    r"|as (?:i|we|it|my|they|long)|thanks to|therefore|in order to|it(?:'s| is) (?:too|not worth)"
    r"|too (?:much|expensive|many|dear|slow|hard|far))\b|, and (?:that|it|they|then)\b|: ",
    re.IGNORECASE,
)

Embed = Callable[[Sequence[str]], Any]


@dataclass(frozen=True, slots=True)
class Median:
    """The median of `cases` values, with a 95 % interval from their order. Without cases, all are NaN."""

    value: float
    interval: tuple[float, float]
    cases: int


def measure_median(values: Iterable[float]) -> Median:
    ordered = sorted(values)
    n = len(ordered)
    if not n:
        return Median(math.nan, (math.nan, math.nan), 0)
    half = Z * math.sqrt(n) / 2
    low, high = max(0, math.floor(n / 2 - half)), min(n - 1, math.ceil(n / 2 + half))
    return Median(median(ordered), (ordered[low], ordered[high]), n)


def measure_length(answers: Iterable[str]) -> Median:
    """Return the median number of words, as they are counted between spaces."""
    return measure_median(len(text.split()) for text in answers)


def measure_loops(answers: Iterable[str]) -> Share:
    """Return how many answers say any four words in a row three times."""
    found = [has_loop(text) for text in answers]
    return Share(sum(found), len(found))


def measure_reasons(answers: Iterable[str]) -> Share:
    """Return how many answers have a word that usually introduces a reason."""
    found = [bool(_REASON.search(text)) for text in answers]
    return Share(sum(found), len(found))


def measure_copies(answers: Iterable[tuple[str, str]], sample_answers: Mapping[str, Sequence[str]]) -> Share:
    """Return how many answers share six words in a row with a sample answer of their persona."""
    known = {who: find_copied_grams(texts) for who, texts in sample_answers.items()}
    copied = [not known[who].isdisjoint(find_copied_grams([text])) for who, text in answers]
    return Share(sum(copied), len(copied))


def measure_topic(answers: Sequence[tuple[str, str]], questions: Sequence[str], embed: Embed) -> Share:
    """Return how many answers are nearest to their own question, as `find_topics` finds it."""
    hits = find_topics(answers, questions, embed)
    return Share(sum(hits), len(hits))


def find_topics(answers: Sequence[tuple[str, str]], questions: Sequence[str], embed: Embed) -> list[bool]:
    """
    Return whether each answer is nearest to its own question. `answers` are (question, answer).

    The words of the question are taken out of the answer before, so that repeating it does not help.
    `embed` returns unit vectors. Each question's mean over all answers is subtracted, because some
    questions are near to any text.
    """
    if not answers:
        return []
    near = embed([strip_question(question, text) for question, text in answers]) @ embed(questions).T
    near = near - near.mean(axis=0)
    chosen = near.argmax(axis=1)
    return [questions[int(at)] == question for at, (question, _) in zip(chosen, answers, strict=True)]


def strip_question(question: str, answer: str) -> str:
    """Return `answer` without the words of `question`."""
    asked = set(find_words(question))
    return _WORD.sub(lambda found: "" if found.group().casefold() in asked else found.group(), answer).strip()
