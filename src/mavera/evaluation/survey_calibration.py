"""
Measure how much a few items of real people help: learn a correction from them, and look at the other items.

    a draw of items of a survey → correction (focus_groups.calibration) → total variation of the other items

Each survey is drawn from many times with a fixed seed, because a figure of one draw depends on its items. The
module is pure.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mavera.evaluation.survey_asking import Simulation
from mavera.evaluation.survey_data import Item, Survey
from mavera.evaluation.survey_measures import Floats, Mean, average, count_answers, measure_total_variation
from mavera.evaluation.survey_panel import Group, count_people, list_groups
from mavera.focus_groups.calibration import CalibrationItem, fit_correction
from mavera.personas.persona import Persona

Cast = Mapping[Group, Sequence[Persona]]

DRAWS = 20
SEED = 29


@dataclass(frozen=True, slots=True)
class CalibratedItem:
    """The mean total variation of an item over the draws in which it did not calibrate."""

    survey: str
    item: str
    before: float
    after: float


@dataclass(frozen=True, slots=True)
class CalibrationReport:
    """The items of a source with `given` items as calibration. A survey with too few items is left out."""

    given: int
    items: tuple[CalibratedItem, ...]

    @property
    def surveys(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(one.survey for one in self.items))

    def average(self, when: str, survey: str | None = None) -> Mean:
        """Return the mean total variation `before` or `after`, over all items or those of a survey."""
        return average([getattr(one, when) for one in self.items if survey in (None, one.survey)])

    def find_reduction(self, survey: str | None = None) -> float:
        """Return by which share the correction lowers the mean total variation: .25 is a quarter less."""
        return 1 - self.average("after", survey).value / self.average("before", survey).value


def measure_calibration(
    surveys: Sequence[Survey],
    simulation: Simulation,
    casts: Mapping[str, Cast] | None,
    given: int,
    *,
    draws: int = DRAWS,
) -> CalibrationReport:
    """Return the figures of the personas of `casts`, or of the model without a persona if it is None."""
    found: list[CalibratedItem] = []
    for survey in surveys:
        cast = None if casts is None else casts.get(survey.name, {})
        items = dict(_list_items(survey, simulation, cast))
        if len(items) > given:
            found += _measure_survey(survey.name, items, given, draws)
    return CalibrationReport(given, tuple(found))


def _measure_survey(
    survey: str, items: Mapping[str, CalibrationItem], given: int, draws: int
) -> Iterator[CalibratedItem]:
    dice = np.random.default_rng(SEED)
    names = list(items)
    after: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(draws):
        chosen = {names[at] for at in dice.choice(len(names), given, replace=False)}
        correction = fit_correction([items[name] for name in names if name in chosen])
        for name in names:
            if name not in chosen:
                one = items[name]
                corrected = one.weights @ correction.apply(one.shares, one.answers, one.places)
                after[name].append(measure_total_variation(corrected, one.people))
    for name, one in items.items():
        if after[name]:
            before = measure_total_variation(one.weights @ one.shares, one.people)
            yield CalibratedItem(survey, name, before, float(np.mean(after[name])))


def _list_items(
    survey: Survey, simulation: Simulation, cast: Cast | None
) -> Iterator[tuple[str, CalibrationItem]]:
    for number, item in enumerate(survey.items):
        rows = list(_list_rows(survey, item, simulation, cast))
        counts = count_answers(survey.answers[:, number], len(item.options))
        if not rows or not counts.sum():
            continue
        weights = np.array([weight for weight, _ in rows])
        shares = np.array([row for _, row in rows])
        people = counts / counts.sum()
        yield item.id, CalibrationItem(item.options, shares, weights / weights.sum(), people, _place(item))


def _list_rows(
    survey: Survey, item: Item, simulation: Simulation, cast: Cast | None
) -> Iterator[tuple[float, Floats]]:
    """Yield the weight and the shares of each persona that answered, or of the model without a persona."""
    if cast is None:
        alone = simulation.shares.get((survey.name, item.id, None))
        if alone is not None:
            yield 1.0, alone
        return
    people = count_people(survey)
    for group in list_groups(survey):
        answers = [
            simulation.shares[survey.name, item.id, persona.id]
            for persona in cast.get(group, ())
            if (survey.name, item.id, persona.id) in simulation.shares
        ]
        yield from ((people[group] / len(answers), one) for one in answers if people[group])


def _place(item: Item) -> Floats:
    if item.ordered:
        return np.linspace(-1, 1, len(item.options))
    if item.options == ("Yes", "No"):
        return np.array([1.0, -1.0])
    return np.zeros(len(item.options))


def describe_calibration(report: CalibrationReport) -> dict[str, Any]:
    """Return the figures as a value for JSON."""
    return {
        "items": len(report.items),
        **_describe(report, None),
        "surveys": {survey: _describe(report, survey) for survey in report.surveys},
    }


def _describe(report: CalibrationReport, survey: str | None) -> dict[str, Any]:
    if not report.items:
        return {"before": None, "after": None, "less": None}
    means = {when: round(report.average(when, survey).value, 4) for when in ("before", "after")}
    return {**means, "less": round(report.find_reduction(survey), 4)}
