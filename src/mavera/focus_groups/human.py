"""
Test the answers of real people, with their true number. Never use these tests on simulated answers.

The tests come from statsmodels and scipy, and the functions here avoid their traps. `proportions_ztest` gives
NaN for 0 of 100 against 0 of 100 and has no weights. `multipletests` counts NaN as a test. `DescrStatsW`
divides by Σw. Weighted data use Kish's effective number. Columns with fewer than 30 people are marked.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import chi2_contingency, norm
from scipy.stats import t as student_t
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint
from statsmodels.stats.weightstats import DescrStatsW

from mavera.focus_groups.mixtures import Floats

SMALLEST_BASE = 30


@dataclass(frozen=True, slots=True)
class Association:
    """The χ² test of a table, and the strength of the association."""

    statistic: float
    freedom: int
    p_value: float
    cramers_v: float


def count_effectively(weights: Floats) -> float:
    """Return Kish's effective number of people: (Σw)² / Σw²."""
    return float(weights.sum() ** 2 / (weights**2).sum())


def find_share_interval(share: float, people: float, level: float = 0.95) -> tuple[float, float]:
    """Return Wilson's interval of a share among `people`, which may be an effective number."""
    low, high = proportion_confint(share * people, people, alpha=1 - level, method="wilson")
    return float(low), float(high)


def find_nps_interval(
    promoters: float, detractors: float, people: float, level: float = 0.95
) -> tuple[float, float]:
    """
    Return the adjusted Wald interval of a net promoter score, from −100 to 100 (Rocks 2016).

    Three people are added: ¾ of a promoter, 1½ passives and ¾ of a detractor.
    """
    added = people + 3
    high_share = (promoters * people + 0.75) / added
    low_share = (detractors * people + 0.75) / added
    score = high_share - low_share
    reach = float(norm.ppf((1 + level) / 2)) * ((high_share + low_share - score**2) / added) ** 0.5
    return max(-100.0, 100 * (score - reach)), min(100.0, 100 * (score + reach))


def compare_shares(first: float, first_people: float, second: float, second_people: float) -> float:
    """Return the p-value of the z test of two shares. Numbers of people may be effective ones."""
    pooled = (first * first_people + second * second_people) / (first_people + second_people)
    variance = pooled * (1 - pooled) * (1 / first_people + 1 / second_people)
    if variance <= 0:
        return 1.0
    return float(2 * norm.sf(abs(first - second) / variance**0.5))


def compare_means(first: Floats, second: Floats, first_weights: Floats, second_weights: Floats) -> float:
    """Return the p-value of Welch's t test of two weighted means, with effective numbers of people."""
    parts = []
    for values, weights in ((first, first_weights), (second, second_weights)):
        people = count_effectively(weights)
        described = DescrStatsW(values, weights)
        # DescrStatsW divides by Σw, but a sample variance of `people` independent answers by one less.
        parts.append((float(described.mean), float(described.var) / (people - 1), people))
    (mean, variance, people), (other_mean, other_variance, other_people) = parts
    total = variance + other_variance
    if total <= 0:
        return 1.0 if mean == other_mean else 0.0
    freedom = total**2 / (variance**2 / (people - 1) + other_variance**2 / (other_people - 1))
    return float(2 * student_t.sf(abs(mean - other_mean) / total**0.5, freedom))


def measure_association(table: Floats) -> Association:
    """
    Return the χ² test and Cramér's V of a table of counts, without its empty rows and columns.

    Scale weighted counts to the effective number of people first.
    """
    kept = table[table.sum(axis=1) > 0][:, table.sum(axis=0) > 0]
    if min(kept.shape) < 2:
        return Association(0.0, 0, 1.0, 0.0)
    result = chi2_contingency(kept, correction=False)
    strength = float(np.sqrt(result.statistic / (kept.sum() * (min(kept.shape) - 1))))
    return Association(float(result.statistic), int(result.dof), float(result.pvalue), strength)


def correct_p_values(p_values: Sequence[float], method: str = "holm") -> list[float]:
    """Return corrected p-values. NaN stays NaN and is not counted as a test."""
    given = np.asarray(p_values, dtype=np.float64)
    known = ~np.isnan(given)
    if known.any():
        given[known] = multipletests(given[known], method=method)[1]
    return [float(p) for p in given]


def has_small_base(people: float) -> bool:
    """Return whether a column has so few people that it needs a mark."""
    return people < SMALLEST_BASE
