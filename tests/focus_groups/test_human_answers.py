"""
Answers of real people: files that fit and do not fit the codebook, and figures with and without personas.
"""

import numpy as np
import pytest

from mavera.focus_groups.elicited import CellId, Elicited
from mavera.focus_groups.human_answers import (
    ADDS_NOTHING,
    HumanAnswersError,
    read_human_answers,
    rectify_study,
)
from mavera.focus_groups.simulation import Simulation
from mavera.focus_groups.study import NPS, YesNo
from tests.support.simulations import build_study, simulate_plainly


@pytest.fixture(scope="module")
def simulation() -> Simulation:
    return simulate_plainly()


def test_codes_and_labels_are_both_answers(simulation: Simulation) -> None:
    text = "persona_id,cell,s1,q1,q2,q3_1,q3_2,q3_3,q3_4,q3_5,q4_r1\n"
    text += "persona0,a,Yes,10,Strongly agree,1,0,0,0,0,7\n"
    text += "persona1,b,2,99,1,0,0,0,0,1,Don't know\n"
    text += "persona2,a,no,Don't know,2,,,,,,\n"

    answers = read_human_answers(simulation, text)

    assert answers.people == 3
    assert answers.columns["s1", None].tolist() == [0, 1, 1]
    assert answers.columns["q1", None].tolist() == [10, 11, 11]
    assert answers.columns["q2", None].tolist() == [4, 0, 1]
    assert answers.columns["q4", "r1"].tolist() == [6, 7, -1]
    assert np.isnan(answers.columns["q3", None][2]).all()
    assert answers.personas == ((0,), (1,), (2,))
    assert answers.arms == (0, 1, 0)


def test_several_answers_may_stand_in_one_column(simulation: Simulation) -> None:
    answers = read_human_answers(simulation, "q3\nTaste|Texture\nNone of these\nTaste\n")

    assert answers.columns["q3", None].tolist() == [[1, 0, 1, 0, 0], [0, 0, 0, 0, 1], [1, 0, 0, 0, 0]]


def test_attributes_lead_to_the_personas_that_have_them(simulation: Simulation) -> None:
    answers = read_human_answers(simulation, "age;region;s1\n18-34;north;1\n35+;;2\nunknown;;1\n")

    assert answers.personas == ((1,), (0, 2, 4), ())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("q1\n11\n1\n2\n", "Line 2, q1: '11' is not an answer. The codebook lists 12 answers"),
        (
            "q3_1,q3_2,q3_3,q3_4,q3_5\n1,1,1,1,x\n1,0,0,0,0\n1,0,0,0,0\n",
            "Line 2, q3_5: 'x' is neither 0 nor 1.",
        ),
        ("q3\nSmell\nTaste\nTaste\n", "Line 2, q3: 'smell' is not an option."),
        (
            "persona_id,s1\nnobody,1\npersona0,1\npersona1,1\n",
            "Line 2, persona_id: 'nobody' is not a persona",
        ),
        ("cell,s1\nz,1\na,1\na,1\n", "Line 2, cell: 'z' is not a cell"),
        ("shoes,s1\n1,1\n2,1\n3,1\n", "The column 'shoes' is not a question"),
        ("q8\na\nb\nc\n", "The column 'q8' cannot be used"),
        ("age\n1\n2\n3\n", "No column has the answers to a question."),
        ("s1\n1\n2\n", "The file has 2 people."),
        ("", "The file is empty."),
    ],
)
def test_answers_that_do_not_fit_are_named(simulation: Simulation, text: str, message: str) -> None:
    with pytest.raises(HumanAnswersError) as raised:
        read_human_answers(simulation, text)

    assert message in str(raised.value)


def test_faults_beyond_twenty_are_counted(simulation: Simulation) -> None:
    with pytest.raises(HumanAnswersError, match=r"… and 10 more\."):
        read_human_answers(simulation, "q1\n" + "77\n" * 30)


def test_without_personas_the_simulation_adds_nothing(simulation: Simulation) -> None:
    answers = read_human_answers(simulation, "q1\n" + "10\n9\n3\n" * 12)

    (result,) = rectify_study(simulation, answers)

    assert result.share_of_simulation == 0
    assert result.notice == ADDS_NOTHING
    assert not result.small_base
    score = next(one for one in result.figures if one.label == "Net promoter score")
    assert score.people == score.rectified == pytest.approx(100 / 3)
    assert score.people_interval[0] < score.people < score.people_interval[1]
    assert score.simulation is not None
    assert score.simulation < 0


def test_people_who_all_agree_leave_room_for_others(simulation: Simulation) -> None:
    people = 20
    answers = read_human_answers(simulation, "persona_id,q1,q2\n" + "persona0,10,1\n" * people)

    for result in rectify_study(simulation, answers):
        for figure in result.figures:
            for low, high in (figure.people_interval, figure.rectified_interval):
                assert low < high, figure
                assert low <= figure.rectified <= high


def _differing_personas() -> Simulation:
    """Return a study in which half of the personas say yes and half say no, and people agree with theirs."""
    study = build_study(4, cells=(), questions=(YesNo(id="y", text="?"), NPS(id="n", text="?")), banner=())
    book = {}
    for at in range(4):
        likes = at % 2 == 0
        yes = CellId("y", None, f"persona{at}", None)
        book[yes] = Elicited(yes, np.array([0.9, 0.1] if likes else [0.1, 0.9]))
        nps = CellId("n", None, f"persona{at}", None)
        shares = np.full(11, 0.01)
        shares[10 if likes else 2] = 0.9
        book[nps] = Elicited(nps, shares / shares.sum())
    return simulate_plainly(study, book, draw=simulate_plainly(study).draw)


def test_predictions_that_fit_narrow_the_interval() -> None:
    simulation = _differing_personas()
    random = np.random.default_rng(4)
    lines = []
    for at in range(80):
        persona = at % 4
        likes = random.random() < (0.9 if persona % 2 == 0 else 0.1)
        lines.append(f"persona{persona},{'yes' if likes else 'no'},{10 if likes else 2}\n")

    yes_no, score = rectify_study(
        simulation, read_human_answers(simulation, "persona_id,y,n\n" + "".join(lines))
    )

    assert yes_no.share_of_simulation > 0.7
    figure = yes_no.figures[0]
    assert figure.rectified_interval[1] - figure.rectified_interval[0] < 0.8 * (
        figure.people_interval[1] - figure.people_interval[0]
    )
    assert sum(one.rectified for one in yes_no.figures) == pytest.approx(1, abs=1e-5)
    assert {one.label for one in score.figures} >= {"Net promoter score", "Mean"}


def test_whoever_fits_no_persona_is_predicted_by_the_mixture() -> None:
    simulation = _differing_personas()
    answers = read_human_answers(simulation, "persona_id,y\n" + ",yes\n" * 5 + "persona0,no\n" * 5)

    assert rectify_study(simulation, answers)[0].people == 10


def test_a_question_that_two_people_answered_is_left_out(simulation: Simulation) -> None:
    answers = read_human_answers(simulation, "q1,s1\n1,1\n2,1\n,2\n")

    assert [one.question_id for one in rectify_study(simulation, answers)] == ["s1"]
