"""
Read answers of real people from a CSV file, and combine them with the simulation.

    respondent,persona_id,q1,q2      or attributes: respondent,age,region,q1,q2
    1,cmwq…,Yes,4                    an empty cell is no answer

A column `persona_id`, or columns of attributes that lead to personas, say for which persona's answers each
person stands. Without them the simulation adds nothing, and the result says so. The people must be a random
sample of the audience.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from mavera.errors import ValidationFailed
from mavera.focus_groups.elicited import Book, CellId
from mavera.focus_groups.human import find_share_interval
from mavera.focus_groups.mixtures import Floats
from mavera.focus_groups.panel import Panel
from mavera.focus_groups.rectify import FEWEST_PEOPLE, rectify_means
from mavera.focus_groups.study import Matrix, Question, Scale, Study, has_scale, scale_of

MOST_PEOPLE = 20_000
_MOST_FAULTS = 10
_SIMULATION_ADDS_NOTHING = (
    "The file names no personas and no attributes that lead to one. The simulation adds nothing here."
)


class Person(msgspec.Struct, frozen=True):
    """One person: the personas that the person stands for, and the place of each answer on its scale."""

    personas: tuple[str, ...]
    answers: dict[str, int]


@dataclass(frozen=True, slots=True)
class Rectification:
    """A question's figure by the people alone, and together with the simulation."""

    question_id: str
    figure: str
    people: int
    people_estimate: float
    people_interval: tuple[float, float]
    estimate: float
    interval: tuple[float, float]
    share_of_simulation: float
    note: str | None = None


def read_people(study: Study, panel: Panel, text: str) -> tuple[Person, ...]:
    """Return the people of a CSV file. Raises ValidationFailed, which names lines and columns."""
    lines = csv.DictReader(io.StringIO(text.lstrip("\ufeff")))
    try:
        header = list(lines.fieldnames or ())
        rows = list(lines)
    except csv.Error as error:
        raise ValidationFailed(f"The answers are no CSV: {error}.", param="csv") from error
    questions = {one.id: one for one in study.questions if _can_read(one)}
    asked = [name for name in header if name in questions]
    if not asked:
        raise ValidationFailed(
            f"No column is named after a question that can be combined: {', '.join(questions) or 'none'}.",
            param="csv",
        )
    if len(rows) > MOST_PEOPLE:
        raise ValidationFailed(f"The file has more than {MOST_PEOPLE:,} people.", param="csv")
    faults: list[str] = []
    people = []
    for number, row in enumerate(rows, 2):
        answers = {}
        for name in asked:
            value = (row.get(name) or "").strip()
            if not value:
                continue
            place = find_place(scale_of(questions[name]), value)
            if place is None:
                allowed = ", ".join(scale_of(questions[name]).answers)
                faults.append(f"line {number}, {name}: '{value[:60]}' is none of {allowed}.")
            else:
                answers[name] = place
        people.append(Person(_find_personas(panel, row, number, faults), answers))
    if faults:
        more = f"\n… and {len(faults) - _MOST_FAULTS} more." if len(faults) > _MOST_FAULTS else ""
        raise ValidationFailed("\n".join(faults[:_MOST_FAULTS]) + more, param="csv")
    if len(people) < FEWEST_PEOPLE:
        raise ValidationFailed(f"At least {FEWEST_PEOPLE} people are needed.", param="csv")
    return tuple(people)


def find_place(scale: Scale, value: str) -> int | None:
    """Return the place of an answer on a scale, by its label or its number. None if it is none of them."""
    for place, label in enumerate(scale.answers):
        if label.casefold() == value.casefold():
            return place
    try:
        number = float(value)
    except ValueError:
        return None
    if scale.values is None or number not in scale.values:
        return None
    return scale.values.index(number)


def rectify_study(study: Study, panel: Panel, book: Book, people: Sequence[Person]) -> list[dict[str, Any]]:
    """Return the combined figures of each question that people answered."""
    found = []
    for question in study.questions:
        if not _can_read(question):
            continue
        answered = [one for one in people if question.id in one.answers]
        shares = _find_shares(question, panel, book)
        if len(answered) >= FEWEST_PEOPLE and shares:
            found += _rectify(question, panel, shares, answered)
    return [msgspec.to_builtins(one) for one in found]


def _rectify(
    question: Question, panel: Panel, shares: Mapping[str, Floats], people: Sequence[Person]
) -> list[Rectification]:
    scale = scale_of(question)
    quantities, names = _list_quantities(question, scale)
    answers = np.array([quantities[person.answers[question.id]] for person in people])
    known = all(person.personas for person in people)
    weights = {one.id: one.weight for one in panel if one.id in shares}
    total = sum(weights.values())
    mixture = sum(weights[name] / total * shares[name] for name in weights) @ quantities
    predictions = None
    if known:
        predictions = np.array([_predict(person, shares, weights) @ quantities for person in people])
    result = rectify_means(answers, predictions, mixture)
    note = None if known else _SIMULATION_ADDS_NOTHING
    return [
        Rectification(
            question.id,
            name,
            len(people),
            round(float(result.people[at]), 6),
            _interval_of_people(name, answers[:, at], result.people_low[at], result.people_high[at]),
            round(float(result.estimates[at]), 6),
            _cut(name, result.low[at], result.high[at]),
            round(result.share_of_simulation, 6),
            note,
        )
        for at, name in enumerate(names)
    ]


def _predict(person: Person, shares: Mapping[str, Floats], weights: Mapping[str, float]) -> Floats:
    mine = [name for name in person.personas if name in shares] or list(shares)
    total = sum(weights[name] for name in mine)
    return np.asarray(sum(weights[name] / total * shares[name] for name in mine))


def _list_quantities(question: Question, scale: Scale) -> tuple[Floats, list[str]]:
    """Return what is estimated of each answer: its share, and for scales the mean or the score."""
    labels = list(scale.answers)
    shares = np.eye(len(labels))
    if scale.values is None:
        return shares, labels
    if question.__struct_config__.tag == "nps":
        score = [100.0 if value >= 9 else -100.0 if value <= 6 else 0.0 for value in scale.values]
        values, name = [*score, *(0.0 for _ in scale.missing)], "score"
    else:
        values, name = [*scale.values, *(float("nan") for _ in scale.missing)], "mean"
        if scale.missing:
            return shares, labels
    return np.column_stack([np.array(values), shares]), [name, *labels]


def _interval_of_people(name: str, answers: Floats, low: float, high: float) -> tuple[float, float]:
    if name in ("score", "mean"):
        return round(float(low), 6), round(float(high), 6)
    bounds = find_share_interval(float(answers.mean()), len(answers))
    return round(bounds[0], 6), round(bounds[1], 6)


def _cut(name: str, low: float, high: float) -> tuple[float, float]:
    if name in ("score", "mean"):
        return round(float(low), 6), round(float(high), 6)
    return round(max(0.0, float(low)), 6), round(min(1.0, float(high)), 6)


def _find_shares(question: Question, panel: Panel, book: Book) -> dict[str, Floats]:
    """Return the distribution of each persona for a question that everybody is asked in the same way."""
    cells = {one.id: book.get(CellId(question.id, None, one.id, None)) for one in panel}
    return {name: np.asarray(cell.shares) for name, cell in cells.items() if cell is not None}


def _can_read(question: Question) -> bool:
    return has_scale(question) and not isinstance(question, Matrix)


def _find_personas(
    panel: Panel, row: Mapping[str, str | None], number: int, faults: list[str]
) -> tuple[str, ...]:
    named = (row.get("persona_id") or "").strip()
    if named:
        if named not in {one.id for one in panel}:
            faults.append(f"line {number}, persona_id: '{named[:60]}' is none of the study's personas.")
        return (named,)
    given = {
        name: value.strip()
        for name, value in row.items()
        if name and value and any(name in one.attributes for one in panel)
    }
    if not given:
        return ()
    return tuple(
        one.id
        for one in panel
        if all(one.attributes.get(name, "").casefold() == value.casefold() for name, value in given.items())
    )
