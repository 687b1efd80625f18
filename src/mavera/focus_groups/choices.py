"""
Estimate MaxDiff and conjoint questions from the expected choices of all personas.

    sets, tasks  →  measures for tables: the share of showings in which an item or a level is chosen
                 →  MaxDiffModel: utilities, shares of preference
                 →  ConjointModel: part-worths, importance, willingness to pay, simulated shares

One model is fitted to the expected shares of all personas, weighted. Its intervals come from leaving out
one persona at a time. Categorical attributes are effects-coded, so their part-worths sum to 0; the price is
one slope.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import softmax, stdtrit

from mavera.focus_groups.choice_models import (
    NotIdentified,
    find_willingness_to_pay,
    fit_conditional_logit,
    fit_maxdiff,
    measure_importance,
)
from mavera.focus_groups.designs import list_sets, list_tasks
from mavera.focus_groups.grids import Grid, Grids
from mavera.focus_groups.intervals import FEWEST_PERSONAS, LEVEL, find_jackknife_spread
from mavera.focus_groups.measures import Measure
from mavera.focus_groups.mixtures import Floats
from mavera.focus_groups.study import Attribute, Conjoint, MaxDiff

Range = tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class Worth:
    """An estimate of a model, with its simulation interval, which is None with fewer than three personas."""

    value: float
    interval: Range = None


@dataclass(frozen=True, slots=True)
class MaxDiffModel:
    """For each item its utility (their sum is 0) and its share of preference (their sum is 1)."""

    utilities: tuple[Worth, ...]
    shares: tuple[Worth, ...]


@dataclass(frozen=True, slots=True)
class LevelWorth:
    """A level of an attribute: part-worth, and its worth in money against the first level."""

    level: str
    part_worth: Worth
    willingness_to_pay: Worth | None


@dataclass(frozen=True, slots=True)
class AttributeWorth:
    """An attribute: the share of its range in all ranges, and its levels."""

    name: str
    importance: Worth
    levels: tuple[LevelWorth, ...]


@dataclass(frozen=True, slots=True)
class ConjointModel:
    """
    The part-worths of a conjoint. `price_slope` is the utility of one unit of money, None without a price.

    `none` is the utility of choosing none of the products, or None if the question does not offer this.
    """

    attributes: tuple[AttributeWorth, ...]
    price_slope: Worth | None
    none: Worth | None
    demand: tuple[tuple[str, Worth], ...]

    def simulate_shares(self, products: Sequence[Mapping[str, str]]) -> tuple[float, ...]:
        """
        Return the share of choice of each product. If the question offers "none", its share comes last.

        A product names a level for each attribute. Raises KeyError if it lacks one.
        """
        worths = {
            one.name: {level.level: level.part_worth.value for level in one.levels} for one in self.attributes
        }
        utilities = [sum(levels[product[name]] for name, levels in worths.items()) for product in products]
        if self.none is not None:
            utilities.append(self.none.value)
        return tuple(float(share) for share in softmax(np.array(utilities)))


def measure_choices(grids: Grids, question: MaxDiff | Conjoint) -> tuple[Measure, ...]:
    """
    Return the share of showings in which each item or level is chosen: exact means of shares.
    """
    if isinstance(question, MaxDiff):
        return _count_items(grids, question)
    return _count_levels(grids, question)


def fit_maxdiff_model(grids: Grids, question: MaxDiff) -> MaxDiffModel:
    """Return the model of a MaxDiff question. Raises NotIdentified if its answers do not determine it."""
    sets = list_sets(grids.study, question)
    items = len(question.items)
    parts = [grids.grid(question, str(number)) for number in range(1, len(sets) + 1)]
    shares, weights = _stack(parts)
    size = len(sets[0])

    def fit(kept: Floats) -> Floats:
        scaled = shares * (weights * kept[:, None, None])[..., None]
        summed = scaled.sum(axis=(0, 1))
        utilities = fit_maxdiff(sets, summed[:, :size], summed[:, size:], items).parameters
        return np.concatenate([utilities, softmax(utilities)])

    found, errors, freedom = _leave_one_out(fit, weights)
    worths = _to_worths(found, errors, freedom, [(-np.inf, np.inf)] * items + [(0.0, 1.0)] * items)
    return MaxDiffModel(tuple(worths[:items]), tuple(worths[items:]))


def fit_conjoint_model(grids: Grids, question: Conjoint) -> ConjointModel:
    """Return the model of a conjoint question. Raises NotIdentified if its answers do not determine it."""
    designs = code_tasks(question, list_tasks(grids.study, question))
    parts = [grids.grid(question, str(number)) for number in range(1, len(designs) + 1)]
    shares, weights = _stack(parts)
    unpack = _Unpacking(question)

    def fit(kept: Floats) -> Floats:
        summed = (shares * (weights * kept[:, None, None])[..., None]).sum(axis=(0, 1))
        return unpack.spread(fit_conditional_logit(designs, summed).parameters)

    found, errors, freedom = _leave_one_out(fit, weights)
    worths = _to_worths(found, errors, freedom, unpack.limits)
    return unpack.build(worths)


def _stack(parts: Sequence[Grid]) -> tuple[Floats, Floats]:
    """Return shares (personas, arms, parts, alternatives) and weights (personas, arms, parts)."""
    answered = [part for part in parts if part.answered]
    if not answered:
        raise NotIdentified("no cell of the question was answered")
    empty = np.zeros_like(answered[0].shares)
    shares = np.stack([np.nan_to_num(one.shares) if one.answered else empty for one in parts], axis=2)
    return shares, np.stack([one.weights for one in parts], axis=2)


def _leave_one_out(fit: Callable[[Floats], Floats], weights: Floats) -> tuple[Floats, Floats | None, int]:
    """Return an estimate, its errors from leaving out one persona at a time, and their degrees of freedom."""
    personas = weights.sum(axis=(1, 2))
    everybody = np.ones(len(personas))
    found = fit(everybody)
    used = np.flatnonzero(personas > 0)
    if len(used) < FEWEST_PERSONAS:
        return found, None, 0
    without_one = []
    for at in used:
        kept = everybody.copy()
        kept[at] = 0.0
        without_one.append(fit(kept))
    errors, freedom = find_jackknife_spread(found, np.array(without_one), personas[used])
    return found, errors, freedom


def _to_worths(
    found: Floats, errors: Floats | None, freedom: int, limits: Sequence[tuple[float, float]]
) -> list[Worth]:
    if errors is None:
        return [Worth(float(value)) for value in found]
    reach = stdtrit(freedom, (1 + LEVEL) / 2) * errors
    return [
        Worth(float(value), (max(low, float(value - width)), min(high, float(value + width))))
        if np.isfinite(width)
        else Worth(float(value))
        for value, width, (low, high) in zip(found, reach, limits, strict=True)
    ]


def code_tasks(question: Conjoint, tasks: Sequence[Sequence[Sequence[int]]]) -> Floats:
    """
    Return the coded rows of tasks, which list for each alternative the index of its level by attribute.

    The shape is (tasks, alternatives, parameters), with a row for "none" last if the question offers it.
    """
    blocks = [_code_levels(question, attribute) for attribute in question.attributes]
    rows = np.array(
        [
            [
                np.concatenate([block[level] for block, level in zip(blocks, alternative, strict=True)])
                for alternative in task
            ]
            for task in tasks
        ]
    )
    if not question.none:
        return rows
    count, alternatives, parameters = rows.shape
    coded = np.zeros((count, alternatives + 1, parameters + 1))
    coded[:, :alternatives, :parameters] = rows
    coded[:, alternatives, parameters] = 1.0
    return coded


def _code_levels(question: Conjoint, attribute: Attribute) -> Floats:
    if _is_price(question, attribute):
        prices = np.array(attribute.prices)
        return np.asarray((prices - prices.mean())[:, None])
    levels = len(attribute.levels)
    return np.vstack([np.eye(levels - 1), -np.ones(levels - 1)])


def _is_price(question: Conjoint, attribute: Attribute) -> bool:
    return attribute.name == question.price and bool(attribute.prices)


class _Unpacking:
    """
    Turns the parameters of a fit into everything that is derived from them, as one vector.

        part-worths of all levels, importances, money of all levels, price slope, none, demand
    """

    def __init__(self, question: Conjoint) -> None:
        self.question = question
        self.blocks = [_code_levels(question, attribute) for attribute in question.attributes]
        self.levels = sum(len(attribute.levels) for attribute in question.attributes)
        prices = [one for one in question.attributes if _is_price(question, one)]
        self.price = prices[0] if prices else None
        count = len(question.attributes)
        self.limits: list[tuple[float, float]] = [(-np.inf, np.inf)] * self.levels + [(0.0, 1.0)] * count
        if self.price is not None:
            self.limits += [(-np.inf, np.inf)] * (self.levels + 1) + [(0.0, 1.0)] * len(self.price.levels)
        if question.none:
            self.limits.append((-np.inf, np.inf))

    def spread(self, parameters: Floats) -> Floats:
        """Return part-worths, importances, money, slope, demand and "none" in one vector."""
        worths, start, slope = [], 0, np.nan
        for attribute, block in zip(self.question.attributes, self.blocks, strict=True):
            end = start + block.shape[1]
            worths.append(block @ parameters[start:end])
            if attribute is self.price:
                slope = float(parameters[start])
            start = end
        none = float(parameters[start]) if self.question.none else None
        ranges = np.array([np.ptp(one) for one in worths])
        found = [*worths, measure_importance(ranges)]
        if self.price is not None:
            for attribute, one in zip(self.question.attributes, worths, strict=True):
                money = None if attribute is self.price else find_willingness_to_pay(one, slope)
                found.append(np.full(len(one), np.nan) if money is None else money)
            found.append(np.array([slope]))
            at = self.question.attributes.index(self.price)
            found.append(self._find_demand(worths[at], none))
        if none is not None:
            found.append(np.array([none]))
        return np.concatenate(found)

    def _find_demand(self, worths: Floats, none: float | None) -> Floats:
        """
        Return the share of an average product at each price, against "none" or else its middle price.

        All other attributes are at the mean of their part-worths, which is 0.
        """
        against = none if none is not None else 0.0
        return np.asarray(1 / (1 + np.exp(against - worths)))

    def build(self, worths: Sequence[Worth]) -> ConjointModel:
        """Return the model that a vector of `spread` describes."""
        left = iter(worths)
        question = self.question
        parts = [[next(left) for _ in attribute.levels] for attribute in question.attributes]
        importances = [next(left) for _ in question.attributes]
        money: list[list[Worth]] = []
        slope: Worth | None = None
        demand: list[Worth] = []
        if self.price is not None:
            money = [[next(left) for _ in attribute.levels] for attribute in question.attributes]
            slope = next(left)
            demand = [next(left) for _ in self.price.levels]
        none = next(left) if question.none else None
        attributes = []
        for at, attribute in enumerate(question.attributes):
            levels = tuple(
                LevelWorth(level, parts[at][n], _drop_nan(money[at][n]) if money else None)
                for n, level in enumerate(attribute.levels)
            )
            attributes.append(AttributeWorth(attribute.name, importances[at], levels))
        names = self.price.levels if self.price is not None else ()
        return ConjointModel(tuple(attributes), slope, none, tuple(zip(names, demand, strict=True)))


def _drop_nan(worth: Worth) -> Worth | None:
    return None if np.isnan(worth.value) else worth


def _count_items(grids: Grids, question: MaxDiff) -> tuple[Measure, ...]:
    sets = list_sets(grids.study, question)
    parts = [grids.grid(question, str(number)) for number in range(1, len(sets) + 1)]
    size = len(sets[0])
    shown: list[list[tuple[int, int]]] = [[] for _ in question.items]
    for number, items in enumerate(sets):
        for place, item in enumerate(items):
            shown[item].append((number, place))
    measures: dict[str, list[Measure]] = {"best": [], "worst": [], "count": []}
    for item, text in enumerate(question.items):
        best = _average(parts, shown[item])
        worst = _average(parts, [(number, size + place) for number, place in shown[item]])
        assumed = any(part.assumed for part in parts)
        measures["best"].append(Measure("best", text, best[0], best[2], best[1], assumed=assumed))
        measures["worst"].append(Measure("worst", text, worst[0], worst[2], worst[1], assumed=assumed))
        measures["count"].append(
            Measure(
                "count", text, best[0] - worst[0], best[2], best[1] - worst[1], -1.0, 1.0, assumed=assumed
            )
        )
    return (*measures["best"], *measures["worst"], *measures["count"])


def _count_levels(grids: Grids, question: Conjoint) -> tuple[Measure, ...]:
    tasks = list_tasks(grids.study, question)
    parts = [grids.grid(question, str(number)) for number in range(1, len(tasks) + 1)]
    assumed = any(part.assumed for part in parts)
    measures = []
    for at, attribute in enumerate(question.attributes):
        for level, name in enumerate(attribute.levels):
            shown = [
                (number, place)
                for number, task in enumerate(tasks)
                for place, alternative in enumerate(task)
                if alternative[at] == level
            ]
            found = _average(parts, shown)
            label = f"{attribute.name}: {name}"
            measures.append(Measure("level", label, found[0], found[2], found[1], assumed=assumed))
    if question.none:
        found = _average(parts, [(number, len(task)) for number, task in enumerate(tasks)])
        measures.append(Measure("level", "None of these", found[0], found[2], found[1], assumed=assumed))
    return tuple(measures)


def _average(parts: Sequence[Grid], places: Sequence[tuple[int, int]]) -> tuple[Floats, Floats, Floats]:
    """
    Return the mean share of places over the answered parts, the same for the baseline, and the weights.
    """
    usable = [(number, place) for number, place in places if parts[number].shares.shape[-1]]
    if not usable:
        empty = parts[0].weights
        return np.full(empty.shape, np.nan), np.full(empty.shape[1], np.nan), np.zeros(empty.shape)
    shares = np.stack([parts[number].shares[..., place] for number, place in usable])
    baseline = np.stack([parts[number].baseline[..., place] for number, place in usable])
    weights = np.stack([parts[number].weights for number, _ in usable]).max(axis=0)
    return _mean_drop_nan(shares), _mean_drop_nan(baseline), weights


def _mean_drop_nan(values: Floats) -> Floats:
    known = np.logical_not(np.isnan(values))
    counts = known.sum(axis=0)
    sums = np.where(known, values, 0.0).sum(axis=0)
    return np.asarray(np.divide(sums, counts, out=np.full(counts.shape, np.nan), where=counts > 0))
