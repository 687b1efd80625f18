"""
Find the cognitive biases that an answer shows, and the sentences that show them.

    sentences → cues of the catalogue → suspects (bias, sentence), the strongest few
        → one yes-or-no probe each → score → threshold → biases with verbatim evidence

The cues point at sentences, and the model confirms or denies the bias. The score weighs the two together.
`docs/reference/analysis.md` has the figures of each and of the sum.
"""

import math
import re
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources

from mavera.core.analysis import Bias
from mavera.reading.sentences import Sentence

# Each probe is about 70 tokens after the answer. For the other suspects, cues and doubts alone decide.
MAX_PROBES = 2
MAX_SUSPECTS = 4
MAX_SENTENCES = 400
MAX_EVIDENCE = 3
MAX_QUOTED = 300


@dataclass(frozen=True, slots=True)
class CatalogueBias:
    name: str
    definition: str
    example: str
    counter_example: str
    cues: tuple[re.Pattern[str], ...]


@dataclass(frozen=True, slots=True)
class Suspect:
    """
    A bias, and the numbers of the sentences that may show it, the likeliest first.

    `cues` counts the signs of the bias in these sentences. `doubts` counts the signs against it: a
    contrast, a comparison, a check.
    """

    bias: CatalogueBias
    sentences: tuple[int, ...]
    cues: int
    doubts: int


@dataclass(frozen=True, slots=True)
class Weights:
    """
    The weights of the logistic score, and the least score of a bias that is reported.

    `evals.biases` fits them on its tune split alone.
    """

    constant: float
    cue: float
    doubt: float
    threshold: float


WEIGHTS = Weights(-1.31, 1.91, -1.58, 0.1)

# The weight of a model's reply, by the least ln(P(yes)/P(no)) that it has. Only a confident reply counts, at
# 19 to 1. A small model gives a faint yes to any question. Faint replies also vary with the engine's cache
# and with its other work, so the same answer would get different analyses.
_SURE = 3.0
_GRADES = ((_SURE, 3.0), (-_SURE, 0.0), (-math.inf, -8.0))

_DOUBT = re.compile(
    r"\b(but|though|although|however|may|might|probably|either way|compared?|check(?:ed)?|tests?|tested|"
    r"trials?|survey|figures|percent|elsewhere|going by|coincidence|no likelier|per year|on the whole|"
    r"until it|before i|rare|content|expected)\b",
    re.IGNORECASE,
)


@cache
def load_catalogue() -> tuple[CatalogueBias, ...]:
    text = resources.files("mavera.analysis").joinpath("biases.toml").read_text(encoding="utf-8")
    return tuple(
        CatalogueBias(
            one["name"],
            one["definition"],
            one["example"],
            one["counter_example"],
            tuple(re.compile(cue, re.IGNORECASE) for cue in one["cues"]),
        )
        for one in tomllib.loads(text)["bias"]
    )


def find_suspects(sentences: Sequence[Sentence]) -> list[Suspect]:
    """Return every bias that has a cue in a sentence, the one with the most cues first."""
    texts = [one.text for one in sentences[:MAX_SENTENCES]]
    found = []
    for bias in load_catalogue():
        by_sentence = [sum(cue.search(text) is not None for cue in bias.cues) for text in texts]
        most = sorted((n for n, count in enumerate(by_sentence) if count), key=lambda n: (-by_sentence[n], n))
        if most:
            doubts = len({word.lower() for word in _DOUBT.findall(texts[most[0]])})
            found.append(Suspect(bias, tuple(most[:MAX_EVIDENCE]), max(by_sentence), doubts))
    return sorted(found, key=lambda one: one.doubts - one.cues)


def build_question(suspect: Suspect, sentences: Sequence[Sentence]) -> str:
    """
    Return the probe for the most suspicious sentence. It has about 60 tokens, which are its whole cost.

    The sentence is quoted, so that the model does not take it as addressed to itself.
    """
    quoted = sentences[suspect.sentences[0]].text[:MAX_QUOTED].replace('"', "'")
    bias = suspect.bias
    return (
        f'Sentence: "{quoted}"\nDoes its author show {bias.name}? {bias.definition}\nAnswer only Yes or No.'
    )


def score_suspect(suspect: Suspect, logit: float | None, weights: Weights = WEIGHTS) -> float:
    """Return the probability of the bias, 0–1. `logit` is None if the model was not asked."""
    found = weights.cue * min(suspect.cues, 3) + weights.doubt * min(suspect.doubts, 2)
    said = 0.0 if logit is None else grade(logit)
    return 1 / (1 + math.exp(-(weights.constant + found + said)))


def grade(logit: float) -> float:
    """Return the weight of a reply with this `logit`: surely yes, unsure, or surely no."""
    return next(value for least, value in _GRADES if logit >= least)


def report_biases(
    judged: Iterable[tuple[Suspect, float | None]],
    sentences: Sequence[Sentence],
    weights: Weights = WEIGHTS,
) -> list[Bias]:
    """
    Return the biases to report, the likeliest first. `judged` has the logit of each suspect.

    A sentence is evidence of only one bias, the one that explains it best.
    """
    scored = [(score_suspect(suspect, logit, weights), suspect) for suspect, logit in judged]
    scored.sort(key=lambda one: (-one[0], one[1].bias.name))
    taken: set[int] = set()
    found = []
    for likely, suspect in scored:
        if likely >= weights.threshold and suspect.sentences[0] not in taken:
            taken.add(suspect.sentences[0])
            found.append(_to_bias(suspect, likely, sentences))
    return found


def _to_bias(suspect: Suspect, likely: float, sentences: Sequence[Sentence]) -> Bias:
    return Bias(
        name=suspect.bias.name,
        description=suspect.bias.definition,
        severity=round(2 * (1 + 9 * min(1.0, likely))) / 2,
        evidence=[sentences[number].text for number in sorted(suspect.sentences)],
    )
