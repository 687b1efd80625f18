"""Studies side by side: waves of the same personas are paired, and questions that differ are listed."""

from typing import Any

import msgspec
import numpy as np
import pytest

from mavera.focus_groups.elicited import CellId, Elicited
from mavera.focus_groups.side_by_side import compare_simulations
from mavera.focus_groups.simulation import Simulation
from mavera.focus_groups.study import PersonaChoice, YesNo
from tests.support.simulations import build_study, simulate_plainly


def _wave(name: str, shift: float, *questions: Any, **members: Any) -> Simulation:
    questions = (YesNo(id="y", text="?"), *questions)
    study = msgspec.structs.replace(build_study(5, cells=(), banner=(), questions=questions), **members)
    book = {}
    for at, choice in enumerate(study.personas):
        cell = CellId("y", None, choice.id, None)
        share = 0.1 + 0.15 * at + shift + 0.001 * at
        book[cell] = Elicited(cell, np.array([share, 1 - share]))
    return simulate_plainly(study, book, id=name)


def test_waves_of_the_same_personas_are_paired() -> None:
    comparison = compare_simulations([_wave("fg_1", 0.0), _wave("fg_2", 0.05), _wave("fg_3", 0.0501)])

    assert comparison.test == "paired"
    assert [one.letter for one in comparison.studies] == ["A", "B", "C"]
    yes = comparison.questions[0].lines[0]
    assert yes.values == pytest.approx([0.402, 0.452, 0.4521], abs=1e-6)
    assert yes.letters[0] == ""
    assert "A" in yes.letters[1]
    assert comparison.notices[0].startswith("Simulated")


def test_other_personas_are_not_paired() -> None:
    others = tuple(PersonaChoice(id=f"other{at}") for at in range(5))

    comparison = compare_simulations([_wave("fg_1", 0.0), _wave("fg_2", 0.05, personas=others)])

    assert comparison.test == "pooled"
    assert comparison.questions[0].lines[0].letters == ["", ""]


def test_questions_that_only_one_study_has_are_listed() -> None:
    comparison = compare_simulations(
        [_wave("fg_1", 0.0, YesNo(id="a", text="?")), _wave("fg_2", 0.0, YesNo(id="b", text="?"))]
    )

    assert [one.question_id for one in comparison.questions] == ["y"]
    assert comparison.not_compared == ["a", "b"]


def test_every_type_of_question_is_compared() -> None:
    comparison = compare_simulations([simulate_plainly(id="fg_1"), simulate_plainly(id="fg_2")])

    assert comparison.not_compared == ["q8"]
    assert {one.type for one in comparison.questions} >= {"maxdiff", "conjoint", "ranking", "matrix", "nps"}
    for question in comparison.questions:
        for line in question.lines:
            assert line.values[0] == line.values[1]
            assert line.letters == ["", ""]


def test_one_study_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="2 to 10 studies"):
        compare_simulations([_wave("fg_1", 0.0)])
