"""
Find the columns of a banner table that differ by more than the spread of their personas explains.

    the same personas in all columns (cells, waves, models)   paired t test on differences of shares
    other personas in each column (age, region)               t test, variance pooled within columns, m − G
    single personas                                           spread between two orders, on the logit scale

Every test is two-sided. The p-values of one row within one banner variable are corrected by Holm's method.
A column gets the letter of each column that it exceeds: upper case at 95 %, lower case at 90 %. No test
uses the number of respondents.
"""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from scipy.special import logit, stdtr

from mavera.focus_groups.mixtures import Floats

UPPER_LEVEL = 0.05
LOWER_LEVEL = 0.10
# A smaller difference is a floating-point rounding error, not a finding.
SMALLEST_DIFFERENCE = 1e-9
# Shares are cut here before the logit, so that a certain answer does not give an infinite difference.
SMALLEST_SHARE = 1e-6


def find_paired_p(first: Floats, second: Floats, weights: Floats) -> float | None:
    """
    Return the p-value of a paired t test on the difference of two columns with the same personas.

    A persona counts if it has a value in both columns. Returns None with fewer than two such personas.
    """
    kept = ~np.isnan(first) & ~np.isnan(second) & (weights > 0)
    if kept.sum() < 2:
        return None
    scaled = weights[kept] / weights[kept].sum()
    differences = first[kept] - second[kept]
    concentration = float((scaled**2).sum())
    mean = float(scaled @ differences)
    variance = float(scaled @ (differences - mean) ** 2) * concentration / (1 - concentration)
    return _to_p(mean, variance, int(kept.sum()) - 1)


def find_pooled_p(columns: Sequence[Floats], weights: Sequence[Floats]) -> dict[tuple[int, int], float]:
    """
    Return the p-value of each pair of columns that consist of different personas.

    `columns[c]` has the values of the personas in column c. The variance is pooled within columns, with
    m − G degrees of freedom. Returns no pairs if m − G is 0.
    """
    used = [at for at, values in enumerate(columns) if len(values) and weights[at].sum() > 0]
    freedom = sum(len(columns[at]) for at in used) - len(used)
    if freedom < 1 or len(used) < 2:
        return {}
    means, concentrations, squares = {}, {}, 0.0
    for at in used:
        scaled = weights[at] / weights[at].sum()
        means[at] = float(scaled @ columns[at])
        concentrations[at] = float((scaled**2).sum())
        if len(columns[at]) > 1:
            within = float(scaled @ (columns[at] - means[at]) ** 2) / (1 - concentrations[at])
            squares += within * (len(columns[at]) - 1)
    variance = squares / freedom
    return {
        (a, b): _to_p(means[a] - means[b], variance * (concentrations[a] + concentrations[b]), freedom)
        for a, b in combinations(used, 2)
    }


def pool_order_variance(gaps: Sequence[float]) -> tuple[float, int] | None:
    """
    Return the variance of one persona's log-odds, and its degrees of freedom, from gaps between two orders.

    Log-odds are the mean of two orders that differ by the gap, so their variance is gap² / 4. The gap of a
    cell is its largest over all options, which makes the test conservative. Returns None without gaps.
    """
    if not gaps:
        return None
    return float(np.mean(np.square(gaps))) / 4, len(gaps)


def find_order_p(first: float, second: float, variance: float, freedom: int) -> float:
    """Return the p-value of the difference between the shares of two single personas."""
    low, high = SMALLEST_SHARE, 1 - SMALLEST_SHARE
    difference = float(logit(min(max(first, low), high)) - logit(min(max(second, low), high)))
    return _to_p(difference, 2 * variance, freedom)


def correct_by_holm(p_values: dict[tuple[int, int], float]) -> dict[tuple[int, int], float]:
    """Return the p-values of one family, corrected by Holm's method."""
    corrected: dict[tuple[int, int], float] = {}
    largest = 0.0
    for rank, pair in enumerate(sorted(p_values, key=lambda pair: (p_values[pair], pair))):
        largest = max(largest, min(1.0, p_values[pair] * (len(p_values) - rank)))
        corrected[pair] = largest
    return corrected


def assign_letters(
    values: Sequence[float | None], p_values: dict[tuple[int, int], float], names: Sequence[str]
) -> list[str]:
    """
    Return the letters of each column: the names of the columns that it exceeds significantly.

    `p_values` belong to the pairs of columns, before correction. `names` are upper-case letters.
    """
    letters: list[list[str]] = [[] for _ in values]
    for (a, b), p in correct_by_holm(p_values).items():
        left, right = values[a], values[b]
        if p > LOWER_LEVEL or left is None or right is None:
            continue
        winner, loser = (a, b) if left > right else (b, a)
        letters[winner].append(names[loser] if p <= UPPER_LEVEL else names[loser].lower())
    return ["".join(sorted(some, key=str.upper)) for some in letters]


def name_columns(count: int) -> list[str]:
    """Return A to Z, then AA, AB and so on."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    return [
        alphabet[at] if at < 26 else alphabet[at // 26 - 1] + alphabet[at % 26]
        for at in range(min(count, 702))
    ]


def _to_p(difference: float, variance: float, freedom: int) -> float:
    if abs(difference) < SMALLEST_DIFFERENCE:
        return 1.0
    if variance <= SMALLEST_DIFFERENCE**2:
        return 0.0
    return float(2 * stdtr(freedom, -abs(difference) / variance**0.5))
