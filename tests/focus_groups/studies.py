"""Studies and answers that the tests of this room build on."""

from typing import Any

import msgspec
import numpy as np

from mavera.focus_groups.panel import Panel, Panelist
from mavera.focus_groups.respondents import Answers, Status
from mavera.focus_groups.study import PersonaChoice, Question, Study


def make_study(*questions: Question, personas: int = 3, **members: Any) -> Study:
    chosen = tuple(PersonaChoice(id=f"p{n}") for n in range(personas))
    return msgspec.structs.replace(Study(name="Test", personas=chosen, questions=tuple(questions)), **members)


def make_panel(personas: int = 3, weights: list[float] | None = None, **attributes: list[str]) -> Panel:
    shares = weights or [1 / personas] * personas
    return tuple(
        Panelist(
            id=f"p{n}",
            name=f"Persona {n}",
            version=1,
            weight=shares[n],
            attributes={name: values[n] for name, values in attributes.items()},
            prompt_digest=f"{n:064d}",
        )
        for n in range(personas)
    )


def make_answers(choices: list[Any], missing_from: int = 99) -> Answers:
    """Return answers: None is a row that was not asked, and choices from `missing_from` are missing ones."""
    width = next((len(one) for one in choices if isinstance(one, list)), None)
    empty = -1 if width is None else [False] * width
    array = np.array([empty if one is None else one for one in choices])
    status = [
        Status.SKIPPED
        if one is None
        else Status.MISSING
        if not isinstance(one, list) and one >= missing_from
        else Status.ANSWERED
        for one in choices
    ]
    return Answers(np.array(status, dtype=np.uint8), array, np.full(len(choices), np.nan))
