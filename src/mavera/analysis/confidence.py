"""
Estimate how likely an answer is right from the log-probabilities of its tokens.

    log-probabilities of the answer's tokens → their mean, and the mean of the lowest tenth
        · the temperature at which they were drawn
        → logistic, fitted on questions with known answers → P(right) → 1–10

The log-probabilities are those before temperature, so a high temperature draws unlikely words from a model
that is sure. Therefore both numbers have a weight that depends on the temperature.

The confidence is 10 · P(right), kept within 1–10. About 80 % of the answers with confidence 8 were right.
`evals.confidence` fits the logistic. Malinin and Gales 2021 call the mean the sequence's normalised
log-probability. How certain the words sound is a number of its own: `certainty`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

# An oddity of a template or a model should not weigh like a belief.
_LEAST = -10.0
# A caller who names no temperature gets the default of the API, and no question was asked above it.
HIGHEST_TEMPERATURE = 1.0


@dataclass(frozen=True, slots=True)
class Calibration:
    """
    The logistic's constant and weights. `warm` weighs a feature times the temperature.

    `agreement` weighs the share of samples that agree. It was set by hand.
    """

    constant: float
    mean: float
    lowest: float
    temperature: float
    warm_mean: float
    warm_lowest: float
    agreement: float = 1.5


CALIBRATION = Calibration(2.212, 1.555, 1.32, 0.255, -0.006, -0.485)


def measure_features(
    logprobs: Sequence[float], temperature: float | None = None
) -> tuple[float, float, float, float, float]:
    """
    Return the five inputs of the logistic, in the order of `Calibration`. Needs at least one log-probability.

    Without a `temperature`, the highest one is assumed.
    """
    kept = [max(_LEAST, value) for value in logprobs]
    lowest = sorted(kept)[: max(1, len(kept) // 10)]
    mean, low = sum(kept) / len(kept), sum(lowest) / len(lowest)
    warmth = HIGHEST_TEMPERATURE if temperature is None else min(HIGHEST_TEMPERATURE, temperature)
    return mean, low, warmth, warmth * mean, warmth * low


def estimate_confidence(
    logprobs: Sequence[float],
    temperature: float | None = None,
    agreement: float | None = None,
    calibration: Calibration = CALIBRATION,
) -> float | None:
    """
    Return the confidence, 1–10 in steps of 0.1. None if the model sent no log-probabilities.

    `agreement` is the share (0–1) of other samples that agree. None if no samples were drawn.
    """
    if not logprobs:
        return None
    mean, low, warmth, warm_mean, warm_low = measure_features(logprobs, temperature)
    z = (
        calibration.constant
        + calibration.mean * mean
        + calibration.lowest * low
        + calibration.temperature * warmth
        + calibration.warm_mean * warm_mean
        + calibration.warm_lowest * warm_low
    )
    if agreement is not None:
        z += calibration.agreement * (agreement - 0.5)
    return min(10.0, max(1.0, round(10 / (1 + math.exp(-z)), 1)))
