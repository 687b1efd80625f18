"""
Pick the one to five sentences that sum up an answer, in its own words.

A sentence scores by its nearness to the centre of the answer: the mean of the vectors of its sentences. A
claim and words of the question add a little. The best sentences are taken one after the other, without
repetitions. A sentence that begins with a pronoun for something in the sentence before cannot stand alone, so
it is left out. No language model is involved, so an insight cannot say anything that the answer does not say.
"""

import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

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


# "This app is slow" stands alone, and "This is slow" does not.
_LEANS = re.compile(
    r"^[\W_]*(?:(?:and|but|so|or|because|also|then|plus|still|yet|however|therefore|instead),? )*"
    r"(?:it|which|they|he|she|him|them|its|their|his|her|both|neither|those|these|this|that|such|"
    r"the (?:former|latter|other))"
    r"\b(?:['’]\w+)?(?P<next> \w+)?",
    re.IGNORECASE,
)
# These words after "this" mean that no noun comes. After "it" or "they", none ever does.
_POINTERS = frozenset(("this", "that", "these", "those", "such", "both", "neither"))
_NO_NOUN = frozenset(
    re.findall(
        r"\w+",
        """
        is isn was wasn are aren were weren has have had can could will would should must may might
        does do did doesn means makes made gives gave helps takes took lets seems looks sounds feels
        works happens way also only just all and or but in on at for to of with from if when because
        so not never always really being said depends
        """,
    )
)


def stands_alone(sentence: str) -> bool:
    """Return whether a sentence does not begin with a pronoun whose noun is in another sentence."""
    match = _LEANS.match(sentence)
    if match is None:
        return True
    following = (match["next"] or "").strip().lower()
    pronoun = match[0].removesuffix(match["next"] or "").split()[-1].lower()
    word = re.split(r"['’]", pronoun)
    if len(word) > 1 or word[0] not in _POINTERS:
        # "Its battery", "The latter" and "They think" all lean on what came before.
        return False
    return bool(following) and following not in _NO_NOUN


def pick_insights(
    sentences: Sequence[Sentence], question: str = "", vectors: Any = None
) -> list[tuple[str, list[int]]]:
    """
    Return the insights in the order of the answer, each with the numbers of its sentences.

    `vectors` has the vector of each sentence, as `SentenceEncoder` makes them. Without it, the words that a
    sentence shares with the others count instead. If no sentence stands alone, the best of all is taken.
    """
    sentences = sentences[:MAX_SENTENCES]
    found = [find_words(one.text) for one in sentences]
    asked = find_words(question)
    near = _measure_shared_words(found) if vectors is None else _measure_nearness(vectors)
    scores = [near[n] + _rate_form(n, sentences[n].text, one, asked) for n, one in enumerate(found)]
    alone = [n for n, one in enumerate(sentences) if stands_alone(one.text)] or list(range(len(sentences)))
    wanted = min(MAX_INSIGHTS, max(1, round(len(found) / _SENTENCES_PER_INSIGHT)))
    chosen: list[int] = []
    for number in sorted(alone, key=lambda n: (-scores[n], n)):
        if len(chosen) == wanted or (chosen and scores[number] <= 0):
            break
        if all(_overlap(found[number], found[other]) < _SAME for other in chosen):
            chosen.append(number)
    return [(sentences[number].text, [number]) for number in sorted(chosen)]


def _measure_nearness(vectors: Any) -> list[float]:
    """
    Return the cosine of each vector with the mean of all, from 0 for the least near to 1 for the nearest.
    """
    centre = vectors.mean(axis=0)
    near = vectors @ (centre / max(1e-9, float((centre @ centre) ** 0.5)))
    low, high = float(near.min()), float(near.max())
    return [(float(value) - low) / max(1e-6, high - low) for value in near]


def _measure_shared_words(found: Sequence[frozenset[str]]) -> list[float]:
    seen_in = Counter(word for one in found for word in one)
    return [
        sum(math.log1p(seen_in[word] - 1) for word in words) / math.sqrt(len(words) + 4) for words in found
    ]


def _rate_form(number: int, text: str, words: frozenset[str], asked: frozenset[str]) -> float:
    if not words:
        return -2.0
    score = 0.2 + 0.4 * len(words & asked) / math.sqrt(len(words) + 4) + 0.04 * min(len(words), 12)
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
