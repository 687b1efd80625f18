"""
How likely an answer is right, from how sure the model was of its words.

    log-probabilities of the answer's tokens → their mean, the mean of the lowest tenth, how many
        → logistic, fitted on questions with known answers → P(right) → 1–10

10 · P(right), kept within 1–10: of answers with confidence 8 about 80 % were right. Fitted by
`evals.confidence`. Malinin and Gales 2021 call the mean the sequence's normalised
log-probability.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

# A template's or a model's oddities should not weigh like a belief.
_LEAST = -10.0
# From here on more tokens say nothing more: the answers it was fitted on end about here.
_MOST = 64


@dataclass(frozen=True, slots=True)
class Calibration:
    """The logistic's constant and weights; `agreement` is that of the share of samples that agree."""

    constant: float = 1.625
    mean: float = 0.613
    lowest: float = 1.135
    length: float = 0.0
    agreement: float = 1.5


CALIBRATION = Calibration()


def features(logprobs: Sequence[float]) -> tuple[float, float, float]:
    """
    Return the mean of `logprobs`, that of their lowest tenth, and the logarithm of their number.

    Needs at least one. The number is there because the lowest tenth of a long answer is low
    however sure the model was: somewhere it chose among words that were equally good.
    """
    kept = [max(_LEAST, value) for value in logprobs]
    lowest = sorted(kept)[: max(1, len(kept) // 10)]
    return sum(kept) / len(kept), sum(lowest) / len(lowest), math.log(min(_MOST, len(kept)))


def confidence_of(
    logprobs: Sequence[float], agreement: float | None = None, calibration: Calibration = CALIBRATION
) -> float | None:
    """
    Return the confidence, 1–10 in steps of 0.1; None where the model told no probabilities.

    `agreement` is the share, 0–1, of other samples that say the same, None where none were drawn.
    """
    if not logprobs:
        return None
    mean, lowest, length = features(logprobs)
    z = calibration.constant + calibration.mean * mean + calibration.lowest * lowest
    z += calibration.length * length
    if agreement is not None:
        z += calibration.agreement * (agreement - 0.5)
    return min(10.0, max(1.0, round(10 / (1 + math.exp(-z)), 1)))
