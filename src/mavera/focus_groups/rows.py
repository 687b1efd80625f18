"""
Show the drawn respondents as rows, as `GET /focus-groups/{id}/responses` returns them.

    {"respondent_id": 1, "persona_id": …, "answers": {"q1": {"value", "probability", "status", "text"}}}
"""

import math
from typing import Any

import numpy as np

from mavera.focus_groups.designs import list_sets
from mavera.focus_groups.respondents import Answers, Respondents, Status
from mavera.focus_groups.simulation import Simulation
from mavera.focus_groups.study import (
    Conjoint,
    Matrix,
    MaxDiff,
    MultipleChoice,
    OpenEnded,
    Question,
    Ranking,
    Slider,
    scale_of,
)

_STATUS = {
    Status.ANSWERED: "answered",
    Status.SKIPPED: "skipped",
    Status.SCREENED: "screened",
    Status.MISSING: "missing",
    Status.FAILED: "failed",
}


def list_rows(simulation: Simulation, places: range) -> list[dict[str, Any]]:
    """Return the respondents at `places`, from 0. Those that a screener ended follow the completes."""
    weights = simulation.case_weights
    completes, ended = simulation.draw.completes, simulation.draw.screened
    rows = []
    for at in places:
        if at < len(completes):
            weight = round(float(weights[at]), 6)
            rows.append(_show(simulation, completes, at, number=at + 1, weight=weight))
        else:
            rows.append(_show(simulation, ended, at - len(completes), number=at + 1, weight=None))
    return rows


def _show(
    simulation: Simulation, people: Respondents, at: int, *, number: int, weight: float | None
) -> dict[str, Any]:
    panelist = simulation.panel[people.panelist[at]]
    arms = simulation.study.cells
    return {
        "respondent_id": number,
        "persona_id": panelist.id,
        "persona_version": panelist.version,
        "cell": arms[people.arm[at]].id if arms else None,
        "weight": weight,
        "attributes": dict(panelist.attributes),
        "answers": {
            question.id: _show_answer(simulation, question, people.answers[question.id], at)
            for question in simulation.study.questions
        },
    }


def _show_answer(simulation: Simulation, question: Question, answers: Answers, at: int) -> dict[str, Any]:
    status = Status(int(answers.status[at]))
    shown: dict[str, Any] = {"value": None, "probability": None, "status": _STATUS[status], "text": None}
    if status not in (Status.ANSWERED, Status.MISSING):
        return shown
    shown["probability"] = _show_probability(answers.probability[at])
    choices = answers.choices[at]
    match question:
        case MultipleChoice(multiple=True):
            ticks = zip(question.options, choices, strict=True)
            shown["value"] = [option.text for option, ticked in ticks if ticked]
        case Matrix():
            labels = scale_of(question).answers
            shown["value"] = {
                row.id: labels[choice] if choice >= 0 else None
                for row, choice in zip(question.rows, choices, strict=True)
            }
        case Ranking():
            shown["value"] = [question.items[item].text for item in choices]
        case MaxDiff():
            sets = list_sets(simulation.study, question)
            shown["value"] = [
                {"best": question.items[items[best]], "worst": question.items[items[worst]]}
                for items, (best, worst) in zip(sets, choices, strict=True)
            ]
        case Conjoint():
            shown["value"] = [
                "none" if choice == question.alternatives else int(choice) + 1 for choice in choices
            ]
        case OpenEnded():
            shown["text"] = answers.texts[choices]
        case Slider() if answers.numbers is not None and status is Status.ANSWERED:
            shown["value"] = round(float(answers.numbers[at]), 2)
        case _:
            shown["value"] = _show_choice(question, int(choices))
    return shown


def _show_choice(question: Question, choice: int) -> str | int | float:
    scale = scale_of(question)
    if scale.values is not None and choice < len(scale.values):
        value = scale.values[choice]
        return int(value) if value.is_integer() else value
    return scale.answers[choice]


def _show_probability(probability: Any) -> Any:
    if np.ndim(probability):
        return [_show_probability(one) for one in probability]
    return None if math.isnan(probability) else round(float(probability), 6)
