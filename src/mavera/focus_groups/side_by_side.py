"""
Compare studies: waves, models, or copies with a change.

    simulations  →  compare_simulations  →  Comparison: for each question that all have, figures and letters

Studies with the same personas are compared by a paired t test, as cells are. Studies with other personas
are compared by a t test with the variance pooled within studies. Questions are matched by id, type and
answers. Questions without a match are listed.
"""

from collections.abc import Sequence
from itertools import combinations

import msgspec
import numpy as np

from mavera.focus_groups.letters import assign_letters, find_paired_p, find_pooled_p, name_columns
from mavera.focus_groups.measures import Measure, list_parts
from mavera.focus_groups.mixtures import Floats
from mavera.focus_groups.simulation import Simulation
from mavera.focus_groups.study import Conjoint, OpenEnded, Question, type_of
from mavera.focus_groups.tabulate import measure_any

DIGITS = 6
STUDIES_MAX = 10


class ComparedStudy(msgspec.Struct):
    """A column of the comparison."""

    id: str
    name: str
    model: str
    letter: str
    created_at: int
    study_hash: str


class ComparedLine(msgspec.Struct):
    """A figure in each study. `letters` name the studies that it exceeds."""

    kind: str
    label: str
    values: list[float | None]
    letters: list[str]


class ComparedQuestion(msgspec.Struct, omit_defaults=True):
    """A question that all studies have, or a row of a matrix."""

    question_id: str
    type: str
    text: str
    lines: list[ComparedLine]
    row_id: str | None = None


class Comparison(msgspec.Struct):
    """Studies side by side. `test` is "paired" or "pooled"; `not_compared` has questions that differ."""

    studies: list[ComparedStudy]
    test: str
    questions: list[ComparedQuestion]
    not_compared: list[str]
    notices: list[str]
    object: str = "focus_group.comparison"
    synthetic: bool = True


def compare_simulations(simulations: Sequence[Simulation]) -> Comparison:
    """Return two to ten studies side by side. Raises ValueError for another number."""
    if not 2 <= len(simulations) <= STUDIES_MAX:
        raise ValueError(f"A comparison needs 2 to {STUDIES_MAX} studies, not {len(simulations)}.")
    names = name_columns(len(simulations))
    is_paired = len({frozenset(one.id for one in each.panel) for each in simulations}) == 1
    questions, left_out = [], []
    for question in simulations[0].study.questions:
        others = [_find_same(each, question) for each in simulations]
        if isinstance(question, OpenEnded) or any(one is None for one in others):
            left_out.append(question.id)
            continue
        for part in list_parts(question):
            questions.append(_compare_question(simulations, question, part, names, is_paired))
    first = {question.id for question in simulations[0].study.questions}
    for each in simulations[1:]:
        left_out += [one.id for one in each.study.questions if one.id not in first]
    return Comparison(
        studies=[
            ComparedStudy(
                each.id, each.study.name, each.method.model, name, each.created_at, each.method.study_hash
            )
            for each, name in zip(simulations, names, strict=True)
        ],
        test="paired" if is_paired else "pooled",
        questions=questions,
        not_compared=list(dict.fromkeys(left_out)),
        notices=list(dict.fromkeys(notice for each in simulations for notice in each.list_notices())),
    )


def _find_same(simulation: Simulation, question: Question) -> Question | None:
    """Return the question of a study that has the same id, type and answers. The texts may differ."""
    for one in simulation.study.questions:
        if one.id == question.id and type_of(one) == type_of(question) and _shape(one) == _shape(question):
            return one
    return None


def _shape(question: Question) -> object:
    members = msgspec.structs.asdict(question)
    kept = ("options", "rows", "items", "points", "multiple", "missing", "poles", "nets")
    shape = {name: members[name] for name in kept if name in members}
    if isinstance(question, Conjoint):
        shape["attributes"] = question.attributes
    return shape


def _compare_question(
    simulations: Sequence[Simulation],
    question: Question,
    part: str | None,
    names: Sequence[str],
    is_paired: bool,
) -> ComparedQuestion:
    found = []
    for each in simulations:
        own = _find_same(each, question)
        found.append(measure_any(each.grids, own, part) if own is not None else ())
    lines = [_compare_line(simulations, measures, names, is_paired) for measures in zip(*found, strict=False)]
    text = simulations[0].text_of(question)
    return ComparedQuestion(question.id, type_of(question), text, lines, part)


def _compare_line(
    simulations: Sequence[Simulation], measures: Sequence[Measure], names: Sequence[str], is_paired: bool
) -> ComparedLine:
    values = [one.estimate() for one in measures]
    letters = [""] * len(measures)
    if all(one.whole is None for one in measures):
        tests = _test_paired(simulations, measures) if is_paired else _test_pooled(measures)
        oriented = [
            None if value is None else -value if measures[0].kind == "rank" else value for value in values
        ]
        letters = assign_letters(oriented, tests, names)
    rounded = [None if value is None else round(value, DIGITS) for value in values]
    return ComparedLine(measures[0].kind, measures[0].label, rounded, letters)


def _test_paired(
    simulations: Sequence[Simulation], measures: Sequence[Measure]
) -> dict[tuple[int, int], float]:
    order = [one.id for one in simulations[0].panel]
    aligned: list[tuple[Floats, Floats]] = []
    for each, measure in zip(simulations, measures, strict=True):
        places = {one.id: at for at, one in enumerate(each.panel)}
        values, weights = measure.read_personas()
        at = [places[name] for name in order]
        aligned.append((values[at], weights[at]))
    tests = {}
    for a, b in combinations(range(len(aligned)), 2):
        p = find_paired_p(aligned[a][0], aligned[b][0], (aligned[a][1] + aligned[b][1]) / 2)
        if p is not None:
            tests[a, b] = p
    return tests


def _test_pooled(measures: Sequence[Measure]) -> dict[tuple[int, int], float]:
    columns = [one.read_personas() for one in measures]
    kept = [np.asarray(weights > 0) for _, weights in columns]
    return find_pooled_p(
        [values[own] for (values, _), own in zip(columns, kept, strict=True)],
        [weights[own] for (_, weights), own in zip(columns, kept, strict=True)],
    )
