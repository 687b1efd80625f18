"""
Mix the distributions of personas, and describe a mixture on its scale.

    shares   (personas, answers)   one distribution per persona, in rows
    weights  (personas,)           any positive numbers; they are scaled to the sum 1
    mixture  (answers,)            the weighted mean of the rows

A persona without an answered cell has a row of NaN. It leaves the mixture, and the weights of the others are
scaled up. Everything here is exact arithmetic on distributions: no function knows the number of respondents.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Arrays of 64-bit floats and of truth values. The types leave out the width, because numpy's types widen with
# every operation.
Floats = NDArray[Any]
Truths = NDArray[Any]

PROMOTER_FROM = 9
DETRACTOR_UP_TO = 6


@dataclass(frozen=True, slots=True)
class ScaleSummary:
    """The moments of a distribution over a scale, computed without its missing answers."""

    mean: float
    median: float
    std_dev: float
    answered: float  # the share of answers that are not missing


def scale_weights(weights: Floats, answered: Truths | None = None) -> Floats:
    """
    Return `weights` scaled to the sum 1, with 0 for rows that are not `answered`.

    Raises ValueError if no answered row has a positive weight.
    """
    kept = np.asarray(weights, dtype=np.float64)
    if answered is not None:
        kept = np.where(answered, kept, 0.0)
    total = float(kept.sum())
    if not total > 0:
        raise ValueError("no answered cell has a positive weight")
    scaled: Floats = kept / total
    return scaled


def mix_shares(shares: Floats, weights: Floats) -> Floats:
    """Return the weighted mean of the rows of `shares`, leaving out rows that contain NaN."""
    answered: Truths = np.logical_not(np.isnan(shares).any(axis=1))
    scaled = scale_weights(weights, answered)
    mixture: Floats = scaled @ np.where(answered[:, None], shares, 0.0)
    return mixture


def summarise_scale(shares: Floats, values: Floats, missing: int = 0) -> ScaleSummary | None:
    """
    Return mean, median and standard deviation of a distribution. The last `missing` entries have no values.

    `values` are in the order of the first entries of `shares`. Returns None if every answer is missing.
    """
    valid = shares[: len(values)]
    answered = float(valid.sum())
    if not answered > 0:
        return None
    weights = valid / answered
    mean = float(weights @ values)
    variance = float(weights @ (values - mean) ** 2)
    return ScaleSummary(mean, find_median(weights, values), variance**0.5, answered if missing else 1.0)


def find_median(weights: Floats, values: Floats) -> float:
    """Return the smallest value that at least half of the distribution does not exceed."""
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[order])
    # A share of exactly one half may be stored with a rounding error below it.
    at = int(np.searchsorted(reached, 0.5 - 1e-12))
    return float(values[order][min(at, len(values) - 1)])


def score_nps(shares: Floats) -> tuple[float, float, float, float]:
    """
    Return the score (−100 to 100) and the shares of promoters, passives and detractors of answers 0 to 10.
    """
    valid = shares[:11] / shares[:11].sum()
    promoters = float(valid[PROMOTER_FROM:].sum())
    detractors = float(valid[: DETRACTOR_UP_TO + 1].sum())
    return 100 * (promoters - detractors), promoters, 1 - promoters - detractors, detractors


def score_each_nps(shares: Floats) -> Floats:
    """Return the score of each row of `shares`."""
    valid = shares[:, :11] / shares[:, :11].sum(axis=1, keepdims=True)
    scores: Floats = 100 * (
        valid[:, PROMOTER_FROM:].sum(axis=1) - valid[:, : DETRACTOR_UP_TO + 1].sum(axis=1)
    )
    return scores


def measure_entropy(shares: Floats) -> Floats:
    """Return the entropy of each row as a fraction of the entropy of a uniform row."""
    positive = np.where(shares > 0, shares, 1.0)
    entropy = -(np.where(shares > 0, shares, 0.0) * np.log(positive)).sum(axis=-1)
    ratio: Floats = entropy / np.log(shares.shape[-1])
    return ratio
