"""A correction from the items of a past survey: what it learns, where it acts, and what it refuses."""

import msgspec
import numpy as np
import pytest

from mavera.focus_groups.calibration import (
    CALIBRATED,
    CalibrationItem,
    correct_book,
    find_correction,
    fit_correction,
)
from mavera.focus_groups.calibration_checks import read_past_survey
from mavera.focus_groups.elicited import CellId, Elicited
from mavera.focus_groups.faults import StudyError
from mavera.focus_groups.mixtures import Floats
from mavera.focus_groups.study import Likert, Matrix, MultipleChoice, Option, Row, Study, YesNo
from mavera.focus_groups.study_file import check_members
from tests.focus_groups.studies import make_panel, make_study

LABELS = ("Never", "Rarely", "Sometimes", "Often", "Always")
PLACES = np.linspace(-1, 1, 5)
PEOPLE = {"Never": 10, "Rarely": 15, "Sometimes": 20, "Often": 25, "Always": 30}
YES = {"Yes": 40, "No": 60}


def _sharpen(shares: Floats, temperature: float, shift: float) -> Floats:
    odds = shares**temperature * np.exp(shift * PLACES)
    return np.asarray(odds / odds.sum(axis=-1, keepdims=True))


def _make_items(count: int, temperature: float, shift: float) -> list[CalibrationItem]:
    """Return items of which the simulation is too sure and too far up the scale."""
    dice = np.random.default_rng(5)
    people = dice.dirichlet(np.ones(5) * 3, size=count)
    return [
        CalibrationItem(LABELS, _sharpen(one, temperature, shift)[None], np.ones(1), one, PLACES)
        for one in people
    ]


def _distance(items: list[CalibrationItem], shares: list[Floats]) -> float:
    return float(
        np.mean([np.abs(one - item.people).sum() / 2 for item, one in zip(items, shares, strict=True)])
    )


def test_a_planted_error_is_learned_from_a_few_items_and_removed_from_the_others() -> None:
    items = _make_items(40, 2.0, 1.0)
    given, others = items[:5], items[5:]

    correction = fit_correction(given)

    before = _distance(others, [item.shares[0] for item in others])
    after = _distance(others, [correction.apply(item.shares, LABELS, PLACES)[0] for item in others])
    assert correction.temperature < 0.9
    assert correction.shift < 0
    assert after < 0.75 * before


def test_a_simulation_that_is_right_is_left_alone() -> None:
    items = _make_items(10, 1.0, 0.0)

    correction = fit_correction(items)

    changed = [correction.apply(item.shares, LABELS, PLACES)[0] for item in items]
    assert _distance(items, changed) < 0.02


def test_more_items_remove_more_of_the_error() -> None:
    items = _make_items(40, 2.0, 1.0)
    given, others = items[:20], items[20:]
    distances = []
    for count in (1, 5, 20):
        correction = fit_correction(given[:count])
        corrected = [correction.apply(item.shares, LABELS, PLACES)[0] for item in others]
        distances.append(_distance(others, corrected))
    assert distances == sorted(distances, reverse=True)
    assert distances[2] < 0.5 * _distance(others, [item.shares[0] for item in others])


def test_the_fit_of_several_personas_is_that_of_their_mixture() -> None:
    apart = np.array([[0.98, 0.005, 0.005, 0.005, 0.005], [0.005, 0.005, 0.005, 0.005, 0.98]])
    people = np.array([0.45, 0.04, 0.02, 0.04, 0.45])
    item = CalibrationItem(LABELS, apart, np.array([0.5, 0.5]), people, PLACES)

    correction = fit_correction([item] * 5)

    found = item.weights @ correction.apply(item.shares, LABELS, PLACES)
    assert np.abs(found - people).sum() / 2 < 0.05
    # Personas that differ go on differing: the mixture is right, and nobody became average.
    assert correction.apply(item.shares, LABELS, PLACES)[0, 0] > 0.8


def _study(**members: object) -> Study:
    questions = (
        YesNo(id="q1", text="Do you smoke?"),
        Likert(id="q2", text="How often?", labels=LABELS),
        Matrix(
            id="q3", text="And these?", labels=LABELS, rows=(Row(id="r1", text="A"), Row(id="r2", text="B"))
        ),
        MultipleChoice(id="q4", text="Which?", multiple=True, options=(Option(text="A"), Option(text="B"))),
        YesNo(id="q5", text="Why not?", show_if="q1 == No"),
    )
    return msgspec.structs.replace(make_study(*questions, personas=2), **members)


def test_a_calibrated_book_keeps_missing_answers_and_the_baseline() -> None:
    study = _study(calibration={"q1": YES, "q2": PEOPLE, "q3.r1": PEOPLE})
    likert = msgspec.structs.replace(study.questions[1], missing=("Don't know",))
    study = msgspec.structs.replace(study, questions=(study.questions[0], likert, *study.questions[2:]))
    shares = np.array([0.02, 0.02, 0.06, 0.3, 0.4, 0.2])
    book = {
        CellId(question, part, persona, None): Elicited(CellId(question, part, persona, None), values)
        for question, part, values in (
            ("q1", None, np.array([0.9, 0.1])),
            ("q2", None, shares),
            ("q3", "r1", shares[:5] / 0.8),
            ("q4", None, np.array([0.5, 0.6])),
        )
        for persona in ("p0", "p1", None)
    }

    correction = find_correction(study, make_panel(2), book)
    assert correction is not None
    corrected = correct_book(study, book, correction)

    found = corrected[CellId("q2", None, "p0", None)]
    assert found.shares[5] == pytest.approx(0.2)
    assert found.shares.sum() == pytest.approx(1)
    assert found.flags == (CALIBRATED,)
    assert corrected[CellId("q1", None, "p0", None)].shares[0] < 0.85
    for untouched in (CellId("q2", None, None, None), CellId("q4", None, "p0", None)):
        assert corrected[untouched] is book[untouched]


def _read(text: str, study: Study | None = None) -> dict[str, dict[str, float]]:
    return read_past_survey(text.encode(), study or _study())


GOOD = "\n".join(
    [
        "Question,Answer,Share",
        "q1,Yes,40%",
        "q1,No,60",
        *(f"{name},{label},{share}" for name in ("q2", "q3.r1") for label, share in PEOPLE.items()),
    ]
)


def test_a_past_survey_is_read_from_csv() -> None:
    expected = {name: {label: float(share) for label, share in PEOPLE.items()} for name in ("q2", "q3.r1")}
    assert _read(GOOD) == {"q1": {"Yes": 40.0, "No": 60.0}, **expected}
    assert _read("﻿" + GOOD.replace(",", ";").replace("\n", "\r\n")) == _read(GOOD)


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ("q1,Yes,40%\nq1,No,60", "q9,Yes,40\nq9,No,60", 2, "no question 'q9'"),
        ("q1,No,60", "q1,Nope,60", 3, "'Nope' is no answer"),
        ("q1,No,60", "q1,No,90", 2, "add up to 130"),
        ("q1,No,60\n", "", 2, "'No' has no share"),
        ("q1,No,60", "q1,No,-60", 3, "below 0"),
        ("q1,No,60", "q1,No,many", 3, "'many' is not a share"),
        ("q1,No,60", "q1,No,nan", 3, "'nan' is not a share"),
        ("q1,No,60", "q1,Yes,60", 3, "has a share already"),
        ("q1,No,60", "q1,No", 3, "2 values"),
        ("Question", "Item", 1, "'question' is missing"),
        ("q1,Yes,40%\nq1,No,60\n", "", None, "2 items of a past survey"),
        ("q1,Yes,40%\nq1,No,60", "q4,A,40\nq4,B,60", 2, "cannot calibrate"),
        ("q1,Yes,40%\nq1,No,60", "q5,Yes,40\nq5,No,60", 2, "not asked of everybody"),
        ("q3.r1", "q3", 9, "q3.r1, q3.r2"),
        ("q1,", "q1.r1,", 2, "Write q1"),
    ],
)
def test_a_past_survey_that_does_not_fit_is_refused_with_its_line(
    old: str, new: str, line: int | None, said: str
) -> None:
    with pytest.raises(StudyError) as refused:
        _read(GOOD.replace(old, new))
    fault = next(one for one in refused.value.faults if said in str(one))
    assert fault.line == line


@pytest.mark.parametrize(
    "data", [b"", b"\xff\xfe", b"a,b\n", b"question,answer,share\n" * 6000, b"x" * 2_000_000]
)
def test_rubbish_is_refused(data: bytes) -> None:
    with pytest.raises(StudyError):
        read_past_survey(data, _study())


def test_a_study_that_carries_its_calibration_is_checked_like_a_file() -> None:
    members = {
        "name": "Smokers",
        "personas": ["p"],
        "questions": [{"id": f"q{n}", "type": "yes_no", "text": f"Question {n}?"} for n in range(4)],
    }
    good = check_members({**members, "calibration": {f"q{n}": YES for n in range(3)}}).study
    assert good.calibration["q0"] == YES

    with pytest.raises(StudyError) as refused:
        check_members({**members, "calibration": {"q0": {"Yes": 40, "No": 20}, "q7": YES}})
    assert {fault.path for fault in refused.value.faults} == {
        "calibration",
        "calibration.q0",
        "calibration.q7",
    }
