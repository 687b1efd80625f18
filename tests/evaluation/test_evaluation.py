"""The measures, on answers whose figures are known."""

import asyncio
import math
import xml.etree.ElementTree
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mavera.core.events import Event, RunCompleted, RunFailed, RunStarted, TextDelta, TokenLogprob
from mavera.core.items import Message
from mavera.core.turn import Turn
from mavera.core.usage import Usage
from mavera.errors import ConfigurationError, ServiceUnavailable
from mavera.evaluation.asking import AnswerFile, Interviewer
from mavera.evaluation.items import ITEMS, PAIRS, QUESTIONS
from mavera.evaluation.measures import (
    Share,
    measure_character,
    measure_direction,
    measure_distinctness,
    measure_stability,
)
from mavera.evaluation.personas import Plan, evaluate
from mavera.evaluation.plot import draw_svg
from mavera.personas.builtin import PersonaLibrary
from mavera.personas.persona import CATEGORIES

LIBRARY = PersonaLibrary.load()


def test_voices_that_differ_are_told_apart_and_one_voice_is_not() -> None:
    voices = {"a": "ngl, i guess? no.", "b": "I beg your pardon. Indeed, rather dear.", "c": "Mate! 20 quid?"}
    apart = {(who, n): f"{text} {n}" for who, text in voices.items() for n in range(6)}
    alike = {(who, n): f"The same sentence {n}." for who in voices for n in range(6)}

    assert measure_distinctness(apart).value == 1
    assert measure_distinctness(alike).value == pytest.approx(1 / 3)


def test_a_classifier_knows_nothing_of_the_questions_it_is_tested_on() -> None:
    # A word that only goes with a question tells nothing about who answers another one.
    answers = {(who, n): f"word{n}{who if n == 0 else ''}" for who in "ab" for n in range(4)}
    assert measure_distinctness(answers).value <= 0.75


def test_assistants_phrases_are_out_of_character() -> None:
    said = ["As an AI, I cannot.", "How can I help you?", "no. too dear.", "I work at an airport.", ""]
    assert measure_character(said).hits == 2


def test_signs_and_wordings_are_counted() -> None:
    assert measure_direction([(0.2, 1), (-0.1, 1), (-0.3, -1), (0.0, 1)]).hits == 2.5
    assert measure_stability([(0.9, 0.6), (0.2, 0.8), (0.1, 0.4)]).hits == 2


@given(st.integers(1, 500), st.data())
def test_an_interval_holds_its_share_and_shrinks_with_more_cases(cases: int, data: st.DataObject) -> None:
    hits = data.draw(st.integers(0, cases))
    low, high = Share(hits, cases).interval
    more_low, more_high = Share(hits * 4, cases * 4).interval
    assert 0 <= low <= hits / cases <= high <= 1
    assert more_high - more_low < high - low


def test_there_are_sixty_pairs_each_with_a_source_and_personas_that_exist() -> None:
    plan = Plan.of(LIBRARY, 60, 30, 1000)
    assert len(plan.cases) >= 60
    assert (len(plan.personas), len(plan.questions)) == (60, 30)
    assert {persona.category for persona in Plan.of(LIBRARY, 10, 0, 0).personas} == set(CATEGORIES)
    assert len({persona.id for persona in plan.personas}) == 60
    assert len(set(QUESTIONS)) == 30
    assert all(item.source and item.ask != item.reworded for item in ITEMS)
    assert {item.sign for item in ITEMS} == {1, -1}
    assert all(LIBRARY.find(name) for pairs in PAIRS.values() for pair in pairs for name in pair)


class Model:
    """Says yes as a student and no as everybody else, and answers in words by its name."""

    def __init__(self) -> None:
        self.asked = 0

    async def run(self, turn: Turn) -> AsyncGenerator[Event, None]:
        self.asked += 1
        yield RunStarted()
        if turn.top_logprobs is None:
            yield TextDelta(f"I am {turn.persona_id}.")
        else:
            [question] = turn.items
            assert isinstance(question, Message)
            yes_is_a = "A) Yes" in question.text
            yes = turn.persona_id == LIBRARY.find("College Student").id
            top = (TokenLogprob("A" if yes == yes_is_a else " B", -0.1), TokenLogprob("C", -3.0))
            yield TextDelta("x", (TokenLogprob("x", -0.1, top=top),))
        yield RunCompleted("stop", Usage())


def test_an_evaluation_that_was_interrupted_goes_on_where_it_stopped(tmp_path: Path) -> None:
    file = tmp_path / "answers.jsonl"
    plan = Plan.of(LIBRARY, 4, 4, 16)

    first = Model()
    report = asyncio.run(evaluate(plan, Interviewer(first.run, AnswerFile(file)), lambda: None))
    file.write_bytes(file.read_bytes()[:-3])
    second = Model()
    again = asyncio.run(evaluate(plan, Interviewer(second.run, AnswerFile(file)), lambda: None, at_once=3))

    assert again == report
    assert 0 < second.asked <= 2 < first.asked
    assert report.distinctness.value == 1
    assert report.direction == Share(sum(item.sign == 1 for item, _, _ in plan.cases), 16)
    assert report.direction_by_label.value == 0.5
    assert report.stability.value == 1
    parts = [[part.share for part in report.by_contrast[side::2]] for side in (0, 1)]
    assert [sum(one.hits for one in part) for part in parts] == [
        report.direction.hits,
        report.direction_by_label.hits,
    ]
    assert [sum(one.cases for one in part) for part in parts] == [16, 16]
    xml.etree.ElementTree.fromstring(draw_svg(report.figures, "a < b"))


def test_each_contrast_counts_its_own_pairs() -> None:
    plan = Plan.of(LIBRARY, 0, 0, 34)
    student = LIBRARY.find("College Student")

    report = asyncio.run(evaluate(plan, Interviewer(Model().run, AnswerFile(None)), lambda: None))

    expected: dict[str, list[float]] = {}
    for item, one, other in plan.cases:
        leaning = (one.id == student.id) - (other.id == student.id)
        hit = 0.5 if not leaning else float(leaning == item.sign)
        expected.setdefault(item.contrast, []).append(hit)
    assert len(expected) > 1
    assert {name: (sum(hits), len(hits)) for name, hits in expected.items()} == {
        name: (share.hits, share.cases) for name, (share, _) in report.contrasts.items()
    }


def test_a_model_that_fails_ends_the_evaluation_with_its_reason() -> None:
    async def fails(turn: Turn) -> AsyncGenerator[Event, None]:
        yield RunFailed(ServiceUnavailable("The model is away.", retry_after=1))

    plan = Plan.of(LIBRARY, 4, 4, 16)
    with pytest.raises(ServiceUnavailable, match="away"):
        asyncio.run(evaluate(plan, Interviewer(fails, AnswerFile(None)), lambda: None, at_once=3))


def test_a_server_without_log_probabilities_is_told_from_one_that_is_undecided() -> None:
    async def plain(turn: Turn) -> AsyncGenerator[Event, None]:
        yield TextDelta("A")
        yield RunCompleted("stop", Usage())

    with pytest.raises(ConfigurationError, match="--pairs 0"):
        asyncio.run(Interviewer(plain, AnswerFile(None)).ask_yes(None, "Do you smoke?"))


@given(st.floats(0.01, 0.99), st.floats(-8, 8))
def test_a_liking_for_a_letter_changes_no_answer(yes: float, liking: float) -> None:
    async def biased(turn: Turn) -> AsyncGenerator[Event, None]:
        [question] = turn.items
        assert isinstance(question, Message)
        odds = math.log(yes / (1 - yes)) * (1 if "A) Yes" in question.text else -1) + liking
        a = 1 / (1 + math.exp(-odds))
        top = (TokenLogprob("A", math.log(a)), TokenLogprob(" B", math.log(1 - a)))
        yield TextDelta("A", (TokenLogprob("A", top[0].logprob, top=top),))
        yield RunCompleted("length", Usage())

    found = asyncio.run(Interviewer(biased, AnswerFile(None)).ask_yes(None, "Do you smoke?"))
    assert found == pytest.approx(yes, abs=1e-3)


def test_a_model_that_chooses_neither_letter_is_asked_for_shares_and_else_counts_as_undecided() -> None:
    said = iter(["", '{"answer_1": 30, "answer_2": 10}', "", "no JSON"])

    async def evades(turn: Turn) -> AsyncGenerator[Event, None]:
        text = next(said)
        top = (TokenLogprob("Well", -0.1), TokenLogprob("A", -5.0))
        yield TextDelta(text or "Well", () if text else (TokenLogprob("Well", -0.1, top=top),))
        yield RunCompleted("stop", Usage())

    interviewer = Interviewer(evades, AnswerFile(None))
    assert asyncio.run(interviewer.ask_yes(None, "Do you smoke?")) == pytest.approx(0.75)
    assert asyncio.run(interviewer.ask_yes(None, "Do you drink?")) == 0.5


def test_another_file_is_no_file_of_answers(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("hello\n")
    with pytest.raises(ConfigurationError, match="not a file of answers"):
        AnswerFile(tmp_path / "a")
