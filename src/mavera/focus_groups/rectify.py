"""
Combine the answers of some real people with the simulation: prediction-powered estimates.

    θ̂ = ȳ + λ (μ − f̄)        y the people's answers, f the simulation's prediction for the same people,
                              μ the exact mixture, which has no sampling error

λ is tuned to the least variance (PPI++) and cut to 0 … 1. The interval is a t interval. With useless
predictions λ is near 0, and the estimate is the mean of the people alone. The people must be a random sample
of the audience.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from mavera.focus_groups.mixtures import Floats

FEWEST_PEOPLE = 3


@dataclass(frozen=True, slots=True)
class Rectified:
    """One estimate per column of the answers, and the mean of the people alone, both with intervals."""

    estimates: Floats
    low: Floats
    high: Floats
    people: Floats
    people_low: Floats
    people_high: Floats
    share_of_simulation: float  # λ
    respondents: int


def rectify_means(
    answers: Floats, predictions: Floats | None, mixture: Floats, level: float = 0.95
) -> Rectified:
    """
    Return prediction-powered means of `answers` with the shape (people, quantities).

    `predictions` has the same shape, and `mixture` has one entry per quantity. All quantities share one λ,
    so shares that sum to 1 still do. Without predictions λ is 0. Raises ValueError with fewer than three
    people.
    """
    people = len(answers)
    if people < FEWEST_PEOPLE:
        raise ValueError(f"a rectification needs {FEWEST_PEOPLE} people or more")
    mean = answers.mean(axis=0)
    own_error = np.sqrt(answers.var(axis=0, ddof=1) / people)
    own_reach = stdtrit(people - 1, (1 + level) / 2) * own_error
    share = 0.0 if predictions is None else tune_share(answers, predictions)
    if predictions is None or share == 0:
        estimates, reach = mean, own_reach
    else:
        estimates = mean + share * (mixture - predictions.mean(axis=0))
        rest = answers - share * predictions
        # λ is estimated from the same people, so it costs one more degree of freedom.
        variance = ((rest - rest.mean(axis=0)) ** 2).sum(axis=0) / (people - 2)
        reach = stdtrit(people - 2, (1 + level) / 2) * np.sqrt(variance / people)
    return Rectified(
        estimates,
        estimates - reach,
        estimates + reach,
        mean,
        mean - own_reach,
        mean + own_reach,
        share,
        people,
    )


def tune_share(answers: Floats, predictions: Floats) -> float:
    """Return the λ with the least summed variance, cut to 0 … 1. It is 0 if the predictions do not vary."""
    centred = predictions - predictions.mean(axis=0)
    spread = float((centred**2).sum())
    if spread <= 1e-12 * max(1.0, float((predictions**2).sum())):
        return 0.0
    slope = float((centred * (answers - answers.mean(axis=0))).sum()) / spread
    return min(max(slope, 0.0), 1.0)


def count_effective_people(found: Rectified) -> Floats:
    """
    Return how many people alone would say as much about each share as `found` does.

    What no one of these people showed may still exist among others: a share of 0 or 1 that moves, or an
    answer that the simulation gets wrong. Each counts as if two of four more people had shown it (Agresti
    and Coull 1998).
    """
    people = found.respondents
    least = _find_smoothed_reach(np.zeros_like(found.people), people)
    own = np.square((found.people_high - found.people_low) / 2)
    both = np.square((found.high - found.low) / 2)
    alike = own == 0
    moving = 1 + both / _find_smoothed_reach(found.people, people)
    return people / np.where(alike, moving, np.maximum(both, least) / np.where(alike, 1.0, own))


def _find_smoothed_reach(shares: Floats, people: int) -> Floats:
    """Return the square of the half width of Agresti and Coull's interval."""
    shrunk = (people * shares + 2) / (people + 4)
    return 4 * shrunk * (1 - shrunk) / people
