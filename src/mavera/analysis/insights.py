"""
Pick the one to five sentences that sum up an answer, in its own words.

A sentence scores by the words that it shares with the rest, by its relation to the question, and by
whether it makes a claim. The best sentences are taken one after the other, without repetitions. No model
is involved, so an insight cannot say anything that the answer does not say.
"""

import math
import re
from collections import Counter
from collections.abc import Sequence

from mavera.reading.sentences import Sentence

MAX_INSIGHTS = 5
MAX_SENTENCES = 400
_SENTENCES_PER_INSIGHT = 3
_SAME = 0.5

_WORD = re.compile(r"[^\W\d_]{2,}|\d[\d.,%]*")
_COMMON = frozenset(
    re.findall(
        r"\w+",
        """
        the a an and or but so if of to in on at by for with from as is are was were be been being it its
        this that these those there here i you he she we they me my your his her our their them us not no do
        does did have has had can could will would should may might just very really also than then too more
        most some any all about into over when what which who how why because while although however well
        think feel like get got one
        """,
    )
)
_OPENING = re.compile(
    r"^(sure|great question|of course|certainly|hello|hi|hey|thanks|thank you|i hope|let me|well,|okay)\b",
    re.I,
)
_CLAIM = re.compile(
    r"\b(because|since|therefore|so that|means?|matters?|need|prefer|would|should|must|important|value|"
    r"rather|instead|than|if|unless|however|but)\b|\d",
    re.I,
)


def pick_insights(sentences: Sequence[Sentence], question: str = "") -> list[tuple[str, list[int]]]:
    """Return the insights in the order of the answer, each with the numbers of its sentences."""
    found = [find_words(one.text) for one in sentences[:MAX_SENTENCES]]
    asked = find_words(question)
    seen_in = Counter(word for one in found for word in one)
    scores = [_score(n, sentences[n].text, one, asked, seen_in) for n, one in enumerate(found)]
    wanted = min(MAX_INSIGHTS, max(1, round(len(found) / _SENTENCES_PER_INSIGHT)))
    chosen: list[int] = []
    for number in sorted(range(len(found)), key=lambda n: (-scores[n], n)):
        if len(chosen) == wanted or (chosen and scores[number] <= 0):
            break
        if all(_overlap(found[number], found[other]) < _SAME for other in chosen):
            chosen.append(number)
    return [(sentences[number].text, [number]) for number in sorted(chosen)]


def _score(
    number: int, text: str, words: frozenset[str], asked: frozenset[str], seen_in: Counter[str]
) -> float:
    if not words:
        return -1.0
    shared = sum(math.log1p(seen_in[word] - 1) for word in words) / math.sqrt(len(words) + 4)
    score = 0.2 + shared + 0.4 * len(words & asked) / math.sqrt(len(words) + 4) + 0.04 * min(len(words), 12)
    score += 0.4 * (_CLAIM.search(text) is not None) + 0.2 * (number == 0)
    if text.endswith("?"):
        score -= 1.0
    if _OPENING.match(text):
        score -= 0.6
    return score


def find_words(text: str) -> frozenset[str]:
    """Return the words that carry the meaning of `text`, in lower case."""
    return frozenset(word.lower() for word in _WORD.findall(text)) - _COMMON


def _overlap(one: frozenset[str], other: frozenset[str]) -> float:
    return len(one & other) / max(1, min(len(one), len(other)))
