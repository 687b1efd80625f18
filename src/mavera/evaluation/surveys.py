"""
Compare simulated surveys with the answers of real people.

    Survey + Simulation + personas of each group  →  Report

    personas      the mixture of personas, weighted as the people of the survey by age and gender
    no_persona    the same reading of the model without a persona
    uniform       every option alike
    mode          always the answer that most people gave
    halves        one half of the people beside the other: what no simulation can beat

The module is pure. Personas that fall behind `no_persona` make an answer worse.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mavera.evaluation.measures import Share, measure_direction
from mavera.evaluation.survey_asking import Simulation
from mavera.evaluation.survey_choices import ChoiceReport, ChoiceSurvey, compare_choices, draw_tasks
from mavera.evaluation.survey_data import Item, Survey
from mavera.evaluation.survey_measures import (
    Counts,
    Floats,
    Mean,
    average,
    average_surveys,
    compare_groups,
    count_answers,
    count_needed_hits,
    find_difference,
    make_mode,
    make_uniform,
    measure_halves,
    measure_ks,
    measure_total_variation,
    measure_variance_ratio,
)
from mavera.evaluation.survey_panel import Group, count_people, list_contrasts, list_groups
from mavera.personas.persona import Persona

Cast = Mapping[Group, Sequence[Persona]]

PERSONAS, NO_PERSONA, UNIFORM, MODE, HALVES = "personas", "no_persona", "uniform", "mode", "halves"
SOURCES = (PERSONAS, NO_PERSONA, UNIFORM, MODE, HALVES)


@dataclass(frozen=True, slots=True)
class SegmentDifference:
    """
    A significant difference between two segments of people, and what the personas show.

    `simulated` is None if one of the segments has no answer of a persona.
    """

    contrast: str
    sign: int
    p_value: float
    simulated: float | None


@dataclass(frozen=True, slots=True)
class ItemReport:
    """
    The figures of an item, by source. `shares` has "people" too.

    `ks` and `variance_ratio` are empty for items without an order.
    """

    survey: str
    item: Item
    people: int
    shares: Mapping[str, Floats]
    total_variation: Mapping[str, float]
    ks: Mapping[str, float]
    variance_ratio: Mapping[str, float]
    differences: tuple[SegmentDifference, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """All items. `failures` are cells without an answer, with the reason; they are in no figure."""

    items: tuple[ItemReport, ...]
    failures: Mapping[str, str]

    @property
    def surveys(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(one.survey for one in self.items))

    def average(self, measure: str, source: str, survey: str | None = None) -> Mean:
        """Return the mean of `total_variation`, `ks` or `variance_ratio` of a source over items."""
        return average(
            [
                getattr(one, measure)[source]
                for one in self.items
                if source in getattr(one, measure) and survey in (None, one.survey)
            ]
        )

    def compare(self, source: str, other: str) -> Mean:
        """Return how much higher the total variation of `source` is, over items that both have."""
        return average(
            [
                one.total_variation[source] - one.total_variation[other]
                for one in self.items
                if {source, other} <= one.total_variation.keys()
            ]
        )

    def count_signs(self, survey: str | None = None, contrast: str | None = None) -> Share:
        """Return how many significant differences have the right sign. One of zero counts half."""
        return measure_direction(
            [
                (difference.simulated, difference.sign)
                for one in self.items
                if survey in (None, one.survey)
                for difference in one.differences
                if difference.simulated is not None and contrast in (None, difference.contrast)
            ]
        )

    def count_differences(self, survey: str | None = None) -> int:
        """Return how many differences between people are significant, simulated or not."""
        return sum(len(one.differences) for one in self.items if survey in (None, one.survey))


def limit_items(survey: Survey, most: int | None) -> Survey:
    """Return the survey with `most` of its items, spread evenly over the questionnaire."""
    count = len(survey.items)
    if most is None or most >= count:
        return survey
    kept = [number * count // most for number in range(most)]
    return replace(survey, items=tuple(survey.items[one] for one in kept), answers=survey.answers[:, kept])


def make_report(surveys: Sequence[Survey], simulation: Simulation, casts: Mapping[str, Cast]) -> Report:
    """Return the figures. With an empty simulation they are those of the people alone."""
    items = tuple(
        _report_item(survey, number, simulation, casts.get(survey.name, {}))
        for survey in surveys
        for number in range(len(survey.items))
    )
    failures = {
        f"{survey}, {item}, {persona or 'no persona'}": reason
        for (survey, item, persona), reason in simulation.failures.items()
    }
    return Report(items, failures)


def report_choices(
    survey: ChoiceSurvey, simulation: Simulation, personas: Sequence[Persona], most: int
) -> ChoiceReport:
    """Return the part-worths of the people beside those of the personas and of the model without one."""
    tasks = draw_tasks(survey, most)
    found: dict[str, dict[int, Floats]] = {PERSONAS: {}, NO_PERSONA: {}}
    for task in tasks:
        answers = [
            simulation.shares[survey.name, str(task), persona.id]
            for persona in personas
            if (survey.name, str(task), persona.id) in simulation.shares
        ]
        if answers:
            found[PERSONAS][task] = np.mean(answers, axis=0)
        alone = simulation.shares.get((survey.name, str(task), None))
        if alone is not None:
            found[NO_PERSONA][task] = alone
    return compare_choices(survey, tasks, found)


def describe_choices(report: ChoiceReport) -> dict[str, Any]:
    """Return a report of part-worths as a value for JSON."""
    return {
        "tasks": report.tasks,
        "parameters": report.parameters,
        "worths": {source: [_round(float(one)) for one in found] for source, found in report.worths.items()},
        "errors": [_round(float(one)) for one in report.errors],
        "correlation": {
            PERSONAS: _round_known(report.correlate(PERSONAS)),
            NO_PERSONA: _round_known(report.correlate(NO_PERSONA)),
            HALVES: _round_known(report.halves),
        },
        "signs": {source: _describe_share(report.count_signs(source)) for source in (PERSONAS, NO_PERSONA)},
        "failures": dict(report.failures),
    }


def _report_item(survey: Survey, number: int, simulation: Simulation, cast: Cast) -> ItemReport:
    item = survey.items[number]
    counts = _count(survey, number)
    people = counts / max(1, counts.sum())
    shares: dict[str, Floats] = {UNIFORM: make_uniform(len(people)), MODE: make_mode(people)}
    mixed = mix(survey, item, simulation, cast, list_groups(survey))
    if mixed is not None:
        shares[PERSONAS] = mixed
    alone = simulation.shares.get((survey.name, item.id, None))
    if alone is not None:
        shares[NO_PERSONA] = alone
    variation = {name: measure_total_variation(one, people) for name, one in shares.items()}
    is_scale = item.ordered and len(people) > 2
    return ItemReport(
        survey=survey.name,
        item=item,
        people=int(counts.sum()),
        shares={"people": people, **shares},
        total_variation={**variation, HALVES: measure_halves(counts)},
        ks={name: measure_ks(one, people) for name, one in shares.items()} if is_scale else {},
        variance_ratio=(
            {name: measure_variance_ratio(one, people) for name, one in shares.items()} if is_scale else {}
        ),
        differences=tuple(_list_differences(survey, number, simulation, cast)),
    )


def _list_differences(
    survey: Survey, number: int, simulation: Simulation, cast: Cast
) -> Iterable[SegmentDifference]:
    item = survey.items[number]
    for contrast in list_contrasts(survey):
        difference = find_difference(
            _count(survey, number, contrast.first),
            _count(survey, number, contrast.second),
            ordered=item.ordered,
        )
        if difference is None or not difference.is_significant or not difference.sign:
            continue
        first, second = (
            mix(survey, item, simulation, cast, side) for side in (contrast.first, contrast.second)
        )
        gap = None if first is None or second is None else compare_groups(difference, first, second)
        yield SegmentDifference(contrast.name, difference.sign, difference.p_value, gap)


def mix(
    survey: Survey, item: Item, simulation: Simulation, cast: Cast, groups: Iterable[Group]
) -> Floats | None:
    """
    Return the mixture of the personas of `groups`, weighted by the people of each group.

    Returns None if no persona of these groups answered.
    """
    people = count_people(survey)
    total = np.zeros(len(item.options))
    for group in groups:
        answers = [
            simulation.shares[survey.name, item.id, persona.id]
            for persona in cast.get(group, ())
            if (survey.name, item.id, persona.id) in simulation.shares
        ]
        if answers:
            total += people[group] * np.mean(answers, axis=0)
    return total / total.sum() if total.sum() > 0 else None


def _count(survey: Survey, number: int, groups: Iterable[Group] | None = None) -> Counts:
    """Return how many people gave each option: all of them, or those of `groups`."""
    answers = survey.answers[:, number]
    asked = answers >= 0
    if groups is not None:
        member = np.zeros(len(answers), dtype=bool)
        for age, gender in groups:
            member |= (survey.ages == age) & (survey.genders == gender)
        asked &= member
    return count_answers(answers[asked], len(survey.items[number].options))


def describe(report: Report) -> dict[str, Any]:
    """Return the report as a value for JSON."""
    return {
        "items": len(report.items),
        **{
            measure: {source: _describe_mean(report.average(measure, source)) for source in SOURCES}
            for measure in ("total_variation", "ks", "variance_ratio")
        },
        "compared": {
            f"{PERSONAS} - {other}": _describe_mean(report.compare(PERSONAS, other))
            for other in (UNIFORM, NO_PERSONA)
        },
        "signs": _describe_signs(report),
        "surveys": {
            survey: {
                "total_variation": {
                    source: _describe_mean(report.average("total_variation", source, survey))
                    for source in SOURCES
                },
                "signs": _describe_share(report.count_signs(survey)),
                "significant": report.count_differences(survey),
            }
            for survey in report.surveys
        },
        "by_item": [_describe_item(one) for one in report.items],
        "failures": dict(report.failures),
    }


def _describe_signs(report: Report) -> dict[str, Any]:
    everything = report.count_signs()
    over_surveys = average_surveys({survey: report.count_signs(survey) for survey in report.surveys})
    return {
        **_describe_share(everything),
        "significant": report.count_differences(),
        "needed_above_half": count_needed_hits(everything.cases),
        "over_surveys": _describe_mean(over_surveys) if over_surveys is not None else None,
        "by_contrast": {
            contrast: _describe_share(report.count_signs(contrast=contrast)) for contrast in ("age", "gender")
        },
    }


def _describe_item(one: ItemReport) -> dict[str, Any]:
    return {
        "survey": one.survey,
        "id": one.item.id,
        "text": one.item.text,
        "options": one.item.options,
        "ordered": one.item.ordered,
        "people": one.people,
        "shares": {name: [round(float(share), 4) for share in found] for name, found in one.shares.items()},
        "total_variation": {name: _round(value) for name, value in one.total_variation.items()},
        "differences": [
            {
                "contrast": difference.contrast,
                "sign": difference.sign,
                "p_value": difference.p_value,
                "simulated": None if difference.simulated is None else round(difference.simulated, 4),
            }
            for difference in one.differences
        ],
    }


def _describe_mean(mean: Mean) -> dict[str, Any] | None:
    if not mean.cases:
        return None
    return {"mean": _round(mean.value), "interval": list(map(_round, mean.interval)), "items": mean.cases}


def _describe_share(share: Share) -> dict[str, Any]:
    return {
        "right": share.hits,
        "cases": share.cases,
        "share": _round(share.value) if share.cases else None,
        "interval": list(map(_round, share.interval)) if share.cases else None,
    }


def _round(value: float) -> float:
    return round(value, 4)


def _round_known(value: float) -> float | None:
    return None if math.isnan(value) else _round(value)
