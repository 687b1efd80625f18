"""
Combine the answers of real people with the simulation of a study.

    CSV: persona or attributes, cell, answers by question
        →  read_human_answers  →  HumanAnswers, or a list of faults
    Simulation + HumanAnswers
        →  rectify_study       →  HumanResult × n

Every question has three estimates: from the simulation, from the people alone with a classical interval and
their true number, and from both (`rectify.py`). The prediction for a line comes from the persona that it
names, or from the personas with its attributes. Without such columns the simulation adds nothing, and the
result says so.

The people must be a random sample of the audience. A file cannot show this, so the caller has to state it.
"""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from mavera.core.text import format_count
from mavera.focus_groups.exports.variables import list_codes
from mavera.focus_groups.human import find_nps_interval, find_share_interval, has_small_base
from mavera.focus_groups.measures import Measure, measure_question
from mavera.focus_groups.mixtures import DETRACTOR_UP_TO, PROMOTER_FROM, Floats
from mavera.focus_groups.rectify import FEWEST_PEOPLE, count_effective_people, rectify_means
from mavera.focus_groups.simulation import Simulation
from mavera.focus_groups.study import NPS, Matrix, MultipleChoice, Question, has_scale, scale_of

PEOPLE_MAX = 20_000
FAULTS_SHOWN = 20
DIGITS = 6
ADDS_NOTHING = "The file names no personas or attributes, so the simulation added nothing."

Range = tuple[float, float]


class HumanAnswersError(ValueError):
    """A file of answers that does not fit the study. The message lists up to twenty faults."""


@dataclass(frozen=True, slots=True, eq=False)
class HumanAnswers:
    """
    The answers of people. `columns` has the index of each person's answer by question and part, or −1.

    A question with several answers has a row of 0 and 1 for each person, or of NaN without an answer.
    `personas` has the indexes of the personas that predict each person. It is None if the file names none.
    """

    people: int
    columns: Mapping[tuple[str, str | None], Floats]
    personas: tuple[tuple[int, ...], ...] | None
    arms: tuple[int | None, ...]


class HumanFigure(msgspec.Struct, omit_defaults=True):
    """
    A figure from the simulation, from the people alone, and from both, with intervals of the last two.

    `kind` is "answer" or "missing" for a share from 0 to 1, "mean", or "score" for a net promoter score.
    """

    kind: str
    label: str
    simulation: float | None
    people: float
    people_interval: Range
    rectified: float
    rectified_interval: Range


class HumanResult(msgspec.Struct, omit_defaults=True):
    """
    The figures of a question or of a row of a matrix.

    `share_of_simulation` is λ from 0 to 1: how well the simulation predicted these people. If it is 0,
    `notice` says why.
    """

    question_id: str
    people: int
    share_of_simulation: float
    figures: list[HumanFigure]
    small_base: bool
    row_id: str | None = None
    notice: str | None = None


def read_human_answers(simulation: Simulation, text: str) -> HumanAnswers:
    """Return the answers of a CSV file. Raises HumanAnswersError."""
    lines = _read_lines(text)
    header, rows = [name.strip() for name in lines[0]], lines[1:]
    if len(rows) < FEWEST_PEOPLE or len(rows) > PEOPLE_MAX:
        people = format_count(len(rows), "person", "people")
        raise HumanAnswersError(f"The file has {people}. Give {FEWEST_PEOPLE} to {PEOPLE_MAX:,}.")
    faults: list[str] = []
    table = {
        name: [row[at].strip() if at < len(row) else "" for row in rows] for at, name in enumerate(header)
    }
    columns = dict(_read_questions(simulation, table, faults))
    known = {*_list_known(simulation), *(name for one in simulation.panel for name in one.attributes)}
    for name in header:
        if name and name not in known and not name.endswith("_status"):
            faults.append(f"The column '{name}' is not a question, attribute, persona or cell of this study.")
    personas = _read_personas(simulation, table, faults)
    arms = _read_arms(simulation, table, faults)
    if not columns and not faults:
        faults.append(
            "No column has the answers to a question. Name columns by question ids, as in the codebook."
        )
    if faults:
        more = f"\n… and {len(faults) - FAULTS_SHOWN} more." if len(faults) > FAULTS_SHOWN else ""
        raise HumanAnswersError("\n".join(faults[:FAULTS_SHOWN]) + more)
    return HumanAnswers(len(rows), columns, personas, arms)


def rectify_study(simulation: Simulation, answers: HumanAnswers) -> list[HumanResult]:
    """Return the figures of every question that at least three people answered."""
    results = []
    for question in simulation.study.questions:
        parts = [row.id for row in question.rows] if isinstance(question, Matrix) else [None]
        for part in parts:
            column = answers.columns.get((question.id, part))
            if column is not None:
                result = _rectify(simulation, question, part, column, answers)
                if result is not None:
                    results.append(result)
    return results


def _read_lines(text: str) -> list[list[str]]:
    try:
        dialect = csv.Sniffer().sniff(text.partition("\n")[0], delimiters=",;\t")
    except csv.Error:
        dialect = csv.excel
    try:
        reader = csv.reader(io.StringIO(text.removeprefix("\ufeff")), dialect)
        lines = [line for line in reader if any(cell.strip() for cell in line)]
    except csv.Error as error:
        raise HumanAnswersError(f"The file is not CSV: {error}.") from error
    if not lines:
        raise HumanAnswersError("The file is empty. Begin with a line of column names.")
    return lines


def _list_known(simulation: Simulation) -> Iterator[str]:
    yield from ("respondent_id", "synthetic", "persona", "persona_id", "persona_version", "cell", "weight")
    for question in simulation.study.questions:
        yield question.id
        match question:
            case Matrix():
                yield from (f"{question.id}{mark}{row.id}" for row in question.rows for mark in "_.")
            case MultipleChoice(multiple=True):
                yield from (f"{question.id}_{at}" for at in range(1, len(question.options) + 1))


def _read_questions(
    simulation: Simulation, table: Mapping[str, list[str]], faults: list[str]
) -> Iterator[tuple[tuple[str, str | None], Floats]]:
    for question in simulation.study.questions:
        match question:
            case Matrix():
                for row in question.rows:
                    name = f"{question.id}_{row.id}"
                    name = name if name in table else f"{question.id}.{row.id}"
                    if name in table:
                        yield (question.id, row.id), _read_scale(question, name, table[name], faults)
            case MultipleChoice(multiple=True):
                ticks = _read_ticks(question, table, faults)
                if ticks is not None:
                    yield (question.id, None), ticks
            case _ if question.id in table:
                if has_scale(question):
                    yield (question.id, None), _read_scale(question, question.id, table[question.id], faults)
                else:
                    faults.append(f"The column '{question.id}' cannot be used because of its type.")


def _read_scale(question: Question, name: str, cells: Sequence[str], faults: list[str]) -> Floats:
    """Return the index of each answer. The file has its code, its number or its label."""
    codes = list_codes(question)
    places = {code.label.casefold(): at for at, code in enumerate(codes)}
    places |= {str(code.number): at for at, code in enumerate(codes)}
    found = []
    for line, cell in enumerate(cells, 2):
        key = cell.casefold().removesuffix(".0")
        if key and key not in places:
            faults.append(
                f"Line {line}, {name}: '{cell[:60]}' is not an answer. {_list_some(codes[0].label, codes)}"
            )
        found.append(places.get(key, -1))
    return np.array(found)


def _list_some(first: str, codes: Sequence[object]) -> str:
    return f"The codebook lists {format_count(len(codes), 'answer')}, from '{first}' on."


def _read_ticks(question: MultipleChoice, table: Mapping[str, list[str]], faults: list[str]) -> Floats | None:
    """Return ticks from a column for each option, or from one column of labels separated by "|"."""
    names = [f"{question.id}_{at}" for at in range(1, len(question.options) + 1)]
    texts = [option.text.casefold() for option in question.options]
    if all(name in table for name in names):
        columns = []
        for name in names:
            marks = {"1": 1.0, "0": 0.0, "yes": 1.0, "no": 0.0, "": np.nan, "1.0": 1.0, "0.0": 0.0}
            for line, cell in enumerate(table[name], 2):
                if cell.casefold() not in marks:
                    faults.append(f"Line {line}, {name}: '{cell[:60]}' is neither 0 nor 1.")
            columns.append([marks.get(cell.casefold(), np.nan) for cell in table[name]])
        return np.array(columns).T
    given = [name for name in names if name in table]
    if given:
        missing = next(name for name in names if name not in table)
        faults.append(
            f"The column '{missing}' is missing. '{question.id}' needs a column for each of its "
            f"{len(names)} options, or one column '{question.id}'."
        )
        return None
    if question.id not in table:
        return None
    rows = []
    for line, cell in enumerate(table[question.id], 2):
        ticked = [one.strip().casefold() for one in cell.split("|") if one.strip()]
        faults += [
            f"Line {line}, {question.id}: '{one[:60]}' is not an option."
            for one in ticked
            if one not in texts
        ]
        rows.append([float(text in ticked) if ticked else np.nan for text in texts])
    return np.array(rows)


def _read_personas(
    simulation: Simulation, table: Mapping[str, list[str]], faults: list[str]
) -> tuple[tuple[int, ...], ...] | None:
    """Return the personas that predict each person: the named one, or else those with the same attributes."""
    panel = simulation.panel
    column = next((name for name in ("persona_id", "persona") if name in table), None)
    if column is not None:
        places = {one.name.casefold(): at for at, one in enumerate(panel)}
        places |= {str(at + 1): at for at in range(len(panel))}
        places |= {one.id.casefold(): at for at, one in enumerate(panel)}
        found = []
        for line, cell in enumerate(table[column], 2):
            if cell and cell.casefold() not in places:
                faults.append(f"Line {line}, {column}: '{cell[:60]}' is not a persona of this study.")
            found.append((places[cell.casefold()],) if cell.casefold() in places else ())
        return tuple(found)
    names = [name for name in table if any(name in one.attributes for one in panel)]
    if not names:
        return None
    matches: list[tuple[int, ...]] = []
    for cells in zip(*(table[name] for name in names), strict=True):
        given = {name: value.casefold() for name, value in zip(names, cells, strict=True) if value}
        matches.append(
            tuple(
                at
                for at, one in enumerate(panel)
                if all(one.attributes.get(name, "").casefold() == value for name, value in given.items())
            )
        )
    return tuple(matches)


def _read_arms(
    simulation: Simulation, table: Mapping[str, list[str]], faults: list[str]
) -> tuple[int | None, ...]:
    count = len(next(iter(table.values())))
    if "cell" not in table or not simulation.study.cells:
        return (None,) * count
    places = {arm.id.casefold(): at for at, arm in enumerate(simulation.study.cells)}
    places |= {str(at + 1): at for at in range(len(simulation.study.cells))}
    found = []
    for line, cell in enumerate(table["cell"], 2):
        if cell and cell.casefold() not in places:
            faults.append(f"Line {line}, cell: '{cell[:60]}' is not a cell of this study.")
        found.append(places.get(cell.casefold()))
    return tuple(found)


def _rectify(
    simulation: Simulation, question: Question, part: str | None, column: Floats, answers: HumanAnswers
) -> HumanResult | None:
    kept = ~np.isnan(column).any(axis=1) if column.ndim == 2 else column >= 0
    rows = np.flatnonzero(kept)
    if len(rows) < FEWEST_PEOPLE:
        return None
    measures = [one for one in measure_question(simulation.grids, question, part) if one.whole is None]
    shares = [one for one in measures if one.kind in ("answer", "missing")]
    given = column[rows] if column.ndim == 2 else np.eye(len(shares))[column[rows].astype(int)]
    figures, share = _rectify_shares(shares, given, rows, answers)
    numbers = [one for one in measures if one.kind in ("score", "mean") and has_scale(question)]
    for one in numbers:
        values = _read_values(question, one)
        chosen = column[rows].astype(int)
        valid = chosen < len(values)
        if valid.sum() >= FEWEST_PEOPLE:
            figures.append(_rectify_number(one, values, values[chosen[valid]], rows[valid], answers))
    notice = ADDS_NOTHING if answers.personas is None else None
    return HumanResult(
        question_id=question.id,
        row_id=part,
        people=len(rows),
        share_of_simulation=round(share, 4),
        figures=figures,
        small_base=has_small_base(len(rows)),
        notice=notice,
    )


def _read_values(question: Question, measure: Measure) -> Floats:
    """Return the contribution of each answer of a scale to its mean, or to its score."""
    if measure.kind == "score" and isinstance(question, NPS):
        points = np.arange(11)
        return np.where(points >= PROMOTER_FROM, 100.0, np.where(points <= DETRACTOR_UP_TO, -100.0, 0.0))
    return np.array(scale_of(question).values)


def _predict(measure: Measure, rows: Floats, answers: HumanAnswers) -> Floats | None:
    """Return the simulation's prediction for each person. A person without a persona gets the mixture."""
    if answers.personas is None:
        return None
    overall = measure.estimate() or 0.0
    found = []
    for row in rows:
        mask = np.zeros(measure.weights.shape, dtype=bool)
        arm = answers.arms[row]
        mask[list(answers.personas[row]), slice(None) if arm is None else arm] = True
        value = measure.estimate(mask) if mask.any() else None
        found.append(overall if value is None else value)
    return np.array(found)


def _rectify_shares(
    measures: Sequence[Measure], given: Floats, rows: Floats, answers: HumanAnswers
) -> tuple[list[HumanFigure], float]:
    predicted = [_predict(one, rows, answers) for one in measures]
    known = [one for one in predicted if one is not None]
    predictions = np.array(known).T if len(known) == len(measures) else None
    mixture = np.array([one.estimate() or 0.0 for one in measures])
    found = rectify_means(given, predictions, mixture)
    effective = count_effective_people(found)
    figures = []
    for at, one in enumerate(measures):
        share = float(found.people[at])
        both = min(max(float(found.estimates[at]), 0.0), 1.0)
        figures.append(
            HumanFigure(
                one.kind,
                one.label,
                _round(one.estimate()),
                round(share, DIGITS),
                _round_range(find_share_interval(share, len(given))),
                round(both, DIGITS),
                _round_range(find_share_interval(both, float(effective[at]))),
            )
        )
    return figures, found.share_of_simulation


def _rectify_number(
    measure: Measure, scale: Floats, values: Floats, rows: Floats, answers: HumanAnswers
) -> HumanFigure:
    predictions = _predict(measure, rows, answers)
    found = rectify_means(
        values[:, None],
        None if predictions is None else predictions[:, None],
        np.array([measure.estimate() or 0.0]),
    )
    own = (float(found.people_low[0]), float(found.people_high[0]))
    if measure.kind == "score":
        own = find_nps_interval(float((values > 0).mean()), float((values < 0).mean()), len(values))
    elif own[0] == own[1]:
        own = _widen_equal(float(values[0]), len(values), scale)
    both = (float(found.low[0]), float(found.high[0])) if found.share_of_simulation else own
    ends = (max(both[0], measure.low), min(both[1], measure.high))
    return HumanFigure(
        measure.kind,
        measure.label,
        _round(measure.estimate()),
        round(float(found.people[0]), DIGITS),
        _round_range((max(own[0], measure.low), min(own[1], measure.high))),
        round(min(max(float(found.estimates[0]), measure.low), measure.high), DIGITS),
        _round_range(ends),
    )


def _widen_equal(value: float, people: int, scale: Floats) -> Range:
    """
    Return an interval of a mean of equal answers, which have no variance.

    As many others as Wilson's interval of 0 allows may have chosen the next point of the scale.
    """
    step = float(np.abs(scale[scale != value] - value).min(initial=np.inf))
    reach = find_share_interval(0.0, people)[1] * (step if np.isfinite(step) else 0.0)
    return value - reach, value + reach


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, DIGITS)


def _round_range(span: Range) -> Range:
    return round(span[0], DIGITS), round(span[1], DIGITS)
