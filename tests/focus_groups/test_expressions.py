"""`show_if`: the grammar, its messages, and Kleene's logic against a table of truth."""

import contextlib
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mavera.focus_groups.expressions import (
    FALSE,
    TRUE,
    UNKNOWN,
    ConditionError,
    Matches,
    evaluate,
    parse_condition,
)
from mavera.focus_groups.study import (
    NPS,
    Likert,
    Matrix,
    MultipleChoice,
    OpenEnded,
    Option,
    Question,
    Ranking,
    Row,
    YesNo,
)
from tests.focus_groups.studies import make_answers, make_study

TASTES = (Option(text="Taste"), Option(text="Price"), Option(text="None of these"))
QUESTIONS: dict[str, Question] = {
    "s1": YesNo(id="s1", text="Drink?", missing=("Don't know",)),
    "q1": NPS(id="q1", text="Recommend?"),
    "q2": Likert(id="q2", text="Like?", points=3, labels=("Disagree", "Neither", "Agree")),
    "q3": MultipleChoice(id="q3", text="Why?", multiple=True, options=TASTES),
    "q4": Matrix(id="q4", text="Rate", points=7, rows=(Row(id="r1", text="Look"), Row(id="r2", text="Feel"))),
    "q5": Ranking(id="q5", text="Rank", items=TASTES),
    "q6": OpenEnded(id="q6", text="Why?"),
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("q1 >= 7", Matches("q1", None, frozenset({7, 8, 9, 10}))),
        ("7 <= q1", Matches("q1", None, frozenset({7, 8, 9, 10}))),
        ("q1 ≥ 7 and q1 < 9", Matches("q1", None, frozenset({7, 8}))),
        ("q1 < 2 or q1 = 10", Matches("q1", None, frozenset({0, 1, 10}))),
        ("not q1 >= 7", Matches("q1", None, frozenset(range(7)))),
        ("s1 == no", Matches("s1", None, frozenset({1}))),
        ('q2 >= "neither"', Matches("q2", None, frozenset({1, 2}))),
        ("q2 != Agree", Matches("q2", None, frozenset({0, 1}))),
        ("q2 == 3", Matches("q2", None, frozenset({2}))),
        ("q3 in [Taste, 'Price']", Matches("q3", None, frozenset({0, 1}))),
        ("Taste in q3", Matches("q3", None, frozenset({0}))),
        ("q3 not in (Taste)", Matches("q3", None, frozenset({0}), is_negated=True)),
        ("not (not (q3 == Taste))", Matches("q3", None, frozenset({0}))),
        ("q4.r2 > 5", Matches("q4", "r2", frozenset({5, 6}))),
        ("q5 == Price", Matches("q5", None, frozenset({1}))),
    ],
)
def test_a_comparison_names_the_answers_that_match(text: str, expected: Matches) -> None:
    assert parse_condition(text, QUESTIONS) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "ends too early"),
        ("q1", "operator is missing"),
        ("q1 >=", "ends too early"),
        ("q1 >= 11", "No answer of 'q1'"),
        ("q1 >= 0", "Every answer of 'q1'"),
        ("q1 == 12", "is not an answer of 'q1'"),
        ("q9 == 1", "No question has the id 'q9'"),
        ("later == 1", "not asked before"),
        ("1 <= later", "not asked before"),
        ("q6 == good", "open_ended"),
        ("q4 >= 3", "q4.r1, q4.r2"),
        ("q4.r9 >= 3", "q4.r1, q4.r2"),
        ("q1.r1 >= 3", "no rows"),
        ("q3 > Taste", "no order"),
        ('s1 == "Don\'t know"', "missing answer"),
        ("5 < q1 < 7", "chained"),
        ("q1 < 7 < 9", "chained"),
        ("(q1 > 3", "')' is missing"),
        ("q1 > 3)", "does not end"),
        ("q1 > 3 q2 == 1", "does not end"),
        ("q1 in 3", "list is missing"),
        ("q1 not 3", "'in' is missing"),
        ("__import__('os').system('true')", "No question has the id '__import__'"),
        ("q1 > 3; q2", "cannot be read at '; q2'"),
        ("(" * 30 + "q1 > 3" + ")" * 30, "20 levels"),
        ("not " * 30 + "q1 > 3", "20 levels"),
        ("q1 > 3 and " * 100 + "q1 > 3", "The limit is 500"),
        ("and", "question id is expected"),
    ],
)
def test_a_condition_that_cannot_be_read_says_what_to_write(text: str, message: str) -> None:
    with pytest.raises(ConditionError) as caught:
        parse_condition(text, QUESTIONS, later=["later"])
    assert message in str(caught.value)


@given(st.text(max_size=60) | st.text(alphabet="q123 <>=!()[],.andornotin\"'", max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(ConditionError):
        parse_condition(text, QUESTIONS, later=["later"])


# Three values as numbers: not is 2 - x, and is the smaller one, or the larger one.
_ATOMS = ["s1 == yes", "q2 == Agree", "q3 == Taste"]
_FORMS = st.recursive(
    st.sampled_from(_ATOMS),
    lambda inner: st.tuples(st.just("not"), inner) | st.tuples(st.sampled_from(["and", "or"]), inner, inner),
    max_leaves=6,
)
Form = str | tuple["str", "Form"] | tuple["str", "Form", "Form"]


def _write(form: Form) -> str:
    match form:
        case str():
            return form
        case ("not", inner):
            return f"not ({_write(inner)})"
        case (word, left, right):
            return f"({_write(left)}) {word} ({_write(right)})"
    raise AssertionError(form)


def _expect(form: Form, truths: dict[str, int]) -> int:
    match form:
        case str():
            return truths[form]
        case ("not", inner):
            return 2 - _expect(inner, truths)
        case (word, left, right):
            return (min if word == "and" else max)(_expect(left, truths), _expect(right, truths))
    raise AssertionError(form)


@given(_FORMS)
def test_unknown_follows_kleene(form: Form) -> None:
    rows = list(itertools.product((FALSE, UNKNOWN, TRUE), repeat=3))
    single = {FALSE: 1, UNKNOWN: None, TRUE: 0}
    likert = {FALSE: 0, UNKNOWN: None, TRUE: 2}
    several = {FALSE: [False, True, False], UNKNOWN: None, TRUE: [True, True, False]}
    answers = {
        "s1": make_answers([single[a] for a, _, _ in rows]),
        "q2": make_answers([likert[b] for _, b, _ in rows]),
        "q3": make_answers([several[c] for _, _, c in rows]),
    }
    study = make_study(*QUESTIONS.values())

    found = evaluate(parse_condition(_write(form), QUESTIONS), answers, study)

    assert found.tolist() == [_expect(form, dict(zip(_ATOMS, row, strict=True))) for row in rows]


def test_a_missing_answer_makes_a_comparison_unknown() -> None:
    study = make_study(*QUESTIONS.values())
    answers = {"s1": make_answers([0, 1, 2, None], missing_from=2)}

    for text in ("s1 == yes", "s1 != no", "not s1 == no"):
        found = evaluate(parse_condition(text, QUESTIONS), answers, study)
        assert found.tolist() == [TRUE, FALSE, UNKNOWN, UNKNOWN]
