"""Study files: short forms, faults with line and field, and texts that are hostile."""

import base64
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mavera.focus_groups.faults import StudyError
from mavera.focus_groups.study import (
    NPS,
    Conjoint,
    Likert,
    Matrix,
    MultipleChoice,
    Option,
    PersonaChoice,
    Row,
    Stimulus,
    YesNo,
)
from mavera.focus_groups.study_checks import list_notices, read_price
from mavera.focus_groups.study_file import check_members, read_study_file

PNG = "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()
ONE = {"id": "q1", "type": "nps", "text": "Recommend?"}
CHOICE = {"id": "q1", "type": "multiple_choice", "text": "?", "options": ["A", "B", "C"]}
CONJOINT = {"id": "q1", "type": "conjoint", "text": "?", "attributes": {"brand": ["A", "B"], "price": [1, 2]}}
SCREENER = {"id": "s1", "type": "yes_no", "text": "?", "screen_out": "no"}
NINE = {**ONE, "show_if": "s1 == no"}


def build(*questions: dict[str, Any], **members: Any) -> dict[str, Any]:
    return {
        "study": 1,
        "name": "Oats",
        "personas": ["p1", "p2"],
        "questions": list(questions) or [ONE],
        **members,
    }


def find_faults(members: Any) -> list[str]:
    with pytest.raises(StudyError) as caught:
        check_members(members)
    return [str(fault) for fault in caught.value.faults]


# Reading


def test_the_short_forms_are_written_out() -> None:
    study = read_study_file(
        """
study: 1
name: Oats
stimulus: A carton
personas: [p1, {id: p2, weight: 2, attributes: {region: North}}]
cells:
  - {id: a, vars: {price: 3.50}}
  - {id: b, vars: {price: $4.49}}
questions:
  - {id: s1, type: yes_no, text: "Drink it?", screen_out: no}
  - {id: q1, type: likert, text: "Good at {price}?"}
  - {id: q2, type: multiple_choice, text: Why?, options: [Taste, 7, {text: None, fixed: true}]}
  - {id: q3, type: matrix, text: Rate, rows: [Look, {id: feel, text: Feel}], missing: "Don't know"}
  - {id: q4, type: conjoint, text: Choose, attributes: {brand: [A, B], price: [3.49, $4.50, "5 €"]}}
"""
    ).study

    screener, likert, choice, matrix, conjoint = study.questions
    assert study.personas[1] == PersonaChoice(id="p2", weight=2.0, attributes={"region": "North"})
    assert study.stimulus == Stimulus(text="A carton")
    # As it is written: not 3.5.
    assert study.cells[0].vars == {"price": "3.50"}
    assert isinstance(screener, YesNo)
    assert screener.screen_out == ("no",)
    assert isinstance(likert, Likert)
    assert likert.labels[0] == "Strongly disagree"
    assert isinstance(choice, MultipleChoice)
    assert choice.options == (Option(text="Taste"), Option(text="7"), Option(text="None", fixed=True))
    assert isinstance(matrix, Matrix)
    assert matrix.rows == (Row(id="r1", text="Look"), Row(id="feel", text="Feel"))
    assert matrix.missing == ("Don't know",)
    assert isinstance(conjoint, Conjoint)
    assert conjoint.price == "price"
    assert conjoint.attributes[1].prices == (3.49, 4.5, 5.0)


def test_labels_come_in_the_language_of_the_study() -> None:
    study = check_members(
        build({"id": "q1", "type": "yes_no", "text": "?"}, {**ONE, "id": "q2"}, language="de")
    ).study

    yes_no, nps = study.questions
    assert isinstance(yes_no, YesNo)
    assert yes_no.labels == ("Ja", "Nein")
    assert isinstance(nps, NPS)
    assert nps.labels[1] == "Äußerst wahrscheinlich"
    assert list_notices(study) == ()


def test_points_follow_the_labels() -> None:
    study = check_members(build({"id": "q1", "type": "likert", "text": "?", "labels": ["a", "b", "c"]})).study

    assert isinstance(study.questions[0], Likert)
    assert study.questions[0].points == 3


def test_a_stored_study_is_read_again() -> None:
    members = build(
        {"id": "s1", "type": "yes_no", "text": "?", "screen_out": ["no"], "missing": ["Don't know"]},
        {
            "id": "q4",
            "type": "conjoint",
            "text": "?",
            "attributes": {"brand": ["A", "B"], "price": ["1", "2"]},
        },
        stimulus={"images": [PNG]},
    )
    study = check_members(members).study

    assert check_members(msgspec.to_builtins(study)).study == study


def test_yaml_and_json_give_the_same_study() -> None:
    members = build({**ONE, "text": 'Umlaut ü, quote ", emoji 😀, tab \t'})

    assert read_study_file(json.dumps(members, indent="\t")).study == check_members(members).study


# Faults


def test_every_fault_is_listed_with_its_line_and_field() -> None:
    text = """study: 1
name: ""
persona: [p1]
personas: [p1, p1]
sample:
  size: 0
questions:
  - id: q1
    type: likert
    text: Good?
    points: twelve
  - id: q2
    type: multiple_choice
    text: Which {q2}?
    multiple: true
    max: 3
    options: [A, a, B]
  - {id: q2, type: npss, text: Recommend?}
"""
    with pytest.raises(StudyError) as caught:
        read_study_file(text)

    assert [(fault.line, fault.path) for fault in caught.value.faults] == [
        (2, "name"),
        (3, "persona"),
        (4, "personas[1].id"),
        (6, "sample.size"),
        (11, "questions[0].points"),
        (14, "questions[1].text"),
        (17, "questions[1].options[1]"),
        (18, "questions[2].type"),
    ]
    assert str(caught.value).splitlines()[1].startswith("line 3, persona: ")
    assert "Did you mean 'personas'?" in str(caught.value)


def test_an_entry_that_cannot_be_read_does_not_shift_the_others() -> None:
    broken = {"id": "q0", "type": "nps"}
    faults = find_faults(build(broken, {**CHOICE, "options": [{}, "A", "B", "b"]}))

    assert [fault.partition(": ")[0] for fault in faults] == [
        "questions[0]",
        "questions[1].options[0]",
        "questions[1].options[3]",
    ]


def test_json_has_lines_too() -> None:
    with pytest.raises(StudyError) as caught:
        read_study_file(
            '{"study": 1, "name": "x", "personas": ["a"],\n"questions": [\n{"id": "q1", "type": "nps"}]}'
        )

    assert str(caught.value) == "line 3, questions[0]: 'text' is missing."


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([], "A study is a mapping"),
        (build(study=2), "study: The format 2 is unknown"),
        (build(personas=[f"p{n}" for n in range(11)]), "personas: There are 11 personas"),
        (build(personas=[]), "personas: There are 0 personas"),
        (build(personas=[{"id": "p", "weight": 0}]), "personas[0].weight"),
        (build(personas=[{"id": "p", "weight": 1e308}]), "personas[0].weight: 1e+308 is not a weight"),
        (build(sample={"size": 10**400}), "sample.size: The number is outside 1 to"),
        (build(name="a\x00b"), "A text has the control character U+0000"),
        (build({**ONE, "text": "a\x1b[2Jb"}), "A text has the control character U+001B"),
        (build({**ONE, "text": "\ud800"}), "half of a character"),
        (build(*({**ONE, "id": f"q{n}"} for n in range(21))), "questions: There are 21 questions"),
        (build(questions=[]), "questions: There are 0 questions"),
        (build(sample={"size": 0}), "sample.size: 0 is outside 1"),
        (build(ONE, ONE), "questions[1].id: The question 'q1' is number 1 already"),
        (build({**ONE, "id": "not"}), "questions[0].id: 'not' cannot be an id"),
        (build({**ONE, "id": "q-1"}), "questions[0].id: 'q-1' cannot be an id"),
        (
            build(ONE, {**ONE, "id": "q0", "show_if": "q9 > 3"}),
            "questions[1].show_if: No question has the id",
        ),
        (
            build({**ONE, "show_if": "q2 > 3"}, {**ONE, "id": "q2"}),
            "questions[0].show_if: The condition refers to",
        ),
        (build({**ONE, "show_if": "q1 > 3"}), "questions[0].show_if: The condition refers to 'q1'"),
        (build(ONE, {**ONE, "id": "q2", "show_if": "import os"}), "questions[1].show_if: No question"),
        (
            build(SCREENER, NINE),
            "questions[1].show_if: Everybody who gives this answer to 's1' is screened out",
        ),
        (build({**ONE, "text": "Why {q1}?"}), "questions[0].text: The question pipes its own answer"),
        (build({**ONE, "text": "Why {q2}?"}, {**ONE, "id": "q2"}), "not asked before"),
        (build({**ONE, "text": "At {price}?"}), "questions[0].text: {price} is neither"),
        (build(ONE, {**CHOICE, "id": "q2", "options": ["A", "{q1}"]}), "can only be piped into the text"),
        (build({**CHOICE, "options": ["A", "B", "a"]}), "questions[0].options[2]: 'a' repeats entry 1"),
        (build({**CHOICE, "max": 2}), "questions[0].max: Only a question with several"),
        (build({**CHOICE, "multiple": True, "max": 4}), "questions[0].max: 4 is more than the 3 options"),
        (build({**CHOICE, "multiple": True, "max": 0}), "questions[0].max: 0 is below 1"),
        (build({**CHOICE, "options": ["A", {"text": "B", "exclusive": True}]}), "options[1].exclusive"),
        (build({**CHOICE, "nets": {"N": ["D"]}}), "questions[0].nets.N[0]: 'D' is not an option"),
        (build({**CHOICE, "multiple": True, "missing": ["X"]}), "questions[0].missing: Of several answers"),
        (build({**ONE, "screen_out": "11"}), "questions[0].screen_out: '11' is not an answer"),
        (build({**SCREENER, "screen_out": ["yes", "no"]}), "Every answer is screened out"),
        (
            build({"id": "q1", "type": "maxdiff", "text": "?", "items": ["A", "B", "C", "D"]}),
            "questions[0].items: 4 items cannot fill sets",
        ),
        (
            build({**CONJOINT, "attributes": {"brand": ["A", "B"], "price": []}}),
            "questions[0].attributes.price: The price needs at least two levels",
        ),
        (
            build({**CONJOINT, "attributes": {"brand": ["A", "B"], "price": ["cheap", "dear"]}}),
            "questions[0].attributes.price: The price needs at least two levels",
        ),
        (build({**CONJOINT, "price": "cost"}), "questions[0].price: No attribute is called 'cost'"),
        (
            build({**CONJOINT, "tasks": 1, "alternatives": 2}),
            "questions[0].tasks: 1 tasks cannot tell 2 effects",
        ),
        (build(stimulus={"images": ["notes.txt"]}), "stimulus.images[0]: 'notes.txt' is not an image"),
        (build(stimulus={"images": ["data:image/png;base64,AAAA"]}), "stimulus.images[0]"),
        (
            build(sample={"weights": {"age": {"18-34": 30, "35+": 60}}}),
            "sample.weights.age: The shares add up to 90",
        ),
        (build(cells=[{"id": "a"}, {"id": "a"}]), "cells[1].id"),
        (build(cells=[{"id": "a", "vars": {"x": "1"}}, {"id": "b"}]), "cells[1].vars: 'x' is missing"),
        (build(cells=[{"id": "a", "vars": {"q1": "1"}}]), "cells[0].vars.q1"),
        (build(banner=["cell"]), "banner[0]: The study has no cells"),
        (build({**ONE, "block": "b"}), "questions[0].block"),
        (build(language="english please"), "language"),
        (
            build({"id": "q1", "type": "semantic_differential", "text": "?", "poles": ["A"]}),
            "Give 2 entries, not",
        ),
        (build({"id": "q1", "type": "open_ended", "text": "?", "rounds": 5}), "questions[0].rounds"),
        (build("x"), "questions[0]: A question has fields"),  # type: ignore[arg-type]
    ],
)
def test_a_bad_study_names_the_field_and_what_to_do(members: Any, message: str) -> None:
    (fault,) = find_faults(members)

    assert message in fault


def test_a_condition_of_three_levels_is_refused() -> None:
    chain = [{**ONE, "id": f"q{n}", **({"show_if": f"q{n - 1} > 3"} if n else {})} for n in range(4)]

    (fault,) = find_faults(build(*chain))

    assert "questions[3].show_if: This is a condition of more than 2 levels" in fault


def test_what_depends_on_a_faulty_question_is_not_blamed() -> None:
    faults = find_faults(
        build(
            {**CHOICE, "max": 2},
            {**ONE, "id": "q2", "show_if": "q1 == A"},
            {**ONE, "id": "q3", "show_if": "q9 > 1"},
        )
    )

    assert [fault.partition(":")[0] for fault in faults] == ["questions[0].max", "questions[2].show_if"]


def test_an_unknown_language_and_a_conjoint_without_a_price_are_notices() -> None:
    study = check_members(build({**CONJOINT, "price": None}, language="fi")).study

    assert ["'fi'" in notice or "'q1'" in notice for notice in list_notices(study)] == [True, True]


def test_what_has_no_effect_is_a_notice() -> None:
    talk = {"id": "q1", "type": "open_ended", "text": "?", "rounds": 3}

    alone = [{"id": "one"}]
    [notice] = list_notices(check_members(build(talk, personas=alone)).study)

    assert "'q1' is asked once" in notice


# Hostile texts


def _bomb() -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (_bomb(), "line 1: Anchors and aliases"),
        ("name: *x", "line 1: Anchors and aliases"),
        ("name: !!python/object/apply:os.system [true]", "line 1: The tag"),
        ("name: !x y", "line 1: The tag"),
        ("[" * 5000, "nested in more than 20"),
        ("a: " + "[" * 200 + "]" * 200, "nested in more than 20"),
        ("a: [" + "1," * 30_000 + "]", "more than 20,000 values"),
        ("name: a\nname: b", "line 2: 'name' is given twice"),
        ('{"name": "a",\n"name": "b"}', "line 2: 'name' is given twice"),
        ("name: a\n---\nname: b", "line 2: The file has more than one document"),
        ("name: a: b", "line 1: This is not valid YAML"),
        ("? [a]\n: b", "line 1: A name is expected"),
        ("", "A study is a mapping"),
        (b"\xff\xfe\x00", "not UTF-8"),
        ("name: \x00", "This is not valid YAML"),
        ('name: "a\\0b"', "line 1: A text has the control character U+0000"),
        ('{"study": 1,\n"na\\u0000me": "b"}', "line 2: A text has the control character U+0000"),
        ("x" * 4_000_001, "The limit is 4,000,000"),
    ],
)
def test_a_hostile_text_is_refused(text: str | bytes, message: str) -> None:
    with pytest.raises(StudyError) as caught:
        read_study_file(text)
    assert message in str(caught.value)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["questions", "personas", "sample", "id", "type", "cells", "vars"]), inner
            )
        ),
        max_leaves=20,
    )
)
def test_any_data_is_a_study_or_an_error(data: Any) -> None:
    with pytest.raises(StudyError):
        check_members(data)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("$3.49", 3.49),
        ("3,49 €", 3.49),
        ("1 200 kr", 1200.0),
        ("£1,200.50", 1200.5),
        ("7", 7.0),
        ("cheap", None),
    ],
)
def test_prices_are_read_as_people_write_them(text: str, number: float | None) -> None:
    assert read_price(text) == number
