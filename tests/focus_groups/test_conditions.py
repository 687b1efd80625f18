"""Conditions of a question: from `show_if`, from piped answers, and from screeners."""

import pytest

from mavera.focus_groups.conditions import (
    conditions_of,
    fill_question_text,
    level_of,
    list_screening_answers,
    state_facts,
)
from mavera.focus_groups.expressions import AllOf, ConditionError, Matches
from mavera.focus_groups.study import (
    NPS,
    Likert,
    MultipleChoice,
    OpenEnded,
    Option,
    Rating,
    SemanticDifferential,
    Slider,
    YesNo,
)
from tests.focus_groups.studies import make_study

SCREENER = YesNo(id="s1", text="Do you drink oat milk?", screen_out=("no",))
RECOMMEND = NPS(id="q1", text="Recommend it at {price}?")


def options(*names: str) -> tuple[Option, ...]:
    return tuple(Option(text=name) for name in names)


def test_a_question_for_everybody_has_one_condition_without_a_key() -> None:
    study = make_study(RECOMMEND)

    (condition,) = conditions_of(study, RECOMMEND)

    assert (condition.key, condition.expression, condition.facts) == ("", None, ())


def test_a_screener_is_stated_later_and_makes_no_condition() -> None:
    study = make_study(SCREENER, RECOMMEND)

    (condition,) = conditions_of(study, RECOMMEND)

    assert condition.key == ""
    assert state_facts(study, condition, {}) == ("When asked “Do you drink oat milk?”, you answered: Yes.",)
    assert list_screening_answers(SCREENER) == {1}


def test_show_if_is_stated_with_the_words_of_the_scale() -> None:
    why = OpenEnded(id="q2", text="Why?", show_if="q1 >= 7")
    study = make_study(SCREENER, RECOMMEND, why)

    (condition,) = conditions_of(study, why)

    assert condition.key == "q1=7|8|9|10"
    assert state_facts(study, condition, {"price": "$3"}) == (
        "When asked “Do you drink oat milk?”, you answered: Yes.",
        "When asked “Recommend it at $3?”, you answered: 7 or more.",
    )


def test_the_same_condition_has_the_same_key_however_it_is_written() -> None:
    one = OpenEnded(id="q2", text="Why?", show_if="q1 >= 7")
    other = OpenEnded(id="q2", text="Why?", show_if="not (q1 < 7)")

    keys = [conditions_of(make_study(RECOMMEND, q), q)[0].key for q in (one, other)]

    assert keys[0] == keys[1]


@pytest.mark.parametrize(
    ("earlier", "words"),
    [
        (NPS(id="q1", text="?"), ["6 or less", "7 to 8", "9 or more"]),
        (Rating(id="q1", text="?", points=5), ["2 or less", "3", "4 or more"]),
        (Rating(id="q1", text="?", points=4), ["2 or less", "3 or more"]),
        (Likert(id="q1", text="?", points=3, labels=("No", "So so", "Yes")), ["No", "So so", "Yes"]),
        (Slider(id="q1", text="?"), ["30 or less", "40 to 60", "70 or more"]),
        (YesNo(id="q1", text="?"), ["Yes", "No"]),
        (
            SemanticDifferential(id="q1", text="?", poles=("Cold", "Warm"), points=5),
            ["closer to “Cold”", "in the middle", "closer to “Warm”"],
        ),
        (MultipleChoice(id="q1", text="?", options=options(*"ABCDEFGH")), [*"ABCDE", "F, G or H"]),
    ],
)
def test_a_piped_answer_makes_one_condition_for_each_group(earlier: NPS, words: list[str]) -> None:
    why = OpenEnded(id="q2", text="Why {q1}?")
    study = make_study(earlier, why)

    texts = [fill_question_text(why, condition, {}) for condition in conditions_of(study, why)]

    assert texts == [f"Why {one}?" for one in words]


def test_a_group_has_only_answers_that_the_condition_leaves() -> None:
    why = OpenEnded(id="q2", text="Why {q1}?", show_if="q1 >= 8")
    study = make_study(RECOMMEND, why)

    found = conditions_of(study, why)

    assert [one.expression for one in found] == [
        Matches("q1", None, frozenset({8})),
        Matches("q1", None, frozenset({9, 10})),
    ]
    assert [dict(one.words)["q1"] for one in found] == ["8", "9 or more"]


def test_a_screened_answer_is_not_piped() -> None:
    why = OpenEnded(id="q2", text="Why {s1}?")

    assert [one.words for one in conditions_of(make_study(SCREENER, why), why)] == [(("s1", "Yes"),)]


def test_a_condition_of_a_condition_states_both() -> None:
    buy = YesNo(id="q2", text="Buy?", show_if="q1 >= 7")
    why = OpenEnded(id="q3", text="Why {q2}?")
    study = make_study(RECOMMEND, buy, why)

    yes, _ = conditions_of(study, why)

    assert level_of(study, why) == 2
    assert state_facts(study, yes, {"price": "$3"}) == (
        "When asked “Recommend it at $3?”, you answered: 7 or more.",
        "When asked “Buy?”, you answered: Yes.",
    )
    # Membership is about q2 only: who was asked it has answered 7 or more.
    assert yes.expression == Matches("q2", None, frozenset({0}))


def test_alternatives_are_stated_as_alternatives() -> None:
    choice = MultipleChoice(id="q3", text="Which?", multiple=True, options=options("A", "B"))
    why = OpenEnded(id="q4", text="Why?", show_if="q1 >= 9 or not q3 == B")
    study = make_study(NPS(id="q1", text="Recommend?"), choice, why)

    (condition,) = conditions_of(study, why)

    assert " ".join(state_facts(study, condition, {})) == (
        "At least one of these is true: (1) When asked “Recommend?”, you answered: 9 or more. "
        "(2) When asked “Which?”, you did not choose B."
    )


@pytest.mark.parametrize("language", ["de", "es", "fr", "pt"])
def test_facts_are_stated_in_the_language_of_the_study(language: str) -> None:
    why = OpenEnded(id="q2", text="X", show_if="q1 >= 7")
    study = make_study(NPS(id="q1", text="Y"), why, language=language)

    (fact,) = state_facts(study, conditions_of(study, why)[0], {})

    assert "When" not in fact
    assert fact.count("Y") == fact.count("7") == 1


def test_two_piped_answers_are_combined_up_to_a_limit() -> None:
    first, second = NPS(id="q1", text="?"), Rating(id="q2", text="?")
    pair = OpenEnded(id="q3", text="Why {q1} and {q2}?")
    study = make_study(first, second, pair)

    found = conditions_of(study, pair)

    assert len(found) == len({one.key for one in found}) == 9
    assert all(isinstance(one.expression, AllOf) for one in found)

    many = make_study(first, second, YesNo(id="q4", text="?"), OpenEnded(id="q5", text="{q1} {q2} {q4}"))
    with pytest.raises(ConditionError, match="18 conditions"):
        conditions_of(many, many.questions[-1])


def test_several_answers_are_not_piped() -> None:
    choice = MultipleChoice(id="q1", text="Which?", multiple=True, options=options("A", "B"))
    why = OpenEnded(id="q2", text="Why {q1}?")

    with pytest.raises(ConditionError, match="several answers"):
        conditions_of(make_study(choice, why), why)


def test_a_condition_that_contradicts_itself_is_refused() -> None:
    why = OpenEnded(id="q2", text="Why?", show_if="q1 >= 9 and q1 < 3")

    with pytest.raises(ConditionError, match="never true"):
        conditions_of(make_study(RECOMMEND, why), why)
