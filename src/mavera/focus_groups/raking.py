"""
Weight rows such that their margins agree with given targets, by iterative proportional fitting.

    rake_weights({"age": ("18-34", "55+", …)}, {"age": {"18-34": 30, "55+": 70}})

Rows are personas or respondents. The fit starts from given weights. weightipy is not used, because it starts
from ones. At convergence, both agree to 1e-6 (`tests/focus_groups/test_raking.py`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mavera.focus_groups.mixtures import Floats

TOLERANCE = 1e-10
MOST_ROUNDS = 10_000


class RakingError(ValueError):
    """The targets cannot be reached. The message says which margin is at fault."""


@dataclass(frozen=True, slots=True)
class Raking:
    """Weights with the same sum as the initial weights."""

    weights: Floats
    efficiency: float  # Kish: (Σw)² / (n Σw²)
    rounds: int


def rake_weights(
    attributes: Mapping[str, Sequence[str]],
    targets: Mapping[str, Mapping[str, float]],
    start: Floats | None = None,
) -> Raking:
    """
    Return weights whose margins agree with `targets`, which may be counts, shares or per cents.

    Raises RakingError if a target names an unknown attribute, a target has no row, a row has no target, or
    the margins contradict each other.
    """
    count = len(next(iter(attributes.values()))) if attributes else 0
    weights = np.ones(count) if start is None else np.asarray(start, dtype=np.float64).copy()
    total = float(weights.sum())
    margins = [_find_margin(attributes, name, goals, weights, total) for name, goals in targets.items()]
    for rounds in range(1, MOST_ROUNDS + 1):
        for codes, goal in margins:
            reached = np.bincount(codes, weights=weights, minlength=len(goal))
            weights *= np.divide(goal, reached, out=np.zeros_like(goal), where=reached > 0)[codes]
        if _find_gap(margins, weights) <= TOLERANCE * total:
            return Raking(weights, measure_efficiency(weights), rounds)
    names = " and ".join(targets)
    raise RakingError(f"the targets of {names} contradict each other: no weights reach all of them")


def measure_efficiency(weights: Floats) -> float:
    """Return Kish's weighting efficiency, from 0 to 1."""
    return float(weights.sum() ** 2 / (len(weights) * (weights**2).sum()))


def _find_margin(
    attributes: Mapping[str, Sequence[str]],
    name: str,
    goals: Mapping[str, float],
    weights: Floats,
    total: float,
) -> tuple[NDArray[np.intp], Floats]:
    if name not in attributes:
        raise RakingError(f"no persona has the attribute {name!r}")
    places = {value: at for at, value in enumerate(goals)}
    unknown = sorted(set(attributes[name]) - set(places))
    if unknown:
        raise RakingError(f"{name} has no target for {', '.join(map(repr, unknown))}")
    codes = np.array([places[value] for value in attributes[name]], dtype=np.intp)
    goal = np.array(list(goals.values()), dtype=np.float64)
    if not goal.sum() > 0 or (goal < 0).any():
        raise RakingError(f"the targets of {name} are not positive")
    goal *= total / goal.sum()
    reached = np.bincount(codes, weights=weights, minlength=len(goal))
    empty = [value for value, at in places.items() if goal[at] > 0 and reached[at] <= 0]
    if empty:
        raise RakingError(f"nobody has {name} {', '.join(map(repr, empty))}, which has a target")
    return codes, goal


def _find_gap(margins: Sequence[tuple[NDArray[np.intp], Floats]], weights: Floats) -> float:
    return max(
        (
            float(np.abs(np.bincount(codes, weights=weights, minlength=len(goal)) - goal).max())
            for codes, goal in margins
        ),
        default=0.0,
    )
