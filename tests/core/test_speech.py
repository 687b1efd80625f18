"""Faults of a spoken answer that a rule finds."""

import pytest

from mavera.core.speech import breaks_character, find_copied_grams, has_loop, repeats_sentence


def test_four_words_said_three_times_are_a_loop() -> None:
    twice = "I don't want to move. I like it. I don't want to move."

    assert not has_loop(twice)
    assert has_loop(f"{twice} And I don't want to leave.")


def test_six_words_in_a_row_are_a_copy_whatever_their_case() -> None:
    known = find_copied_grams(["I paid nine dollars for that, twice."])

    assert not known.isdisjoint(find_copied_grams(["You know: i PAID nine dollars for that."]))
    assert known.isdisjoint(find_copied_grams(["I paid nine dollars for it, twice."]))


@pytest.mark.parametrize("text", ["As an AI, I cannot.", "I'm an assistant.", "How can I help you?"])
def test_assistants_break_character(text: str) -> None:
    assert breaks_character(text)


def test_a_person_may_speak_of_assistants() -> None:
    assert not breaks_character("My assistant books my flights.")


@pytest.mark.parametrize(
    ("text", "repeats"),
    [
        ("I do not trust the people at the till. No, I do not trust the people there at the till.", True),
        ("I buy my shoes in a shop near the station. I sell old phones on Sundays.", False),
        ("I do not. I do not.", False),
        ("", False),
    ],
)
def test_two_sentences_of_nearly_the_same_words_are_a_repetition(text: str, repeats: bool) -> None:
    assert repeats_sentence(text) is repeats
