"""
Which cognitive biases an answer shows, and where.

    sentences → cues of the catalogue → suspects (bias, sentence), the strongest few
        → one yes-or-no probe each → score → threshold → biases with verbatim evidence

The cues say where to look, the model says whether it is so, and what it says is weighed
with how much the cues say: `docs/analysis.md` has the figures of both and of the sum.
"""

import math
import re
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources

from mavera.analysis.sentences import Sentence
from mavera.core.analysis import Bias

# Each costs about a twentieth of the time of an answer of 150 words.
MAX_PROBES = 4
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
    """A bias, and the sentences in which it may be, by number, the likeliest first."""

    bias: CatalogueBias
    sentences: tuple[int, ...]
    cues: int


@dataclass(frozen=True, slots=True)
class Weights:
    """
    A suspect is reported from `threshold` on: bias + cue · cues + probe · logit, a logistic score.

    Fitted by `evals.biases` on its tune split alone. `cues_alone` is the least number of
    cues that is reported where no model can be asked.
    """

    constant: float = -0.5
    cue: float = 0.5
    probe: float = 0.5
    threshold: float = 0.5
    cues_alone: int = 2


WEIGHTS = Weights()


@cache
def catalogue() -> tuple[CatalogueBias, ...]:
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


def suspects(sentences: Sequence[Sentence]) -> list[Suspect]:
    """Return every bias that has a cue somewhere, the most pointed at first."""
    texts = [one.text for one in sentences[:MAX_SENTENCES]]
    found = []
    for bias in catalogue():
        by_sentence = [sum(cue.search(text) is not None for cue in bias.cues) for text in texts]
        most = sorted((n for n, count in enumerate(by_sentence) if count), key=lambda n: (-by_sentence[n], n))
        if most:
            chosen = tuple(most[:MAX_EVIDENCE])
            found.append(Suspect(bias, chosen, max(by_sentence)))
    return sorted(found, key=lambda one: -one.cues)


def question(suspect: Suspect, sentences: Sequence[Sentence]) -> str:
    """
    Return the probe about the sentence most suspected: some 60 tokens, which are what it costs.

    The sentence is quoted, so that what it says is not said to the model.
    """
    quoted = sentences[suspect.sentences[0]].text[:MAX_QUOTED].replace('"', "'")
    bias = suspect.bias
    return (
        f'Sentence: "{quoted}"\nDoes its author show {bias.name}? {bias.definition}\nAnswer only Yes or No.'
    )


def score(suspect: Suspect, logit: float, weights: Weights = WEIGHTS) -> float:
    """Return how likely the bias is there, 0–1."""
    cues = min(suspect.cues, 3)
    return 1 / (1 + math.exp(-(weights.constant + weights.cue * cues + weights.probe * logit)))


def report(
    judged: Iterable[tuple[Suspect, float | None]], sentences: Sequence[Sentence], weights: Weights = WEIGHTS
) -> list[Bias]:
    """Return the biases to tell of: `judged` has the logit of each suspect, None where nobody was asked."""
    found = []
    for suspect, logit in judged:
        likely = score(suspect, logit, weights) if logit is not None else 0.25 * suspect.cues
        wanted = weights.threshold if logit is not None else 0.25 * weights.cues_alone
        if likely >= wanted:
            found.append((likely, suspect))
    found.sort(key=lambda one: (-one[0], one[1].bias.name))
    return [_to_bias(suspect, likely, sentences) for likely, suspect in found]


def _to_bias(suspect: Suspect, likely: float, sentences: Sequence[Sentence]) -> Bias:
    return Bias(
        name=suspect.bias.name,
        description=suspect.bias.definition,
        # Halves: a model's probabilities differ in the third digit with what else it computes.
        severity=round(2 * (1 + 9 * min(1.0, likely))) / 2,
        evidence=[sentences[number].text for number in sorted(suspect.sentences)],
    )
