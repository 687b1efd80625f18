"""
Estimate how likely an answer is right from the log-probabilities of its tokens.

    log-probabilities of the answer's tokens → their mean, and the mean of the lowest tenth
        → logistic, fitted on questions with known answers → P(right) → 1–10

There are two logistics, one fitted on answers of a few words and one on answers in sentences. In a
sentence, even a confident model often chooses among equally good words. Therefore the lowest tenth of a
text is low, while that of a name is not.

The confidence is 10 · P(right), kept within 1–10. About 80 % of the answers with confidence 8 were right.
`evals.confidence` fits the logistics. Malinin and Gales 2021 call the mean the sequence's normalised
log-probability.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

# An oddity of a template or a model should not weigh like a belief.
_LEAST = -10.0
# A shorter answer is a name or a number, and a longer one is text.
TEXT_TOKENS = 8


@dataclass(frozen=True, slots=True)
class Calibration:
    """The logistic's constant and weights. `agreement` weighs the share of samples that agree."""

    constant: float
    mean: float
    lowest: float
    agreement: float = 1.5


FEW_WORDS = Calibration(1.299, 0.611, 0.5)
TEXT = Calibration(2.871, 0.301, 0.965)


def features(logprobs: Sequence[float]) -> tuple[float, float]:
    """Return the mean of `logprobs`, and the mean of their lowest tenth. Needs at least one value."""
    kept = [max(_LEAST, value) for value in logprobs]
    lowest = sorted(kept)[: max(1, len(kept) // 10)]
    return sum(kept) / len(kept), sum(lowest) / len(lowest)


def estimate_confidence(
    logprobs: Sequence[float], agreement: float | None = None, calibration: Calibration | None = None
) -> float | None:
    """
    Return the confidence, 1–10 in steps of 0.1. None if the model sent no log-probabilities.

    `agreement` is the share (0–1) of other samples that agree. None if no samples were drawn.
    """
    if not logprobs:
        return None
    mean, lowest = features(logprobs)
    calibration = calibration or (FEW_WORDS if len(logprobs) < TEXT_TOKENS else TEXT)
    z = calibration.constant + calibration.mean * mean + calibration.lowest * lowest
    if agreement is not None:
        z += calibration.agreement * (agreement - 0.5)
    return min(10.0, max(1.0, round(10 / (1 + math.exp(-z)), 1)))
