"""
Give each respondent latent scores. Answers are handed out in the order of the scores.

    score of an item  =  √ρ · factor of the respondent  +  √(1 − ρ) · noise of the item

The factor is a stratified normal sample within a persona and arm. The noise of an item is made orthogonal to
the factor and to the items before it within each persona, so that two items have the correlation ρ not
only on average, but also in a small file.
"""

import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

Floats = NDArray[np.float64]

# A persona's items stay orthogonal while it has this many respondents for each item.
_ROWS_PER_ITEM = 3
# With more rows than this, chance correlations are below .02. To remove them would take most of the time.
_ROWS_MAX = 4_000


class Scores:
    """Scores of respondents. `panelist` and `arm` have the persona and the arm of each."""

    def __init__(
        self, panelist: NDArray[np.int64], arm: NDArray[np.int64], correlation: float, seed: int
    ) -> None:
        self._seed = seed
        self._correlation = correlation
        self._personas = [np.flatnonzero(panelist == one) for one in np.unique(panelist)]
        arms = int(arm.max(initial=0)) + 1
        self._strata = [
            np.flatnonzero(panelist * arms + arm == one) for one in np.unique(panelist * arms + arm)
        ]
        self._size = len(panelist)
        self._basis: list[list[Floats]] = [[np.full(len(rows), len(rows) ** -0.5)] for rows in self._personas]
        self.factor = self._make_normal("factor", self._strata)
        self.ticks = self._make_normal("ticks", self._strata)

    def generator(self, name: str) -> np.random.Generator:
        """Return a generator that depends on the seed and on a name only."""
        return np.random.default_rng([self._seed, zlib.crc32(name.encode())])

    def score(self, name: str, factor: Floats) -> Floats:
        """Return the scores of an item. They depend on its name, so other items do not change them."""
        noise = self._make_normal(name, self._personas)
        return np.asarray(np.sqrt(self._correlation) * factor + np.sqrt(1 - self._correlation) * noise)

    def noise(self, name: str) -> Floats:
        """Return numbers without any correlation, for items without a direction."""
        return self.generator(name).random(self._size)

    def _make_normal(self, name: str, parts: Sequence[NDArray[np.int64]]) -> Floats:
        """Return a stratified normal sample in each part, orthogonal to earlier items."""
        generator = self.generator(name)
        found = np.empty(self._size)
        for rows in parts:
            places = (generator.permutation(len(rows)) + generator.random(len(rows))) / len(rows)
            found[rows] = ndtri(np.clip(places, 1e-12, 1 - 1e-12))
        return self._orthogonalise(found)

    def _orthogonalise(self, values: Floats) -> Floats:
        """Subtract the projection on earlier items, and scale the rest to the variance 1 in each persona."""
        found = values.copy()
        for rows, basis in zip(self._personas, self._basis, strict=True):
            rest = found[rows]
            for one in basis:
                rest = rest - one * (one @ rest)
            length = float(np.sqrt(rest @ rest))
            if length < 1e-9:
                continue
            found[rows] = rest * np.sqrt(len(rows)) / length
            if _ROWS_PER_ITEM * (len(basis) + 1) <= len(rows) <= _ROWS_MAX:
                basis.append(rest / length)
        return found
