"""
Flatten respondents into variables, as data files need them: one column each, with codes and labels.

    q1   nps, likert, rating, slider, …   the number; missing answers have codes of their own, from 99 down
    q3   several answers                  q3_1 … q3_n, 1 or 0, one for each option
    q4   matrix                           q4_ROW
    q5   ranking                          q5_1 … q5_n, the rank of each item
    q6   maxdiff                          q6_1_best, q6_1_worst … the number of the item, for each set
    q7   conjoint                         q7_1 …, the number of the alternative in each task
    q8   open ended                       the text

Names are valid in SPSS, and unique whatever their case. A row without an answer has no value; `status` says
why.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from mavera.focus_groups.designs import list_sets, list_tasks
from mavera.focus_groups.mixtures import Floats
from mavera.focus_groups.respondents import Answers, Status
from mavera.focus_groups.shown_texts import describe_cells, show_question
from mavera.focus_groups.simulation import SYNTHETIC, Simulation
from mavera.focus_groups.study import (
    Conjoint,
    Matrix,
    MaxDiff,
    MultipleChoice,
    OpenEnded,
    Question,
    Ranking,
    Scale,
    Slider,
    scale_of,
    type_of,
)

VariableKind = Literal["single", "tick", "number", "text"]

_RESERVED = frozenset({"ALL", "AND", "BY", "EQ", "GE", "GT", "LE", "LT", "NE", "NOT", "OR", "TO", "WITH"})
_NAME_LENGTH = 60
# Missing answers get the last codes below this, or below ten times as much on longer lists.
_MISSING_BELOW = 100
# A longer description of a cell stands in the method sheet only. SPSS cuts value labels at 120 bytes.
_LONGEST_ARM = 60


@dataclass(frozen=True, slots=True)
class Code:
    """An answer of a list: its number in files, its label, and whether it is user-missing."""

    number: int
    label: str
    is_missing: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Variable:
    """
    A column of a data file.

    `values` are numbers with NaN for no value, or texts. `group` names the question that the variable is a
    part of, None if it stands alone. `places` are the decimals that a number needs.
    """

    name: str
    label: str
    kind: VariableKind
    values: Any
    codes: tuple[Code, ...] = ()
    group: str | None = None
    places: int = 0
    question: Question | None = None


@dataclass(frozen=True, slots=True, eq=False)
class QuestionStatus:
    """How each respondent came by an answer to a question."""

    question_id: str
    status: Floats


def list_variables(simulation: Simulation) -> tuple[Variable, ...]:
    """Return the variables of a study: who answered, with which weight, then the questions in order."""
    names = _Names()
    found = list(_list_head(simulation, names))
    for question in simulation.study.questions:
        found += _list_question(simulation, show_question(simulation.study, question), names)
    return tuple(found)


def list_statuses(simulation: Simulation) -> tuple[QuestionStatus, ...]:
    """Return for each question how each respondent came by an answer."""
    answers = simulation.draw.completes.answers
    return tuple(
        QuestionStatus(question.id, answers[question.id].status) for question in simulation.study.questions
    )


class _Names:
    """Hands out names that are valid in SPSS and unique whatever their case."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def take(self, wanted: str) -> str:
        base = re.sub(r"[^A-Za-z0-9_]", "_", wanted)[:_NAME_LENGTH].rstrip("_") or "v"
        if not base[0].isalpha():
            base = f"v{base}"
        if base.upper() in _RESERVED:
            base = f"{base}_"
        name, number = base, 2
        while name.upper() in self._taken:
            name, number = f"{base[: _NAME_LENGTH - 5]}_{number}", number + 1
        self._taken.add(name.upper())
        return name


def _list_head(simulation: Simulation, names: _Names) -> Iterator[Variable]:
    rows = simulation.draw.completes
    count = len(rows)
    panel, study = simulation.panel, simulation.study
    yield Variable(names.take("respondent_id"), "Respondent", "number", np.arange(1.0, count + 1))
    yield Variable(
        names.take("synthetic"), SYNTHETIC, "single", np.ones(count), (Code(1, "Simulated answer"),)
    )
    personas = tuple(Code(at, one.name) for at, one in enumerate(panel, 1))
    yield Variable(names.take("persona"), "Persona", "single", rows.panelist + 1.0, personas)
    yield _take_texts(names, "persona_id", "Id of the persona", [panel[at].id for at in rows.panelist])
    versions = np.array([panel[at].version for at in rows.panelist], dtype=np.float64)
    yield Variable(names.take("persona_version"), "Version of the persona", "number", versions)
    if study.cells:
        described = describe_cells(study)
        arms = tuple(Code(at, _label_arm(arm.id, described[arm.id])) for at, arm in enumerate(study.cells, 1))
        yield Variable(names.take("cell"), "Monadic cell", "single", rows.arm + 1.0, arms)
    yield Variable(names.take("weight"), "Case weight", "number", simulation.case_weights, places=6)
    for name in dict.fromkeys(name for one in panel for name in one.attributes):
        known = list(dict.fromkeys(one.attributes[name] for one in panel if name in one.attributes))
        codes = tuple(Code(at, value) for at, value in enumerate(sorted(known), 1))
        places = {code.label: float(code.number) for code in codes}
        values = [places.get(panel[at].attributes.get(name, ""), np.nan) for at in rows.panelist]
        yield Variable(names.take(name), f"Attribute: {name}", "single", np.array(values), codes)


def _label_arm(name: str, described: str) -> str:
    return f"{name} ({described})" if described and len(described) <= _LONGEST_ARM else name


def _take_texts(names: _Names, name: str, label: str, texts: Sequence[str]) -> Variable:
    return Variable(names.take(name), label, "text", list(texts))


def _list_question(simulation: Simulation, question: Question, names: _Names) -> Iterator[Variable]:
    answers = simulation.draw.completes.answers[question.id]
    match question:
        case MultipleChoice(multiple=True):
            yield from _list_ticks(question, answers, names)
        case Matrix():
            scale = scale_of(question)
            for at, row in enumerate(question.rows):
                values, codes = _read_scale(scale, answers.choices[:, at])
                label = f"{question.text} – {row.text}"
                yield Variable(
                    names.take(f"{question.id}_{row.id}"),
                    label,
                    "single",
                    values,
                    codes,
                    question.id,
                    question=question,
                )
        case Ranking():
            yield from _list_ranks(question, answers, names)
        case MaxDiff():
            yield from _list_sets(simulation, question, answers, names)
        case Conjoint():
            yield from _list_tasks(simulation, question, answers, names)
        case OpenEnded():
            texts = [answers.texts[at] if at >= 0 else "" for at in answers.choices]
            yield Variable(names.take(question.id), question.text, "text", texts, question=question)
        case Slider() if answers.numbers is not None:
            _, codes = _read_scale(scale_of(question), answers.choices)
            missing = {code.number - 1: code for code in codes if code.is_missing}
            values = np.array(answers.numbers, dtype=np.float64)
            kept = tuple(Code(code.number * 10, code.label, True) for code in missing.values())
            for at, code in enumerate(kept, 11):
                values[answers.choices == at] = code.number
            yield Variable(
                names.take(question.id), question.text, "number", values, kept, places=2, question=question
            )
        case _:
            values, codes = _read_scale(scale_of(question), answers.choices)
            yield Variable(names.take(question.id), question.text, "single", values, codes, question=question)


def _read_scale(scale: Scale, choices: Floats) -> tuple[Floats, tuple[Code, ...]]:
    """Return the codes of choices: the numbers of a scale, else the places from 1; missing answers last."""
    labels = len(scale.labels)
    numbers = [int(value) for value in scale.values] if scale.values else list(range(1, labels + 1))
    limit = _MISSING_BELOW if max(numbers) < _MISSING_BELOW - 10 else 10 * _MISSING_BELOW
    first = limit - len(scale.missing)
    codes = [Code(number, label) for number, label in zip(numbers, scale.labels, strict=True)]
    codes += [Code(first + at, label, True) for at, label in enumerate(scale.missing)]
    table = np.array([*(float(code.number) for code in codes), np.nan])
    return table[np.where(choices >= 0, choices, len(codes))], tuple(codes)


def list_codes(question: Question) -> tuple[Code, ...]:
    """Return the codes of a question with one answer, or of each row of a matrix, in scale order."""
    return _read_scale(scale_of(question), np.empty(0, dtype=np.int64))[1]


def _list_ticks(question: MultipleChoice, answers: Answers, names: _Names) -> Iterator[Variable]:
    asked = answers.status == Status.ANSWERED
    yes_no = (Code(0, "No"), Code(1, "Yes"))
    for at, option in enumerate(question.options):
        values = np.where(asked, answers.choices[:, at].astype(np.float64), np.nan)
        label = f"{option.text} – {question.text}"
        name = names.take(f"{question.id}_{at + 1}")
        yield Variable(name, label, "tick", values, yes_no, question.id, question=question)


def _list_ranks(question: Ranking, answers: Answers, names: _Names) -> Iterator[Variable]:
    asked = answers.status == Status.ANSWERED
    ranks = np.argsort(answers.choices, axis=1) + 1.0
    codes = tuple(Code(rank, f"Rank {rank}") for rank in range(1, len(question.items) + 1))
    for at, item in enumerate(question.items):
        values = np.where(asked, ranks[:, at], np.nan)
        name = names.take(f"{question.id}_{at + 1}")
        label = f"{item.text} – {question.text}"
        yield Variable(name, label, "single", values, codes, question.id, question=question)


def _list_sets(
    simulation: Simulation, question: MaxDiff, answers: Answers, names: _Names
) -> Iterator[Variable]:
    codes = tuple(Code(at, item) for at, item in enumerate(question.items, 1))
    for number, items in enumerate(list_sets(simulation.study, question)):
        table = np.array([*(float(item + 1) for item in items), np.nan])
        for side, word in enumerate(("best", "worst")):
            choices = answers.choices[:, number, side]
            values = table[np.where(choices >= 0, choices, len(items))]
            label = f"Set {number + 1}, {word} – {question.text}"
            name = names.take(f"{question.id}_{number + 1}_{word}")
            yield Variable(name, label, "single", values, codes, question.id, question=question)


def _list_tasks(
    simulation: Simulation, question: Conjoint, answers: Answers, names: _Names
) -> Iterator[Variable]:
    for number, task in enumerate(list_tasks(simulation.study, question)):
        codes = tuple(
            Code(at, _describe_alternative(question, alternative)) for at, alternative in enumerate(task, 1)
        )
        if question.none:
            codes = (*codes, Code(len(task) + 1, "None of these"))
        choices = answers.choices[:, number]
        values = np.where(choices >= 0, choices + 1.0, np.nan)
        label = f"Task {number + 1} – {question.text}"
        name = names.take(f"{question.id}_{number + 1}")
        yield Variable(name, label, "single", values, codes, question.id, question=question)


def _describe_alternative(question: Conjoint, levels: Sequence[int]) -> str:
    pairs = zip(question.attributes, levels, strict=True)
    return ", ".join(f"{attribute.name} {attribute.levels[level]}" for attribute, level in pairs)


def describe_type(variable: Variable) -> str:
    """Return the type of the question that a variable belongs to, "" for the head of the file."""
    return "" if variable.question is None else type_of(variable.question)


def format_number(value: float, places: int) -> str:
    """Return a number as text: as short as it is exact, and "" for no value."""
    if np.isnan(value):
        return ""
    if places == 0:
        return str(int(value))
    return f"{value:.{places}f}"
