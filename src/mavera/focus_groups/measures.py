"""
Measure a grid: shares of answers, nets, boxes, means, scores and ranks, each for every persona and arm.

    Grid  →  Measure × n: values (personas, arms), weights (personas, arms), baseline (arms)

A measure is the weighted mean of its values over personas and arms. This is exact for every figure that is
linear in shares. Intervals and letters are computed from the values. Two measures are not means of personas:
the standard deviation and the median describe the mixture. Missing answers do not count in boxes, means,
scores and deviations, and have a row of their own.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from mavera.focus_groups.assumed import find_net
from mavera.focus_groups.choice_models import find_first_places, find_mean_ranks
from mavera.focus_groups.grids import Grid, Grids
from mavera.focus_groups.intervals import (
    FEWEST_PERSONAS,
    find_spread,
    find_wording_spread,
    to_mean_interval,
    to_share_interval,
)
from mavera.focus_groups.mixtures import (
    DETRACTOR_UP_TO,
    PROMOTER_FROM,
    Floats,
    Truths,
    find_median,
)
from mavera.focus_groups.respondents import Status
from mavera.focus_groups.study import (
    NPS,
    Conjoint,
    Matrix,
    MaxDiff,
    MultipleChoice,
    OpenEnded,
    Question,
    Ranking,
    Scale,
    Slider,
    YesNo,
    scale_of,
)

Kind = Literal[
    "answer",
    "missing",
    "net",
    "box",
    "mean",
    "std_dev",
    "median",
    "score",
    "rank",
    "place",
    "best",
    "worst",
    "count",
    "level",
]
# Kinds that are shares between 0 and 1. Other kinds have a scale of their own.
SHARES: frozenset[Kind] = frozenset({"answer", "missing", "net", "box", "place", "best", "worst", "level"})
LEAST_POINTS_FOR_TWO_BOXES = 5


@dataclass(frozen=True, slots=True, eq=False)
class Measure:
    """
    One figure of a question, for each persona and arm. `values` are NaN for cells without an answer.

    `low` and `high` are the ends of its scale. `by_wording` has an axis for wordings at the end. `compute`
    finds the figure of any distribution of answers. `whole` is the same for a mixture of `shares`. It is set
    only if the figure is not a mean of personas.
    """

    kind: Kind
    label: str
    values: Floats
    weights: Floats
    baseline: Floats
    low: float = 0.0
    high: float = 1.0
    by_wording: Floats | None = None
    compute: Callable[[Floats], Floats] | None = None
    whole: Callable[[Floats], float] | None = None
    shares: Floats | None = None
    assumed: bool = False

    @property
    def is_share(self) -> bool:
        """Whether the measure is a share between 0 and 1."""
        return self.kind in SHARES

    def estimate(self, mask: Truths | None = None) -> float | None:
        """Return the measure of the personas and arms in `mask`, or of all. None without answers."""
        weights = self._weigh(mask)
        total = float(weights.sum())
        if not total > 0:
            return None
        if self.whole is not None and self.shares is not None:
            kept = weights > 0
            mixture = (weights[kept][:, None] * self.shares[kept]).sum(axis=0) / total
            return self.whole(mixture)
        return float((np.nan_to_num(self.values) * weights).sum() / total)

    def read_personas(self, mask: Truths | None = None) -> tuple[Floats, Floats]:
        """Return the value of each persona over its arms in `mask`, and its weight; NaN without an answer."""
        weights = self._weigh(mask)
        totals = weights.sum(axis=1)
        sums = (np.nan_to_num(self.values) * weights).sum(axis=1)
        values = np.divide(sums, totals, out=np.full(len(totals), np.nan), where=totals > 0)
        return values, totals

    def estimate_baseline(self) -> float | None:
        """Return the measure without personas: the mean over the arms."""
        known = self.baseline[~np.isnan(self.baseline)]
        return float(known.mean()) if len(known) else None

    def find_interval(self, mask: Truths | None = None) -> tuple[float, float] | None:
        """Return the simulation interval, or None below three personas or if the measure is not a mean."""
        if self.whole is not None:
            return None
        values, weights = self.read_personas(mask)
        kept = weights > 0
        if kept.sum() < FEWEST_PERSONAS:
            return None
        spread = find_spread(values[kept], weights[kept])
        if self.by_wording is not None:
            spread = find_wording_spread(self._read_wordings(mask)[kept], weights[kept])
        if self.is_share:
            return to_share_interval(spread)
        return to_mean_interval(spread, self.low, self.high)

    def _weigh(self, mask: Truths | None) -> Floats:
        known = np.where(np.isnan(self.values), 0.0, self.weights)
        return known if mask is None else np.where(mask, known, 0.0)

    def _read_wordings(self, mask: Truths | None) -> Floats:
        weights = self._weigh(mask)
        totals = np.maximum(weights.sum(axis=1), 1e-300)
        sums = np.einsum("pa,paw->pw", weights, np.nan_to_num(np.asarray(self.by_wording)))
        return np.asarray(sums / totals[:, None])


Compute = Callable[[Floats], Floats]


@dataclass(frozen=True, slots=True)
class _Recipe:
    """The formula of a measure. The last axis of the distributions is the answer."""

    kind: Kind
    label: str
    compute: Compute
    low: float = 0.0
    high: float = 1.0
    valid_only: bool = False
    is_whole: bool = False
    assumed: bool = False


def measure_question(grids: Grids, question: Question, part: str | None = None) -> tuple[Measure, ...]:
    """
    Return the measures of a question, in the order in which a table lists them.

    A matrix has measures for each row, which `part` names. Open-ended questions have no measures.
    """
    match question:
        case OpenEnded():
            return ()
        case MaxDiff() | Conjoint():
            raise TypeError("Choices are measured by choice_tables.py.")
        case MultipleChoice(multiple=True):
            recipes = list(_list_ticks(question, grids.study.latent_correlation))
            missing = 0
        case Ranking():
            recipes = list(_list_ranks([item.text for item in question.items]))
            missing = 0
        case _:
            scale = scale_of(question)
            recipes = list(_list_scale(question, scale))
            missing = len(scale.missing)
    measures = measure_grid(grids.grid(question, part), recipes, missing)
    if isinstance(question, MultipleChoice) and question.multiple and _has_rules(question):
        return tuple(_count_net(grids, question, one) if one.kind == "net" else one for one in measures)
    return measures


def _has_rules(question: MultipleChoice) -> bool:
    """Return whether options of a question depend on each other, so that no formula gives its nets."""
    return question.max is not None or any(option.exclusive for option in question.options)


def _count_net(grids: Grids, question: MultipleChoice, measure: Measure) -> Measure:
    """Count a net in the reference draw. The baseline has no respondents, so it keeps the formula."""
    rows = grids.reference.completes
    answers = rows.answers[question.id]
    texts = [option.text for option in question.options]
    places = [texts.index(option) for option in question.nets[measure.label]]
    kept = answers.status == Status.ANSWERED
    cells = (rows.panelist * len(grids.arms) + rows.arm)[kept]
    ticked = answers.choices[kept][:, places].any(axis=1)
    size = len(grids.panel) * len(grids.arms)
    asked = np.bincount(cells, minlength=size)
    counts = np.bincount(cells, weights=ticked, minlength=size)
    values = np.divide(counts, asked, out=np.full(size, np.nan), where=asked > 0)
    return replace(measure, values=values.reshape(measure.values.shape), by_wording=None)


def measure_grid(grid: Grid, recipes: Sequence["_Recipe"], missing: int) -> tuple[Measure, ...]:
    """Return a measure for each recipe. The last `missing` answers of the grid have no values."""
    if not grid.shares.shape[-1]:
        return ()
    answered = grid.shares[..., : grid.shares.shape[-1] - missing].sum(axis=-1)
    valid_weights = grid.weights * np.nan_to_num(answered)
    measures = []
    for recipe in recipes:
        with np.errstate(invalid="ignore", divide="ignore"):
            values = recipe.compute(grid.shares)
            wordings = None if grid.by_wording is None else recipe.compute(grid.by_wording)
            baseline = recipe.compute(grid.baseline)
        measures.append(
            Measure(
                recipe.kind,
                recipe.label,
                values,
                valid_weights if recipe.valid_only else grid.weights,
                baseline,
                recipe.low,
                recipe.high,
                wordings,
                compute=recipe.compute,
                assumed=recipe.assumed or grid.assumed,
                whole=_to_whole(recipe.compute) if recipe.is_whole else None,
                shares=grid.shares if recipe.is_whole else None,
            )
        )
    return tuple(measures)


def _to_whole(compute: Compute) -> Callable[[Floats], float]:
    return lambda mixture: float(compute(mixture))


def _pick(at: int) -> Compute:
    return lambda shares: np.asarray(shares[..., at])


def _list_scale(question: Question, scale: Scale) -> Iterator[_Recipe]:
    for at, label in enumerate(scale.labels):
        yield _Recipe("answer", label, _pick(at))
    for at, label in enumerate(scale.missing, len(scale.labels)):
        yield _Recipe("missing", label, _pick(at))
    points = len(scale.labels)
    if isinstance(question, MultipleChoice):
        places = {label: at for at, label in enumerate(scale.labels)}
        for name, options in question.nets.items():
            yield _Recipe("net", name, _sum_places([places[option] for option in options]))
    if scale.values is None:
        return
    values = np.array(scale.values)
    if isinstance(question, NPS):
        yield from _list_nps(points)
    elif not isinstance(question, Slider | YesNo):
        yield from _list_boxes(points)
    yield _Recipe("mean", "Mean", _find_mean(values), values.min(), values.max(), valid_only=True)
    yield _Recipe("std_dev", "Standard deviation", _find_deviation(values), 0.0, np.inf, True, is_whole=True)
    yield _Recipe("median", "Median", _find_medians(values), values.min(), values.max(), True, is_whole=True)


def _list_nps(points: int) -> Iterator[_Recipe]:
    promoters = _sum_valid(range(PROMOTER_FROM, points), points)
    passives = _sum_valid(range(DETRACTOR_UP_TO + 1, PROMOTER_FROM), points)
    detractors = _sum_valid(range(DETRACTOR_UP_TO + 1), points)
    yield _Recipe("box", "Promoters (9–10)", promoters, valid_only=True)
    yield _Recipe("box", "Passives (7–8)", passives, valid_only=True)
    yield _Recipe("box", "Detractors (0–6)", detractors, valid_only=True)
    yield _Recipe(
        "score",
        "Net promoter score",
        lambda shares: 100 * (promoters(shares) - detractors(shares)),
        -100.0,
        100.0,
        valid_only=True,
    )


def _list_boxes(points: int) -> Iterator[_Recipe]:
    if points >= LEAST_POINTS_FOR_TWO_BOXES:
        yield _Recipe("box", "Top 2 boxes", _sum_valid(range(points - 2, points), points), valid_only=True)
        yield _Recipe("box", "Bottom 2 boxes", _sum_valid(range(2), points), valid_only=True)
    else:
        yield _Recipe("box", "Top box", _sum_valid([points - 1], points), valid_only=True)
        yield _Recipe("box", "Bottom box", _sum_valid([0], points), valid_only=True)


def _sum_places(places: Sequence[int]) -> Compute:
    return lambda shares: np.asarray(shares[..., list(places)].sum(axis=-1))


def _sum_valid(places: Sequence[int] | range, points: int) -> Compute:
    return lambda shares: np.asarray(
        shares[..., list(places)].sum(axis=-1) / shares[..., :points].sum(axis=-1)
    )


def _find_mean(values: Floats) -> Compute:
    points = len(values)
    return lambda shares: np.asarray(shares[..., :points] @ values / shares[..., :points].sum(axis=-1))


def _find_deviation(values: Floats) -> Compute:
    points = len(values)

    def compute(shares: Floats) -> Floats:
        valid = shares[..., :points] / shares[..., :points].sum(axis=-1, keepdims=True)
        variance = valid @ values**2 - (valid @ values) ** 2
        return np.asarray(np.sqrt(np.maximum(variance, 0.0)))

    return compute


def _find_medians(values: Floats) -> Compute:
    points = len(values)

    def compute(shares: Floats) -> Floats:
        def find(row: Floats) -> float:
            total = row[:points].sum()
            return find_median(row[:points] / total, values) if total > 0 else np.nan

        return np.asarray(np.apply_along_axis(find, -1, shares))

    return compute


def _list_ticks(question: MultipleChoice, correlation: float) -> Iterator[_Recipe]:
    texts = [option.text for option in question.options]
    for at, text in enumerate(texts):
        yield _Recipe("answer", text, _pick(at))
    for name, options in question.nets.items():
        places = [texts.index(option) for option in options]
        yield _Recipe("net", name, _find_nets(places, correlation), assumed=True)
    yield _Recipe("mean", "Answers per respondent", lambda shares: shares.sum(axis=-1), 0.0, len(texts))


def _find_nets(places: Sequence[int], correlation: float) -> Compute:
    return lambda shares: find_net(shares[..., list(places)], correlation)


def _list_ranks(items: Sequence[str]) -> Iterator[_Recipe]:
    for at, item in enumerate(items):
        yield _Recipe("answer", item, _pick(at))
    places = min(3, len(items) - 1)
    if places > 1:
        for at, item in enumerate(items):
            yield _Recipe("place", item, _find_place(at, places))
    for at, item in enumerate(items):
        yield _Recipe("rank", item, _find_rank(at), 1.0, float(len(items)))


def _find_place(at: int, places: int) -> Compute:
    def find(worths: Floats) -> float:
        return float(find_first_places(worths, places)[at]) if not np.isnan(worths).any() else np.nan

    return lambda shares: np.asarray(np.apply_along_axis(find, -1, shares))


def _find_rank(at: int) -> Compute:
    def find(worths: Floats) -> float:
        return float(find_mean_ranks(worths)[at])

    return lambda shares: np.asarray(np.apply_along_axis(find, -1, shares))


def list_parts(question: Question) -> tuple[str | None, ...]:
    """Return the parts of a question that have measures: the rows of a matrix, or the whole question."""
    return tuple(row.id for row in question.rows) if isinstance(question, Matrix) else (None,)
