"""
Turn expected counts into whole counts, so that sums over many groups are right too.

If each group is rounded by itself, totals are wrong by up to half of the number of groups. Here one integer
program for a table (HiGHS) rounds every entry, every sum of a group, every net and every total down or up. If
overlapping nets cannot all be met by whole numbers, the least important sums are dropped. Entries are never
dropped.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array

Counts = NDArray[np.int64]

# Expected counts are sums of floats: 3 may be 2.9999999996.
_SLACK = 1e-7
# Any rounding within the bounds is good enough, so the search stops early. The limit is in nodes and not in
# seconds, so that a slow machine finds the same counts.
_SEARCH = {"mip_rel_gap": 0.2, "node_limit": 200}


@dataclass(frozen=True, slots=True)
class Sum:
    """A sum of entries, by their flat numbers, that must be from `low` to `high`."""

    entries: Sequence[int]
    low: float
    high: float
    factors: Sequence[float] = ()


@dataclass(slots=True)
class Table:
    """
    Expected counts to round. `layers` are sums, the most important ones first. The last are dropped first.

    `slack` widens the range of single entries, for tables in which only the sums matter.
    """

    expected: NDArray[np.float64]
    layers: list[list[Sum]] = field(default_factory=list)
    slack: int = 0

    def add_layer(self, groups: Iterable[Sequence[int]]) -> None:
        """Add sums of entries that are rounded down or up."""
        flat = self.expected.ravel()
        self.layers.append([Sum(entries, *bracket(float(flat[list(entries)].sum()))) for entries in groups])


def bracket(expected: float) -> tuple[float, float]:
    """Return the whole numbers below and above an expected count. For a whole count, both are the count."""
    return float(np.floor(expected + _SLACK)), float(np.ceil(expected - _SLACK))


def round_table(table: Table, generator: np.random.Generator) -> Counts:
    """Return whole counts. The rounding is random, but larger remainders are more likely to go up."""
    flat = table.expected.ravel()
    low = np.maximum(np.floor(flat + _SLACK) - table.slack, 0)
    high = np.ceil(flat - _SLACK) + table.slack
    cost = generator.random(len(flat)) - (flat - np.floor(flat))
    for kept in range(len(table.layers), -1, -1):
        sums = [one for layer in table.layers[:kept] for one in layer]
        found = _solve(cost, low, high, sums)
        if found is not None:
            return np.asarray(found.reshape(table.expected.shape))
    raise ValueError("The bounds of a count contradict each other.")


def _solve(cost: NDArray[Any], low: NDArray[Any], high: NDArray[Any], sums: Sequence[Sum]) -> Counts | None:
    if not len(cost):
        return np.zeros(0, dtype=np.int64)
    constraints = []
    if sums:
        rows = np.repeat(np.arange(len(sums)), [len(one.entries) for one in sums])
        columns = np.concatenate([np.asarray(one.entries, dtype=np.int64) for one in sums])
        factors = np.concatenate([one.factors or np.ones(len(one.entries)) for one in sums])
        matrix = csr_array((factors, (rows, columns)), shape=(len(sums), len(cost)))
        constraints = [LinearConstraint(matrix, [one.low for one in sums], [one.high for one in sums])]
    found = milp(
        cost,
        integrality=np.ones(len(cost)),
        bounds=Bounds(low, high),
        constraints=constraints,
        options=_SEARCH,
    )
    return None if found.x is None else np.asarray(np.rint(found.x), dtype=np.int64)


def round_sum(expected: NDArray[np.float64], total: int) -> Counts:
    """Return whole counts with the sum `total`: the largest remainders are rounded up."""
    scaled = expected * (total / expected.sum())
    counts: Counts = np.floor(scaled + _SLACK).astype(np.int64)
    order = np.argsort(-(scaled - counts).ravel(), kind="stable")
    counts.ravel()[order[: total - int(counts.sum())]] += 1
    return counts
