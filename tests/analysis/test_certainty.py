"""How certain an answer sounds, from its hedges and boosters."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mavera.analysis.certainty import rate_certainty
from mavera.reading.sentences import split_sentences


def rate(text: str) -> float:
    value = rate_certainty(split_sentences(text))
    assert value is not None
    return value


def test_hedges_lower_it_and_boosters_raise_it() -> None:
    plain = rate("The train leaves at nine.")

    assert plain == 7.0
    assert rate("I think the train might leave at nine.") <= plain - 3
    assert rate("The train definitely leaves at nine, no doubt about it.") >= plain + 2


@pytest.mark.parametrize(
    "text",
    [
        "I'm not sure.",
        "I am not entirely certain of it.",
        "That isn’t necessarily so.",
        "Who knows?",
        "There is no guarantee.",
        "It can work, but it is not guaranteed to.",
        "As an assistant, I cannot give you a definitive answer.",
        "We cannot rule out a second cause.",
        "It remains to be seen whether the shop opens.",
        "The sales are unpredictable.",
    ],
)
def test_a_denied_certainty_is_a_doubt(text: str) -> None:
    assert rate(text) < 5.5


def test_a_month_is_no_hedge() -> None:
    assert rate("We open in May.") == rate("We open in June.")


@pytest.mark.parametrize("text", ["She rented it rather than bought it.", "We had to settle the bill."])
def test_words_that_only_look_like_hedges_or_boosters_do_not_count(text: str) -> None:
    assert rate(text) == 7.0


def test_the_first_sentence_counts_more_than_another() -> None:
    doubt, rest = "I am unsure. ", "The shop is open. " * 3

    assert rate(doubt + rest) < rate(rest + doubt)


def test_one_doubt_in_a_long_answer_weighs_little() -> None:
    text = "The shop is open. " * 9

    assert rate(text) - rate(text + "Maybe it closes early.") < 1


def test_without_a_sentence_there_is_no_value() -> None:
    assert rate_certainty([]) is None


@given(st.text(max_size=300))
def test_it_stays_on_its_scale(text: str) -> None:
    value = rate_certainty(split_sentences(text))

    assert value is None or 1 <= value <= 10
