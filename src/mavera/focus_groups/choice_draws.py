"""
Draw answers that need more than one list: whole rankings, best and worst of a set, places on a slider.

    worths and first choices  →  draw_rankings    Gumbel noise orders the rest, as Plackett and Luce would
    best and worst shares     →  join_margins     a joint table without a diagonal that keeps both margins
    points of a slider        →  jitter_points    numbers around the points, with the same mean and range
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_ROUNDS = 500
_TOLERANCE = 1e-7
# Less than half of the distance between two points of a slider, so that rounding finds the point again.
_JITTER = 4


def draw_rankings(
    worths: Floats, first: NDArray[np.int64], generator: np.random.Generator
) -> NDArray[np.int64]:
    """Return orders of the items, the best one first. `worths` is (rows, items), `first` is the best item."""
    keys = np.log(np.maximum(worths, 1e-300)) + generator.gumbel(size=worths.shape)
    keys[np.arange(len(first)), first] = np.inf
    return np.argsort(-keys, axis=1, kind="stable")


def join_margins(best: Floats, worst: Floats) -> Floats:
    """
    Return joint tables of best (rows) and worst (columns), (groups, items, items), from both (groups, items).

    No item can be both, so the diagonal is 0, and best and worst of an item must add up to 1 at most.
    """
    places = np.arange(best.shape[1])
    tables = best[:, :, None] * worst[:, None, :]
    tables[:, places, places] = 0
    tables += (1 - np.eye(len(places))) * 1e-15
    for _ in range(_ROUNDS):
        tables *= (best / tables.sum(axis=2))[:, :, None]
        tables *= (worst / tables.sum(axis=1))[:, None, :]
        if np.abs(tables.sum(axis=2) - best).max() < _TOLERANCE:
            break
    for group, item in zip(*np.nonzero(best + worst > 1 - _TOLERANCE), strict=True):
        # The fit would never converge here, because the item is best or worst in every answer.
        tables[group] = 0
        tables[group, item] = worst[group]
        tables[group, :, item] = best[group]
        tables[group, item, item] = 0
    return tables


def settle_worst(best: Floats, worst: Floats) -> tuple[Floats, bool]:
    """Return worst shares that fit the best shares, and whether one of them had to be lowered."""
    if not (best + worst > 1 + 1e-9).any():
        return worst, False
    item = int(np.argmax(best + worst))
    found = worst.copy()
    found[item] = 1 - best[item]
    others = np.arange(len(worst)) != item
    rest = worst[others].sum()
    found[others] = worst[others] * (best[item] / rest) if rest > 0 else best[item] / others.sum()
    return found, True


def jitter_points(points: NDArray[np.int64], generator: np.random.Generator) -> Floats:
    """
    Return a whole number for each point from 0 to 10 of a slider. Points below 0 are NaN.

    The jitters of a point come in pairs that add up to 0. The ends get none.
    """
    found = np.where(points >= 0, points * 10.0, np.nan)
    for point in range(1, 10):
        rows = generator.permutation(np.flatnonzero(points == point))
        half = generator.integers(1, _JITTER, size=len(rows) // 2, endpoint=True)
        found[rows[: len(half)]] += half
        found[rows[len(half) : 2 * len(half)]] -= half
    return found
