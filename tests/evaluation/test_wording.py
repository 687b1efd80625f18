"""How answers are worded, measured on texts whose figures are known."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy
import pytest

from mavera.evaluation.drawing import draw_questions
from mavera.evaluation.items import QUESTIONS
from mavera.evaluation.personas import Plan
from mavera.evaluation.wording import (
    measure_copies,
    measure_length,
    measure_loops,
    measure_reasons,
    measure_topic,
    strip_question,
)
from mavera.personas.builtin import PersonaLibrary

LIBRARY = PersonaLibrary.load()


def test_words_are_counted_between_spaces() -> None:
    words = measure_length(["one", "one two three", "a $249 thermo-stat won't do"])

    assert (words.value, words.cases) == (3, 3)
    assert words.interval == (1, 5)


def test_four_words_said_three_times_are_a_loop() -> None:
    once = "I would not pay for it. I would not pay for that."

    assert measure_loops([once, f"{once} I would not pay.", "no"]).hits == 1


def test_a_reason_has_a_word_that_introduces_it() -> None:
    said = ["No, because it breaks.", "No. It costs $40, so we share one.", "Never. I like my bank."]

    assert measure_reasons(said).hits == 2


def test_six_words_of_a_sample_answer_in_a_row_are_a_copy() -> None:
    samples = {"a": ["The lease lost by $4,100 over five years."], "b": []}
    said = [
        ("a", "Well, the lease lost by $4,100 over time."),
        ("a", "The lease lost by a lot."),
        ("b", "The lease lost by $4,100 over five years."),
    ]

    assert measure_copies(said, samples).hits == 1


def test_an_answer_is_on_topic_by_what_it_adds_to_the_question() -> None:
    questions = ["Would you lease a car?", "Do you tip?"]

    def embed(texts: Sequence[str]) -> Any:
        rows = [[float("car" in text or "monthly" in text), float("tip" in text)] for text in texts]
        return numpy.array(rows)

    answers = [
        ("Would you lease a car?", "The monthly bill is small."),
        ("Do you tip?", "I tip. My car is old."),
    ]
    assert strip_question("Do you tip?", "I tip. My car is old.") == "I . My car is old."
    assert measure_topic(answers, questions, embed).hits == 1


def test_drawn_questions_are_the_same_every_time_and_evenly_spread() -> None:
    drawn = draw_questions([str(n) for n in range(60)], QUESTIONS, 10)

    assert drawn == draw_questions([str(n) for n in range(60)], QUESTIONS, 10)
    assert {len(set(hand)) for hand in drawn.values()} == {10}
    assert set(Counter(question for hand in drawn.values() for question in hand).values()) == {20}
    assert {sum(QUESTIONS.index(question) % 2 for question in hand) for hand in drawn.values()} == {5}


@pytest.mark.parametrize(("drawn", "answers"), [(None, 1800), (10, 600), (40, 1800)])
def test_a_plan_may_draw_a_part_of_the_questions(drawn: int | None, answers: int) -> None:
    plan = Plan.of(LIBRARY, 60, 30, 0, drawn)

    assert plan.steps == answers
    assert all(list(hand) == sorted(hand, key=QUESTIONS.index) for hand in plan.asked.values())
