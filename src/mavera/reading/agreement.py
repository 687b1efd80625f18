"""
Measure how far an answer says yes to its question, without ever contradicting its verdict.

    verdict               → how much of the scale is no, in between, yes
    sentence, anchors     → how firm the no or the yes is
    verdicts of its parts → mixed: a part for it, a word such as "but", and a part against it

The distribution has five points, from a firm no to a firm yes. The verdict decides the shares of no, of the
middle and of yes; the anchors of `reading.anchors` only divide them.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from mavera.reading.anchors import AGREEMENT, rate_similarity
from mavera.reading.encoder import MAX_CHARACTERS, SentenceEncoder
from mavera.reading.prose import pick_prose
from mavera.reading.sentences import Sentence, split_sentences
from mavera.reading.verdict import STANCES, Stance, Verdict, VerdictReader
from mavera.reading.words import is_closed

# The points of the scale, as numbers.
POINTS = (-1.0, -0.5, 0.0, 0.5, 1.0)
# A part speaks for it, or against it, with at least this probability and this multiple of the opposite's.
_CLEAR, _AHEAD = 0.35, 1.2
_MOST_PARTS = 32

_TURN = re.compile(
    r"(?:^|[,;—–-]?\s+)(?:but|however|although|though|yet|except that|on the other hand|that said|aber"
    r"|allerdings|pero|sin embargo|mais|cependant|mas|porém)\b[,:]?\s+",
    re.IGNORECASE,
)
_DEGREE = re.compile(
    r"\bhow (?:likely|interested|willing|inclined|keen|ready|open|much do you agree)\b|\bto what extent\b"
    r"|\bwhat are the (?:chances|odds)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Agreement:
    """
    How far an answer says yes.

    `score` runs from -1, a firm no, to 1, a firm yes. It is not below 0 if the verdict is yes, and not above
    0 if it is no. `distribution` has the shares of `POINTS` and adds up to 1. `is_mixed` says that one
    part of the answer speaks for it and another part against it.
    """

    verdict: Verdict
    score: float
    distribution: tuple[float, ...]
    is_mixed: bool


def asks_for_agreement(question: str) -> bool:
    """Return whether `question` asks for yes or no, or for how likely or how willing somebody is."""
    return is_closed(question) or bool(_DEGREE.search(question[-400:]))


def measure_agreement(
    encoder: SentenceEncoder,
    reader: VerdictReader,
    question: str,
    answer: str,
    verdict: Verdict | None = None,
) -> Agreement:
    """
    Return how far `answer` says yes to `question`.

    Give the `verdict` if it was read before, perhaps with `second_reading`. Takes processor time, so call
    it in a thread. Raises NoEncoder.
    """
    verdict = verdict or reader.read(question, answer)
    if verdict.sentence is None:
        return Agreement(verdict, 0.0, (0.0, 0.0, 1.0, 0.0, 0.0), is_mixed=False)
    (firmness,) = rate_similarity(encoder, [verdict.sentence.text], AGREEMENT)
    distribution = _spread(verdict, firmness)
    return Agreement(
        verdict,
        _limit(verdict, sum(point * share for point, share in zip(POINTS, distribution, strict=True))),
        distribution,
        verdict.is_read and _is_mixed(reader, question, answer),
    )


def _spread(verdict: Verdict, firmness: Sequence[float]) -> tuple[float, ...]:
    yes, no, depends, none = verdict.probabilities
    low = float(firmness[0] / (firmness[0] + firmness[1]))
    high = float(firmness[4] / (firmness[3] + firmness[4]))
    return no * low, no * (1 - low), depends + none, yes * (1 - high), yes * high


def _limit(verdict: Verdict, score: float) -> float:
    """Keep the score on the side of the verdict."""
    match verdict.stance:
        case "yes":
            return max(0.0, score)
        case "no":
            return min(0.0, score)
        case _:
            return score


def _is_mixed(reader: VerdictReader, question: str, answer: str) -> bool:
    """Return whether the answer turns, as with "but", from a part for it to a part against it or back."""
    sentences = pick_prose(split_sentences(answer[:MAX_CHARACTERS]))
    parts = list(_split_parts(sentences))[:_MOST_PARTS]
    pairs = [(before, part) for (before, _), (part, turns) in pairwise(parts) if turns]
    if not pairs:
        return False
    texts = list(dict.fromkeys(text for pair in pairs for text in pair))
    sides = dict(zip(texts, map(_find_side, reader.rate(question, texts)), strict=True))
    return any({sides[before], sides[after]} == {"yes", "no"} for before, after in pairs)


def _find_side(rated: Sequence[float]) -> Stance | None:
    yes, no = rated[STANCES.index("yes")], rated[STANCES.index("no")]
    if max(yes, no) < _CLEAR or max(yes, no) < _AHEAD * min(yes, no):
        return None
    return "yes" if yes > no else "no"


def _split_parts(sentences: Sequence[Sentence]) -> Iterator[tuple[str, bool]]:
    """Yield the parts of the sentences. A part turns if a word such as "but" stands before it."""
    for sentence in sentences:
        start = 0
        turns = False
        for match in _TURN.finditer(sentence.text):
            part = sentence.text[start : match.start()].strip()
            if part:
                yield part, turns
            start, turns = match.end(), True
        yield sentence.text[start:], turns
