"""
Compare distributions of answers with those of real people. The module is pure.

    shares, people          arrays of the shares of each option; they add up to 1
    counts                  how many people gave each option

The intervals are percentile bootstraps over items with a fixed seed. Items of one survey are not
independent, so these intervals are too narrow for a statement about other surveys.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from mavera.evaluation.measures import Share

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

RESAMPLES = 2000
HALVES = 20
SEED = 28
SIGNIFICANT = 0.01
# Below this many people in a group, no difference is tested.
LEAST_PEOPLE = 20
# From this many surveys on, the surveys themselves are resampled.
LEAST_SURVEYS = 5


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean over `cases` with a 95 % interval. All three numbers are NaN without a case."""

    value: float
    interval: tuple[float, float]
    cases: int


@dataclass(frozen=True, slots=True)
class Difference:
    """
    A difference between two groups of people.

    `scores` has a number for each option. The mean of the scores is compared between the groups, and `sign`
    is 1 if the first group has the higher mean.
    """

    scores: Floats
    sign: int
    p_value: float

    @property
    def is_significant(self) -> bool:
        return self.p_value < SIGNIFICANT


def count_answers(answers: Counts, options: int) -> Counts:
    """Return how many people gave each option. A negative number is no answer."""
    return np.bincount(answers[answers >= 0], minlength=options)


def measure_total_variation(shares: Floats, people: Floats) -> float:
    """Return half of the sum of the absolute differences: 0 is equal, 1 has nothing in common."""
    return float(np.abs(shares - people).sum() / 2)


def measure_ks(shares: Floats, people: Floats) -> float:
    """Return the largest difference of the cumulative shares of an ordered item."""
    return float(np.abs(np.cumsum(shares - people)).max())


def measure_variance_ratio(shares: Floats, people: Floats) -> float:
    """Return the variance of an ordered item, as a multiple of that of people. NaN if people all agree."""
    spread = _measure_variance(people)
    return _measure_variance(shares) / spread if spread > 0 else math.nan


def _measure_variance(shares: Floats) -> float:
    points = np.arange(len(shares))
    return float(shares @ points**2 - (shares @ points) ** 2)


def make_uniform(options: int) -> Floats:
    return np.full(options, 1 / options)


def make_mode(people: Floats) -> Floats:
    """Return the distribution that always names the most frequent answer of people."""
    return np.where(np.arange(len(people)) == people.argmax(), 1.0, 0.0)


def measure_halves(counts: Counts) -> float:
    """Return the mean total variation between one half of the people and the other, over random halves."""
    people = int(counts.sum())
    half = people // 2
    if not half:
        return math.nan
    drawn = np.random.default_rng(SEED).multivariate_hypergeometric(counts, half, size=HALVES)
    rest = counts - drawn
    return float(np.abs(drawn / half - rest / (people - half)).sum(axis=1).mean() / 2)


def find_difference(first: Counts, second: Counts, *, ordered: bool) -> Difference | None:
    """
    Return the difference between the answers of two groups, or None if one of them has too few people.

    Ordered items compare the mean point of the scale with Welch's test. Other items are tested with
    chi-squared, and compare the share of the option that departs most from independence.
    """
    asked = first + second
    options = np.flatnonzero(asked)
    if min(first.sum(), second.sum()) < LEAST_PEOPLE or len(options) < 2:
        return None
    if ordered:
        scores = np.arange(len(asked), dtype=np.float64)
        p_value = _test_means(scores, first, second)
    else:
        table = np.array([first[options], second[options]])
        test = stats.chi2_contingency(table, correction=False)
        expected = np.asarray(test.expected_freq)
        departures = np.abs(table - expected) / np.sqrt(expected)
        scores = np.eye(len(asked))[int(options[int(departures[0].argmax())])]
        p_value = float(test.pvalue)
    gap = float(first @ scores / first.sum() - second @ scores / second.sum())
    return Difference(scores, int(np.sign(gap)), p_value)


def _test_means(scores: Floats, first: Counts, second: Counts) -> float:
    samples = [np.repeat(scores, counts) for counts in (first, second)]
    if all(np.ptp(sample) == 0 for sample in samples):
        # Everybody in a group agrees, so the groups differ for certain or not at all.
        return 1.0 if samples[0][0] == samples[1][0] else 0.0
    return float(stats.ttest_ind(*samples, equal_var=False).pvalue)


def compare_groups(difference: Difference, first: Floats, second: Floats) -> float:
    """Return how much higher the first group's mean score is, in two simulated distributions."""
    return float((first - second) @ difference.scores)


def average(values: Sequence[float]) -> Mean:
    """Return the mean over items with an interval. Values that are NaN are left out."""
    found = np.array([value for value in values if not math.isnan(value)])
    if not len(found):
        return Mean(math.nan, (math.nan, math.nan), 0)
    means = found[_draw(len(found))].mean(axis=1)
    low, high = np.percentile(means, (2.5, 97.5))
    return Mean(float(found.mean()), (float(low), float(high)), len(found))


def average_surveys(shares: Mapping[str, Share]) -> Mean | None:
    """Return the share over all surveys with an interval that resamples surveys, or None for fewer than 5."""
    found = [share for share in shares.values() if share.cases]
    if len(found) < LEAST_SURVEYS:
        return None
    hits, cases = np.array([share.hits for share in found]), np.array([share.cases for share in found])
    drawn = _draw(len(found))
    low, high = np.percentile(hits[drawn].sum(axis=1) / cases[drawn].sum(axis=1), (2.5, 97.5))
    return Mean(float(hits.sum() / cases.sum()), (float(low), float(high)), len(found))


def count_needed_hits(cases: int) -> int | None:
    """Return the fewest hits with a Wilson interval above a half, or None if `cases` are too few for it."""
    return next((hits for hits in range(cases + 1) if Share(hits, cases).interval[0] > 0.5), None)


def _draw(size: int) -> NDArray[Any]:
    return np.random.default_rng(SEED).integers(size, size=(RESAMPLES, size))
