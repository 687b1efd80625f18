"""The types of a study: scales, directions, and the way through JSON."""

import msgspec
import pytest

from mavera.focus_groups.study import (
    NPS,
    Likert,
    Matrix,
    MultipleChoice,
    Option,
    PersonaChoice,
    Question,
    Row,
    Slider,
    Study,
    YesNo,
    direction_of,
    ends_of,
    has_scale,
    scale_of,
)

AGREE = ("Strongly disagree", "Disagree", "Neither", "Agree", "Strongly agree")


@pytest.mark.parametrize(
    ("question", "answers", "values"),
    [
        (NPS(id="q", text="?"), tuple(map(str, range(11))), tuple(map(float, range(11)))),
        (
            Slider(id="q", text="?", missing=("Don't know",)),
            (*map(str, range(0, 101, 10)), "Don't know"),
            tuple(map(float, range(0, 101, 10))),
        ),
        (Likert(id="q", text="?", labels=AGREE), AGREE, (1.0, 2.0, 3.0, 4.0, 5.0)),
        (Likert(id="q", text="?", points=3, labels=("No", "Yes")), ("1", "2", "3"), (1.0, 2.0, 3.0)),
        (YesNo(id="q", text="?", labels=("Ja", "Nein")), ("Ja", "Nein"), None),
        (MultipleChoice(id="q", text="?", options=(Option(text="A"), Option(text="B"))), ("A", "B"), None),
        (Matrix(id="q", text="?", rows=(Row(id="r1", text="x"),), points=2), ("1", "2"), (1.0, 2.0)),
    ],
)
def test_a_scale_lists_labels_in_order_and_missing_answers_last(
    question: Question, answers: tuple[str, ...], values: tuple[float, ...] | None
) -> None:
    scale = scale_of(question)

    assert scale.answers == answers
    assert scale.values == values


def test_a_question_with_several_answers_has_no_scale() -> None:
    question = MultipleChoice(id="q", text="?", multiple=True, options=(Option(text="A"), Option(text="B")))

    assert not has_scale(question)
    with pytest.raises(TypeError, match="multiple_choice"):
        scale_of(question)


def test_two_labels_of_a_longer_scale_name_its_ends() -> None:
    assert ends_of(Likert(id="q", text="?", labels=("Bad", "Good"))) == ("Bad", "Good")
    assert ends_of(Likert(id="q", text="?", labels=AGREE)) is None


def test_favourable_people_say_yes() -> None:
    assert direction_of(YesNo(id="q", text="?")) == "reversed"
    assert direction_of(YesNo(id="q", text="?", direction="reversed")) == "normal"
    assert direction_of(MultipleChoice(id="q", text="?", options=())) == "none"


def test_a_study_survives_json() -> None:
    study = Study(
        name="Oats",
        personas=(PersonaChoice(id="c" * 25),),
        questions=(NPS(id="q1", text="Recommend?"), YesNo(id="q2", text="Buy?", show_if="q1 >= 7")),
    )

    assert msgspec.json.decode(msgspec.json.encode(study), type=Study) == study
