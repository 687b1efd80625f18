"""Banner tables: columns, values, letters of each kind of banner, and crossings with another question."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from mavera.focus_groups.elicited import CellId, Elicited
from mavera.focus_groups.simulation import Simulation
from mavera.focus_groups.study import Arm, YesNo
from mavera.focus_groups.tabulate import Line, Table
from tests.support.simulations import build_panel, build_study, elicit_randomly, simulate_plainly


def _answer(yes: Mapping[Any, float], banner: tuple[str, ...], personas: int = 6) -> Table:
    """Return the table of a yes/no question whose shares of "Yes" are given by persona and arm."""
    arms = tuple(dict.fromkeys(arm for _, arm in yes if arm is not None))
    study = build_study(
        personas,
        cells=tuple(Arm(id=arm) for arm in arms),
        questions=(YesNo(id="y", text="?"),),
        banner=banner,
    )
    book = {}
    for (persona, arm), share in yes.items():
        cell = CellId("y", None, persona, arm)
        book[cell] = Elicited(cell, np.array([share, 1 - share]), 0.2)
    return simulate_plainly(study, book).tables[0]


def _letters(line: Line) -> list[str]:
    return [entry.letters for entry in line.entries]


def test_cells_are_compared_by_pairs_of_the_same_persona() -> None:
    yes = {(f"persona{at}", "a"): 0.1 * at + 0.2 for at in range(6)}
    yes |= {(f"persona{at}", "b"): 0.1 * at + 0.25 + 0.002 * at for at in range(6)}

    table = _answer(yes, ("cell",))

    assert [column.label for column in table.columns] == ["Total", "a", "b"]
    # The personas differ far more than the cells, and the pairs still tell them apart.
    assert _letters(table.lines[0]) == ["", "", "A"]


def test_groups_of_personas_are_compared_by_the_spread_within_them() -> None:
    apart = {(f"persona{at}", None): (0.3 if at % 2 else 0.7) + 0.01 * at for at in range(6)}
    mixed = {(f"persona{at}", None): 0.3 + 0.1 * at for at in range(6)}

    assert _letters(_answer(apart, ("age",)).lines[0]) == ["", "", "A"]
    assert _letters(_answer(mixed, ("age",)).lines[0]) == ["", "", ""]


def test_single_personas_are_compared_by_the_orders() -> None:
    yes = {(f"persona{at}", None): share for at, share in enumerate((0.2, 0.21, 0.8))}

    table = _answer(yes, ("persona",), 3)

    assert _letters(table.lines[0]) == ["", "", "", "AB"]
    assert _letters(table.lines[1]) == ["", "C", "C", ""]


@pytest.fixture(scope="module")
def simulation() -> Simulation:
    return simulate_plainly()


def _find(simulation: Simulation, question: str, part: str | None = None) -> Table:
    return next(one for one in simulation.tables if (one.question_id, one.part) == (question, part))


def test_each_banner_has_letters_of_its_own(simulation: Simulation) -> None:
    columns = _find(simulation, "q2").columns

    assert [(one.variable, one.letter) for one in columns] == [
        ("total", ""),
        *[("persona", letter) for letter in "ABCDEF"],
        ("cell", "A"),
        ("cell", "B"),
        ("age", "A"),
        ("age", "B"),
        ("s1", ""),
        ("s1", ""),
    ]


def test_a_banner_by_another_question_has_values_and_no_letters(simulation: Simulation) -> None:
    table = _find(simulation, "q2")
    places = [at for at, one in enumerate(table.columns) if one.variable == "s1"]

    for line in table.lines:
        assert all(line.entries[at].letters == "" for at in places)
    answers = [line for line in table.lines if line.kind == "answer"]
    for at in places:
        assert sum(line.entries[at].value or 0 for line in answers) == pytest.approx(1)


def test_a_question_is_not_crossed_with_itself(simulation: Simulation) -> None:
    assert {one.variable for one in _find(simulation, "s1").columns} == {"total", "persona", "cell", "age"}


def test_bases_count_the_rows_of_the_file(simulation: Simulation) -> None:
    columns = _find(simulation, "q2").columns

    assert columns[0].base == 60
    assert sum(one.base for one in columns if one.variable == "persona") == 60
    assert sum(one.base for one in columns if one.variable == "s1") == 60


def test_missing_answers_keep_a_row_and_leave_boxes_and_means(simulation: Simulation) -> None:
    table = _find(simulation, "q4", "r1")
    kinds = [line.kind for line in table.lines]

    assert kinds == [*["answer"] * 7, "missing", "box", "box", "mean", "std_dev", "median"]
    answers = [line.entries[0].value or 0 for line in table.lines[:7]]
    top = table.lines[8].entries[0].value
    mean = table.lines[10].entries[0].value
    assert top == pytest.approx(sum(answers[5:]) / sum(answers))
    assert mean == pytest.approx(np.average(np.arange(1, 8), weights=answers))


def test_every_closed_question_has_a_table_and_each_row_of_a_matrix_its_own(simulation: Simulation) -> None:
    tables = [(one.question_id, one.part) for one in simulation.tables]

    assert ("q8", None) not in tables
    assert ("q4", "r1") in tables
    assert ("q4", "r2") in tables
    assert len(tables) == 13
    kinds = {line.kind for line in _find(simulation, "q6").lines}
    assert kinds == {"best", "worst", "count"}


def test_levels_of_a_conjoint_are_chosen_when_shown(simulation: Simulation) -> None:
    lines = _find(simulation, "q7").lines

    assert [line.label for line in lines] == [
        *("brand: Oatly", "brand: Alpro", "brand: Store"),
        *("price: $2.99", "price: $3.99", "price: $4.99"),
        "None of these",
    ]
    assert all(0 < (line.entries[0].value or 0) < 1 for line in lines)


def test_the_table_does_not_name_unknown_attributes() -> None:
    study = build_study(3, cells=(), banner=("shoe size",), questions=(YesNo(id="y", text="?"),))
    book = elicit_randomly(study, build_panel(study))

    assert [one.variable for one in simulate_plainly(study, book).tables[0].columns] == ["total"]
