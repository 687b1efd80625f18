"""
Build banner tables: the measures of a question in rows, groups of the audience in columns.

    Total | persona A B C … | cell A B | age A B C | q1 A B C …
    base, answers, missing answers, nets, boxes, mean, deviation, score       value and letters in each

A letter means that a value is larger than the value of the column with this letter, by more than the spread
of personas explains. Between single personas, the spread of the two orders counts. Upper case is 95 %, lower
case 90 %, corrected by Holm's method in each row and banner. A banner by another question has no letters,
because its joint distribution is assumed. Only the bases, which count the rows of the file, depend on the
number of respondents.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from mavera.focus_groups.choices import measure_choices
from mavera.focus_groups.grids import Grids
from mavera.focus_groups.letters import (
    assign_letters,
    find_order_p,
    find_paired_p,
    find_pooled_p,
    name_columns,
    pool_order_variance,
)
from mavera.focus_groups.measures import Kind, Measure, list_parts, measure_question
from mavera.focus_groups.mixtures import Truths
from mavera.focus_groups.respondents import Respondents, Status
from mavera.focus_groups.shown_texts import show_text
from mavera.focus_groups.study import (
    Conjoint,
    Matrix,
    MaxDiff,
    MultipleChoice,
    OpenEnded,
    Question,
    Study,
    has_scale,
    scale_of,
    type_of,
)

TOTAL = "total"
PERSONA = "persona"
CELL = "cell"
MOST_COLUMNS = 26


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """
    A group of the audience. `variable` is its banner.

    `mask` selects its personas and arms. In a banner by another question, `mask` is None, and `rows` selects
    rows of the reference draw instead.
    """

    variable: str
    label: str
    letter: str
    base: int
    mask: Truths | None
    rows: Truths | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """A value of a table, or None without answers, and the letters of the columns that it exceeds."""

    value: float | None
    letters: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """A row of a table, with an entry for each column. `interval` is the simulation interval of the total."""

    kind: Kind
    label: str
    entries: tuple[Entry, ...]
    assumed: bool = False
    interval: tuple[float, float] | None = None

    @property
    def is_share(self) -> bool:
        """Whether the values are shares, which are shown as percentages."""
        return self.kind in ("answer", "missing", "net", "box", "place", "best", "worst", "level")


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """The banner table of a question, or of one row of a matrix."""

    question_id: str
    part: str | None
    title: str
    type: str
    columns: tuple[Column, ...]
    lines: tuple[Line, ...]


def tabulate_study(grids: Grids, completes: Respondents) -> tuple[Table, ...]:
    """
    Return a table for each closed question, with the banners of the study: persona unless it names others.
    """
    variances = {kind: pool_order_variance(gaps) for kind, gaps in _collect_gaps(grids).items()}
    tables = []
    for question in grids.study.questions:
        if isinstance(question, OpenEnded):
            continue
        for part in list_parts(question):
            measures = measure_any(grids, question, part)
            columns = list_columns(grids, question, completes)
            variance = variances.get(type_of(question))
            lines = tuple(_build_line(grids, question, part, one, columns, variance) for one in measures)
            tables.append(
                Table(
                    question.id, part, _title(grids.study, question, part), type_of(question), columns, lines
                )
            )
    return tuple(tables)


def measure_any(grids: Grids, question: Question, part: str | None) -> tuple[Measure, ...]:
    """Return the measures of a question of any type."""
    if isinstance(question, MaxDiff | Conjoint):
        return measure_choices(grids, question)
    return measure_question(grids, question, part)


def list_banners(study: Study) -> tuple[str, ...]:
    """Return the banners that a study names, or else persona, and cell if it has cells."""
    return study.banner or ((PERSONA, CELL) if study.cells else (PERSONA,))


def list_columns(grids: Grids, question: Question, completes: Respondents) -> tuple[Column, ...]:
    """Return the columns of a question's table: the total, then each banner with letters of its own."""
    answered = _find_answered(completes, question)
    everybody = np.ones((len(grids.panel), len(grids.arms)), dtype=bool)
    columns = [Column(TOTAL, "Total", "", int(answered.sum()), everybody)]
    for variable in list_banners(grids.study):
        columns += _list_banner(grids, variable, question, completes, answered)
    return tuple(columns)


def _list_banner(
    grids: Grids, variable: str, question: Question, completes: Respondents, answered: Truths
) -> list[Column]:
    shape = (len(grids.panel), len(grids.arms))
    if variable == PERSONA:
        groups = [(one.name, _mask(shape, persona=at)) for at, one in enumerate(grids.panel)]
    elif variable == CELL:
        groups = [(str(arm), _mask(shape, arm=at)) for at, arm in enumerate(grids.arms) if arm is not None]
    elif variable in {one.id for one in grids.study.questions}:
        return _list_answer_columns(grids, variable, question, completes, answered)
    else:
        groups = _list_attribute_groups(grids, variable)
    names = name_columns(len(groups))
    return [
        Column(
            variable,
            label,
            name,
            int((answered & mask[completes.panelist, completes.arm]).sum()),
            mask,
        )
        for (label, mask), name in zip(groups, names, strict=True)
    ]


def _mask(shape: tuple[int, int], persona: int | None = None, arm: int | None = None) -> Truths:
    mask = np.zeros(shape, dtype=bool)
    mask[slice(None) if persona is None else persona, slice(None) if arm is None else arm] = True
    return mask


def _list_attribute_groups(grids: Grids, variable: str) -> list[tuple[str, Truths]]:
    """Return a group for each value of an attribute, in the order of the study's targets, then by name."""
    values = [one.attributes.get(variable) for one in grids.panel]
    order = list(grids.study.sample.weights.get(variable, {}))
    known = sorted({value for value in values if value is not None})
    names = [value for value in order if value in known] + [value for value in known if value not in order]
    groups = []
    for name in names[:MOST_COLUMNS]:
        mask = np.zeros((len(grids.panel), len(grids.arms)), dtype=bool)
        mask[[value == name for value in values]] = True
        groups.append((name, mask))
    return groups


def _list_answer_columns(
    grids: Grids, variable: str, question: Question, completes: Respondents, answered: Truths
) -> list[Column]:
    by = next(one for one in grids.study.questions if one.id == variable)
    if by.id == question.id or not has_scale(by) or isinstance(by, Matrix):
        return []
    reference = grids.reference.completes
    return [
        Column(
            variable,
            label,
            "",
            int((answered & (completes.answers[by.id].choices == at)).sum()),
            None,
            reference.answers[by.id].choices == at,
        )
        for at, label in enumerate(scale_of(by).labels)
    ]


def _find_answered(completes: Respondents, question: Question) -> Truths:
    status = completes.answers[question.id].status
    return np.asarray((status == Status.ANSWERED) | (status == Status.MISSING))


def _title(study: Study, question: Question, part: str | None) -> str:
    if isinstance(question, Matrix) and part is not None:
        row = next(row.text for row in question.rows if row.id == part)
        return f"{show_text(study, question.text)} – {row}"
    return show_text(study, question.text)


def _collect_gaps(grids: Grids) -> dict[str, list[float]]:
    gaps: dict[str, list[float]] = {}
    for question in grids.study.questions:
        if isinstance(question, OpenEnded | MaxDiff | Conjoint):
            continue
        for part in list_parts(question):
            gaps.setdefault(type_of(question), []).extend(grids.grid(question, part).gaps)
    return gaps


def _build_line(
    grids: Grids,
    question: Question,
    part: str | None,
    measure: Measure,
    columns: Sequence[Column],
    variance: tuple[float, int] | None,
) -> Line:
    values = [
        measure.estimate(column.mask)
        if column.mask is not None
        else _count_reference(grids, question, part, measure, column)
        for column in columns
    ]
    letters = [""] * len(columns)
    for variable in dict.fromkeys(column.variable for column in columns):
        places = [
            at for at, column in enumerate(columns) if column.variable == variable and column.mask is not None
        ]
        if variable == TOTAL or len(places) < 2 or measure.whole is not None:
            continue
        group = [columns[at] for at in places]
        p_values = _test_columns(measure, variable, group, [values[at] for at in places], variance)
        found = assign_letters(
            _orient(measure, [values[at] for at in places]), p_values, [column.letter for column in group]
        )
        for at, some in zip(places, found, strict=True):
            letters[at] = some
    entries = tuple(Entry(value, some) for value, some in zip(values, letters, strict=True))
    return Line(measure.kind, measure.label, entries, measure.assumed, measure.find_interval())


def _orient(measure: Measure, values: Sequence[float | None]) -> list[float | None]:
    """Return values whose larger ones get letters. Ranks are negated, because a rank of 1 is the best."""
    if measure.kind != "rank":
        return list(values)
    return [None if value is None else -value for value in values]


def _test_columns(
    measure: Measure,
    variable: str,
    columns: Sequence[Column],
    values: Sequence[float | None],
    variance: tuple[float, int] | None,
) -> dict[tuple[int, int], float]:
    if variable == PERSONA:
        return _test_single_personas(measure, values, variance)
    personas = [measure.read_personas(column.mask) for column in columns]
    if variable == CELL:
        tests = {}
        for a, b in combinations(range(len(columns)), 2):
            weights = (personas[a][1] + personas[b][1]) / 2
            p = find_paired_p(personas[a][0], personas[b][0], weights)
            if p is not None:
                tests[a, b] = p
        return tests
    kept = [(value[weight > 0], weight[weight > 0]) for value, weight in personas]
    return find_pooled_p([value for value, _ in kept], [weight for _, weight in kept])


def _test_single_personas(
    measure: Measure, values: Sequence[float | None], variance: tuple[float, int] | None
) -> dict[tuple[int, int], float]:
    """
    Compare single personas by the spread of the two orders.

    If all log-odds move by at most g, the logit of any sum of shares also moves by at most g. So does the
    logit of a mean or a score scaled to 0 … 1, because it is a mean of such sums. One spread serves them all.
    """
    if variance is None:
        return {}
    width = measure.high - measure.low
    scaled = [None if value is None else (value - measure.low) / width for value in values]
    return {
        (a, b): find_order_p(first, second, *variance)
        for (a, first), (b, second) in combinations(enumerate(scaled), 2)
        if first is not None and second is not None
    }


def _count_reference(
    grids: Grids, question: Question, part: str | None, measure: Measure, column: Column
) -> float | None:
    """Return the measure over a column's rows of the reference draw, each with its weight."""
    reference = grids.reference.completes
    answers = reference.answers[question.id]
    rows = column.rows & (answers.status == Status.ANSWERED) if column.rows is not None else None
    if rows is None or not rows.any():
        return None
    weights = grids.weigh_personas(question)[reference.panelist, reference.arm] * rows
    indicator = _read_indicator(question, part, measure, answers.choices)
    if indicator is None or not weights.sum() > 0:
        return None
    known = ~np.isnan(indicator)
    total = float(weights[known].sum())
    return float((weights[known] * indicator[known]).sum() / total) if total > 0 else None


def _read_indicator(question: Question, part: str | None, measure: Measure, choices: Truths) -> Truths | None:
    """Return the value of a measure for each row: 1 or 0, a point of the scale, or NaN."""
    if isinstance(question, MultipleChoice) and question.multiple:
        texts = [option.text for option in question.options]
        if measure.kind == "answer":
            return np.asarray(choices[:, texts.index(measure.label)], dtype=np.float64)
        if measure.kind == "net":
            places = [texts.index(option) for option in question.nets[measure.label]]
            return np.asarray(choices[:, places].any(axis=1), dtype=np.float64)
        return np.asarray(choices.sum(axis=1), dtype=np.float64)
    if not has_scale(question) or measure.whole is not None:
        return None
    if isinstance(question, Matrix):
        choices = choices[:, [row.id for row in question.rows].index(part or "")]
    scale = scale_of(question)
    # A measure of a scale is linear in shares, so its value for one answer is its value for a share of 1.
    if measure.compute is None:
        return None
    with np.errstate(invalid="ignore", divide="ignore"):
        table = measure.compute(np.eye(len(scale.answers)))
    return np.where(choices >= 0, table[np.maximum(choices, 0)], np.nan)
