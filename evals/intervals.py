"""Compute figures with their intervals at 95 %: Wilson's for shares, and a bootstrap for the rest."""

from collections.abc import Callable
from typing import Any

import numpy as np

from mavera.evaluation.measures import Share

DRAWS = 1000


def to_figure(hits: int, cases: int) -> list[float]:
    """Return the hits, the cases, their share and its interval."""
    low, high = Share(hits, cases).interval
    return [hits, cases, *(round(value, 3) for value in (hits / max(1, cases), low, high))]


def bootstrap(number: int, measure: Callable[[Any], float]) -> list[float]:
    """Return the measure of all rows and its interval. `measure` gets the numbers of the rows."""
    random = np.random.default_rng(1)
    drawn = [measure(random.integers(0, number, number)) for _ in range(DRAWS)]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return [round(float(value), 3) for value in (measure(np.arange(number)), low, high)]


def compute_auc(values: Any, is_high: Any) -> float:
    """Return how often a value of the high group is above one of the low group."""
    high, low = values[is_high], values[~is_high]
    above = (high[:, None] > low).sum() + 0.5 * (high[:, None] == low).sum()
    return float(above / max(1, len(high) * len(low)))
