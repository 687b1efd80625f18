"""
Grids: conditions, screeners, failed cells, targets and quotas decide the weight of a persona in a question.
"""

from collections.abc import Collection
from typing import Any

import numpy as np
import pytest

from mavera.focus_groups.allocation import share_sample
from mavera.focus_groups.conditions import conditions_of
from mavera.focus_groups.draw import draw_reference
from mavera.focus_groups.elicited import CellId, Elicited
from mavera.focus_groups.grids import Grids
from mavera.focus_groups.respondents import Draw
from mavera.focus_groups.study import NPS, MultipleChoice, Option, Question, Quota, Sample, Study, YesNo
from tests.support.simulations import (
    build_panel,
    build_study,
    elicit_randomly,
    simulate_plainly,
)

Book = dict[CellId, Elicited]


def _study(*questions: Question, personas: int = 3, **changes: Any) -> Study:
    members: dict[str, Any] = {"questions": questions, "cells": (), "sample": Sample(size=30)}
    return build_study(personas, **(members | changes))


def _fill(study: Study, shares: dict[str, list[list[float]]]) -> Book:
    """Give every persona its row of shares in every condition; the baseline gets the mean."""
    panel = build_panel(study)
    book: Book = {}
    for question in study.questions:
        rows = shares[question.id]
        for at, persona in enumerate((*(one.id for one in panel), None)):
            row = np.array(rows[at]) if persona else np.mean(rows, axis=0)
            for condition in conditions_of(study, question):
                cell = CellId(question.id, None, persona, None, condition.key)
                book[cell] = Elicited(cell, row)
    return book


def _grids(study: Study, book: Book) -> Grids:
    def refuse(questions: Collection[str]) -> Draw:
        raise AssertionError("the reference draw is not needed")

    return Grids(study, build_panel(study), book, {}, refuse)


SCREENER = YesNo(id="s1", text="Do you drink it?", screen_out=("No",))
AFTER = YesNo(id="q1", text="Do you like it?")
ROUTED = YesNo(id="q2", text="Would you buy it?", show_if="q1 = yes")


def test_a_persona_counts_by_its_probability_to_pass_the_screener() -> None:
    study = _study(SCREENER, AFTER)
    book = _fill(study, {"s1": [[0.2, 0.8], [0.4, 0.6], [0.4, 0.6]], "q1": [[1, 0], [0, 1], [0, 1]]})

    grid = _grids(study, book).grid(AFTER)

    assert grid.weights[:, 0] == pytest.approx([0.2, 0.4, 0.4])
    assert not grid.assumed


def test_the_screener_itself_counts_everybody() -> None:
    study = _study(SCREENER, AFTER)
    book = _fill(study, {"s1": [[0.2, 0.8], [0.4, 0.6], [0.4, 0.6]], "q1": [[1, 0], [0, 1], [0, 1]]})

    assert _grids(study, book).grid(SCREENER).weights[:, 0] == pytest.approx([1 / 3] * 3)


def test_quotas_replace_the_probability_to_pass() -> None:
    sample = Sample(size=30, quotas=(Quota(where={"age": "18-34"}, size=15),))
    study = _study(SCREENER, AFTER, sample=sample)
    book = _fill(study, {"s1": [[0.2, 0.8], [0.4, 0.6], [0.4, 0.6]], "q1": [[1, 0], [0, 1], [0, 1]]})

    # Persona 1 is the only one aged 18-34.
    assert _grids(study, book).grid(AFTER).weights[:, 0] == pytest.approx([0.25, 0.5, 0.25])


def test_a_routed_question_counts_a_persona_by_its_probability_to_be_asked() -> None:
    study = _study(AFTER, ROUTED)
    book = _fill(study, {"q1": [[0.9, 0.1], [0.5, 0.5], [0.1, 0.9]], "q2": [[0.5, 0.5]] * 3})

    grid = _grids(study, book).grid(ROUTED)

    assert grid.weights[:, 0] == pytest.approx([0.3, 0.5 / 3, 0.1 / 3])
    assert not grid.assumed


def test_a_question_behind_a_routed_question_multiplies_both_probabilities() -> None:
    last = YesNo(id="q3", text="Again?", show_if="q2 = yes and q1 = yes")
    study = _study(AFTER, ROUTED, last)
    book = _fill(study, {"q1": [[0.9, 0.1]] * 3, "q2": [[0.5, 0.5]] * 3, "q3": [[0.5, 0.5]] * 3})

    grid = _grids(study, book).grid(last)

    assert grid.weights.sum() == pytest.approx(0.45)
    assert not grid.assumed


def test_a_compound_condition_is_counted_in_the_reference_draw_and_assumed() -> None:
    other = YesNo(id="q0", text="Other?")
    last = YesNo(id="q3", text="Again?", show_if="q0 = yes or q1 = yes")
    study = _study(other, AFTER, last)
    panel = build_panel(study)
    book = elicit_randomly(study, panel)
    grids = simulate_plainly(study, book).grids

    grid = grids.grid(last)

    assert grid.assumed
    yes = np.array([[book[CellId(q, None, one.id, None)].shares[0] for one in panel] for q in ("q0", "q1")])
    assert grid.weights.sum() == pytest.approx((1 - (1 - yes).prod(axis=0)).mean(), abs=0.06)


def test_piped_answers_mix_their_conditions() -> None:
    why = MultipleChoice(id="q2", text="Why {q1}?", options=(Option(text="Taste"), Option(text="Price")))
    score = NPS(id="q1", text="Recommend?")
    study = _study(score, why)
    panel = build_panel(study)
    book = elicit_randomly(study, panel)

    grid = _grids(study, book).grid(why)

    conditions = conditions_of(study, why)
    assert len(conditions) == 3
    answers = book[CellId("q1", None, panel[0].id, None)].shares
    groups = [answers[:7].sum(), answers[7:9].sum(), answers[9:].sum()]
    parts = [book[CellId("q2", None, panel[0].id, None, one.key)].shares for one in conditions]
    assert grid.shares[0, 0] == pytest.approx(sum(g * p for g, p in zip(groups, parts, strict=True)))
    assert grid.weights.sum() == pytest.approx(1)


def test_a_failed_cell_leaves_the_mixture() -> None:
    study = _study(AFTER)
    book = _fill(study, {"q1": [[0.9, 0.1], [0.5, 0.5], [0.1, 0.9]]})
    failed = CellId("q1", None, "persona1", None)
    del book[failed]

    grid = simulate_plainly(study, book, failures={failed: "nonsense"}).grids.grid(AFTER)

    assert grid.weights[:, 0] == pytest.approx([1 / 3, 0, 1 / 3])
    assert np.isnan(grid.shares[1]).all()
    assert grid.failed == 1


def test_targets_move_the_weights_of_personas() -> None:
    study = _study(AFTER, sample=Sample(size=30, weights={"age": {"18-34": 80.0, "35+": 20.0}}))
    book = _fill(study, {"q1": [[0.9, 0.1], [0.5, 0.5], [0.1, 0.9]]})

    assert _grids(study, book).grid(AFTER).weights[:, 0] == pytest.approx([0.1, 0.8, 0.1])


def test_overlapping_quotas_move_shares_as_little_as_needed() -> None:
    sample = Sample(
        size=100, quotas=(Quota(where={"age": "18-34"}, size=60), Quota(where={"region": "north"}, size=50))
    )
    study = _study(AFTER, sample=sample, personas=4)

    shares = share_sample(study, build_panel(study))

    assert shares[[1, 3]].sum() == pytest.approx(0.6)
    assert shares[[0, 1]].sum() == pytest.approx(0.5)


def test_a_reference_draw_of_some_questions_has_the_rows_of_the_whole_one() -> None:
    last = YesNo(id="q3", text="Again?", show_if="q1 = yes")
    study = _study(AFTER, YesNo(id="q0", text="Other?"), last)
    panel = build_panel(study)
    book = elicit_randomly(study, panel)

    whole = draw_reference(study, panel, book).completes
    part = draw_reference(study, panel, book, questions={"q3"}).completes

    assert set(part.answers) == {"q1", "q3"}
    for name in part.answers:
        assert (part.answers[name].choices == whole.answers[name].choices).all()
