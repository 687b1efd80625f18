"""
Fit models of choices: conditional logit, MaxDiff, Plackett–Luce, and the figures derived from them.

    designs  (sets, alternatives, parameters)    one coded row for each alternative
    shares   (sets, alternatives)                expected shares, times the weight of the set

The likelihood is that of *expected* shares, Σ q log softmax(xβ), so an estimate has no sampling noise and
needs no respondents. Newton's method runs until the step is below 1e-10 and the gradient vanishes;
statsmodels stops 1e-4 short of the maximum with its defaults. Human or drawn choices are shares of 0 and 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb

import choix
import numpy as np
from scipy.special import logsumexp, softmax

from mavera.focus_groups.mixtures import Floats, Truths

TOLERANCE = 1e-10
MOST_STEPS = 200
# If a size has more combinations than this, TURF adds one item at a time to the best combination.
MOST_COMBINATIONS = 20_000


class NotIdentified(ValueError):
    """The choices do not determine the parameters, or push one of them to infinity."""


@dataclass(frozen=True, slots=True)
class Fit:
    """
    A maximum of a likelihood. `covariance` is the inverse information.

    Standard errors from `covariance` are valid for real choices only. For expected shares they mean nothing.
    """

    parameters: Floats
    covariance: Floats
    log_likelihood: float
    steps: int

    @property
    def errors(self) -> Floats:
        """The standard errors of the parameters."""
        found: Floats = np.sqrt(np.diag(self.covariance))
        return found


def fit_conditional_logit(designs: Floats, shares: Floats) -> Fit:
    """
    Return the maximum-likelihood part-worths of `designs`.

    An alternative that a set lacks has a share of 0 and a row of NaN. Raises NotIdentified if the design does
    not determine a parameter, or if choices are so certain that a parameter grows without bound.
    """
    offered: Truths = np.logical_not(np.isnan(designs).any(axis=2))
    rows = np.where(offered[:, :, None], designs, 0.0)
    totals = shares.sum(axis=1)
    parameters = np.zeros(designs.shape[2])
    value, gradient, information = _evaluate(rows, offered, shares, totals, parameters)
    for step in range(1, MOST_STEPS + 1):
        direction = _solve(information, gradient, float(totals.sum()))
        scale = 1.0
        while True:
            trial = parameters + scale * direction
            found = _evaluate(rows, offered, shares, totals, trial)
            if found[0] >= value - 1e-12 * abs(value) or scale < 1e-8:
                break
            scale /= 2
        parameters = trial
        value, gradient, information = found
        if np.abs(parameters).max(initial=0.0) > 50:
            raise NotIdentified("the choices are so certain that a part-worth grows without bound")
        if np.abs(scale * direction).max(initial=0.0) < TOLERANCE:
            return Fit(parameters, np.linalg.inv(information), value, step)
    raise NotIdentified("the likelihood has no maximum that Newton's method reaches")


def _evaluate(
    rows: Floats, offered: Truths, shares: Floats, totals: Floats, parameters: Floats
) -> tuple[float, Floats, Floats]:
    utilities = np.where(offered, rows @ parameters, -np.inf)
    log_chances = utilities - logsumexp(utilities, axis=1, keepdims=True)
    chances = np.exp(log_chances)
    value = float((shares * np.where(offered, log_chances, 0.0)).sum())
    gradient = np.einsum("ca,cap->p", shares - totals[:, None] * chances, rows)
    means = np.einsum("ca,cap->cp", chances, rows)
    squares = np.einsum("ca,cap,caq->pq", totals[:, None] * chances, rows, rows)
    information = squares - np.einsum("c,cp,cq->pq", totals, means, means)
    return value, gradient, information


def _solve(information: Floats, gradient: Floats, total: float) -> Floats:
    smallest = float(np.linalg.eigvalsh(information)[0]) if len(information) else 1.0
    if smallest <= 1e-11 * max(total, 1e-300):
        raise NotIdentified("the choices do not determine every part-worth")
    found: Floats = np.linalg.solve(information, gradient)
    return found


def fit_maxdiff(sets: Sequence[Sequence[int]], best: Floats, worst: Floats, items: int) -> Fit:
    """
    Return the utilities of `items` items from best and worst shares; they sum to 0.

    `sets` has the items of each set, and `best` and `worst` have a row for each set. A best choice is a
    logit of the utilities, and a worst choice one of their negatives. Raises NotIdentified if the sets
    leave items unconnected.
    """
    # The last item is the negative sum of the others, so that the utilities sum to 0.
    contrasts = np.vstack([np.eye(items - 1), -np.ones(items - 1)])
    designs = contrasts[np.asarray(sets, dtype=np.intp)]
    fit = fit_conditional_logit(np.concatenate([designs, -designs]), np.concatenate([best, worst]))
    return Fit(
        contrasts @ fit.parameters,
        contrasts @ fit.covariance @ contrasts.T,
        fit.log_likelihood,
        fit.steps,
    )


def count_maxdiff(
    sets: Sequence[Sequence[int]], best: Floats, worst: Floats, items: int
) -> tuple[Floats, Floats, Floats]:
    """Return the shares of showings in which each item is best and worst, and their difference."""
    places = np.asarray(sets, dtype=np.intp).ravel()
    totals = np.repeat(best.sum(axis=1), np.asarray(sets).shape[1])
    shown = np.bincount(places, weights=totals, minlength=items)
    as_best = np.bincount(places, weights=best.ravel(), minlength=items) / shown
    as_worst = np.bincount(places, weights=worst.ravel(), minlength=items) / shown
    return as_best, as_worst, as_best - as_worst


def fit_rankings(rankings: Sequence[Sequence[int]], items: int) -> Floats:
    """
    Return the Plackett–Luce worths, with the sum 1, that make `rankings` most likely.

    A ranking lists items from best to worst, and may be partial. Raises NotIdentified if some items were
    never ranked below, or never above, the others.
    """
    try:
        utilities = choix.ilsr_rankings(
            items, [tuple(one) for one in rankings], alpha=0.0, max_iter=1000, tol=1e-12
        )
    except (ValueError, RuntimeError) as error:
        raise NotIdentified("the rankings do not connect all items in both directions") from error
    worths: Floats = softmax(utilities)
    return worths


def find_mean_ranks(worths: Floats) -> Floats:
    """Return the expected rank of each item, from 1, under Plackett–Luce worths."""
    beaten_by = worths[None, :] / (worths[:, None] + worths[None, :])
    ranks: Floats = 1 + beaten_by.sum(axis=1) - 0.5
    return ranks


def find_first_places(worths: Floats, places: int) -> Floats:
    """
    Return the probability that each item is among the first `places`, exactly.

    It sums over the sets of items that can come first, so many places take 2^items steps.
    """
    items = len(worths)
    reached = np.zeros(items)
    level: dict[frozenset[int], float] = {frozenset(): 1.0}
    for _ in range(min(places, items)):
        following: dict[frozenset[int], float] = {}
        for taken, chance in level.items():
            rest = [item for item in range(items) if item not in taken]
            left = float(worths[rest].sum())
            for item in rest:
                share = chance * float(worths[item]) / left
                reached[item] += share
                following[taken | {item}] = following.get(taken | {item}, 0.0) + share
        level = following
    return reached


def measure_importance(ranges: Floats) -> Floats:
    """Return the share of each attribute in the sum of the ranges of part-worths."""
    total = float(ranges.sum())
    shares: Floats = ranges / total if total > 0 else np.full(len(ranges), 1 / len(ranges))
    return shares


def find_willingness_to_pay(worths: Floats, price_slope: float) -> Floats | None:
    """
    Return the worth of each level in money, compared with the first level of its attribute.

    `price_slope` is the utility of one unit of money. Returns None if it is not negative, because people who
    prefer to pay more have no willingness to pay.
    """
    if not price_slope < 0:
        return None
    money: Floats = (worths - worths[0]) / -price_slope
    return money


def simulate_shares(products: Floats, parameters: Floats) -> Floats:
    """Return the shares of choice of `products`, one coded row for each, under a logit."""
    shares: Floats = softmax(products @ parameters)
    return shares


@dataclass(frozen=True, slots=True)
class Reach:
    """
    The best combination of a size: the share that ticks at least one item, and the mean number of ticks.
    """

    items: tuple[int, ...]
    reach: float
    frequency: float


def find_reach(ticks: Truths, weights: Floats, sizes: int) -> tuple[Reach, ...]:
    """
    Return the combination with the largest reach for each size from 1 to `sizes` (TURF).

    If a size has up to 20,000 combinations, all of them are tried. Otherwise items are added one at a time.
    Of two equal combinations, the one with the higher frequency wins, then the first.
    """
    scaled = weights / weights.sum()
    items = ticks.shape[1]
    found: list[Reach] = []
    for size in range(1, min(sizes, items) + 1):
        candidates: Sequence[tuple[int, ...]]
        if comb(items, size) <= MOST_COMBINATIONS:
            candidates = list(combinations(range(items), size))
        else:
            start = found[-1].items
            candidates = [tuple(sorted((*start, item))) for item in range(items) if item not in start]
        found.append(_pick_reach(candidates, *_group_rows(ticks, scaled)))
    return tuple(found)


def _group_rows(ticks: Truths, weights: Floats) -> tuple[Truths, Floats]:
    """Merge equal rows, because 20,000 rows a persona have far fewer patterns."""
    patterns, places = np.unique(ticks, axis=0, return_inverse=True)
    return patterns, np.bincount(places.ravel(), weights=weights, minlength=len(patterns))


def _pick_reach(candidates: Sequence[tuple[int, ...]], patterns: Truths, weights: Floats) -> Reach:
    frequencies = weights @ patterns
    best: Reach | None = None
    for combination in candidates:
        reach = float(weights @ patterns[:, combination].any(axis=1))
        frequency = float(frequencies[list(combination)].sum())
        if best is None or (round(reach, 12), frequency) > (round(best.reach, 12), best.frequency):
            best = Reach(combination, reach, frequency)
    if best is None:
        raise ValueError("there is no item to combine")
    return best
