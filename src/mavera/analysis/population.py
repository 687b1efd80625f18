"""
Compare the ratings of an answer with those of a stated population of answers.

    deviations of the sentences → those within the dead zone are 0 → sum / √n → percentile → 1–10

The sides above and below neutral have percentiles of their own, so 5.5 is neutral whatever the mood of
the population is. `evals.emotion.population` makes `population.json`.
"""

import json
import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from mavera.analysis.ratings import Rating

PATH = Path(__file__).parent / "weights" / "population.json"
# The furthest answer of the population is at this share, and an answer beyond it is between this and 1.
_FURTHEST = 0.97


@dataclass(frozen=True, slots=True)
class Population:
    """
    The answers that the scales compare with.

    `ordinary` and `dead_zone` have a value for each of the three dimensions. A deviation of a sentence
    within the dead zone counts as none. `below` and `above` have the sums of the answers on each side of
    neutral, without their signs, from the nearest to the furthest.
    """

    version: str
    ordinary: tuple[float, ...]
    dead_zone: tuple[float, ...]
    below: tuple[tuple[float, ...], ...]
    above: tuple[tuple[float, ...], ...]

    @classmethod
    def load(cls, path: Path = PATH) -> "Population":
        """Raises OSError if there is no such file."""
        found: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return cls(
            found["version"],
            tuple(found["ordinary"]),
            tuple(found["dead_zone"]),
            tuple(map(tuple, found["below"])),
            tuple(map(tuple, found["above"])),
        )

    def add_up(self, ratings: Sequence[Rating], dimension: int) -> float:
        """Return the sum of the deviations that exceed the dead zone, divided by the root of their number."""
        zone, ordinary = self.dead_zone[dimension], self.ordinary[dimension]
        total = 0.0
        for rating in ratings:
            off = rating.dimensions[dimension] - ordinary
            total += math.copysign(max(0.0, abs(off) - zone), off)
        return total / math.sqrt(len(ratings))

    def to_scale(self, dimension: int, total: float) -> float:
        """Map a sum onto 1–10. The values are percentiles of the side of neutral that it is on."""
        side = self.above if total >= 0 else self.below
        share = find_percentile(side[dimension], abs(total))
        return round(5.5 + math.copysign(4.5 * share, total), 2)


def find_percentile(ordered: Sequence[float], value: float) -> float:
    """
    Return the share of `ordered` that `value` exceeds, interpolated, from 0 at 0 to `_FURTHEST` at the last.

    Values beyond the last approach 1, so that a further value never has a smaller share.
    """
    if value <= 0 or not ordered:
        return 0.0
    last = ordered[-1]
    if value >= last:
        return 1 - (1 - _FURTHEST) * math.exp(-(value - last) / last)
    at = bisect_right(ordered, value)
    before = ordered[at - 1] if at else 0.0
    within = (value - before) / (ordered[at] - before)
    return _FURTHEST * (at + within) / len(ordered)


@cache
def load_population() -> Population:
    return Population.load()
