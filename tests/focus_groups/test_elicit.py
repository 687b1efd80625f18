"""A cell is asked in the planned reads, and its answers are read from tokens and texts."""

import asyncio
import math
from collections.abc import AsyncGenerator

import pytest

from mavera.core.events import Event, RunCompleted, RunStarted, TextDelta, TokenLogprob
from mavera.core.turn import Turn
from mavera.core.usage import Usage
from mavera.focus_groups.asks import Shown, plan_asks
from mavera.focus_groups.elicit import Elicitor, NoLogprobs, UnusableAnswer
from mavera.focus_groups.study import (
    NPS,
    Attribute,
    Conjoint,
    MaxDiff,
    MultipleChoice,
    OpenEnded,
    Option,
    Ranking,
    YesNo,
)

YES_NO = Shown(YesNo(id="q", text="Do you?"), "Do you?", "en")
THREE = tuple(Option(text=text) for text in ("tea", "milk", "water"))


run = asyncio.run


def script(*answers: tuple[str, list[tuple[str, float]] | None]) -> tuple[Elicitor, list[Turn]]:
    """Return an elicitor whose model gives `answers`: a text, and the likeliest tokens with their shares."""
    turns: list[Turn] = []
    left = list(answers)

    async def stream(turn: Turn) -> AsyncGenerator[Event, None]:
        turns.append(turn)
        text, top = left.pop(0)
        tokens = [] if top is None else [TokenLogprob(token, math.log(share)) for token, share in top]
        scored = (TokenLogprob(text, 0.0, top=tuple(tokens)),) if tokens else ()
        yield RunStarted()
        yield TextDelta(text, scored)
        yield RunCompleted("stop", Usage(input_tokens=10, output_tokens=1))

    return Elicitor(stream, model="mavera-1"), turns


def test_a_list_is_asked_for_in_the_order_of_the_file_and_backwards() -> None:
    question = MultipleChoice(id="q", text="Which?", options=THREE, missing=("Don't know",))
    asks = plan_asks(Shown(question, "Which?", "en", options=("tea", "milk", "water")), "letters")
    assert [ask.order for ask in asks] == [(0, 1, 2, 3), (2, 1, 0, 3)]
    assert "A) water\nB) milk\nC) tea\nD) Don't know" in asks[1].text


@pytest.mark.parametrize(
    ("shown", "reads"),
    [
        (YES_NO, 2),
        (Shown(NPS(id="q", text=""), "", "en"), 2),
        (
            Shown(
                MultipleChoice(id="q", text="", options=THREE, multiple=True),
                "",
                "en",
                options=("a", "b", "c"),
            ),
            6,
        ),
        (Shown(Ranking(id="q", text="", items=THREE), "", "en", options=("a", "b", "c")), 3),
        (Shown(MaxDiff(id="q", text="", items=tuple("abcdef")), "", "en", alternatives=tuple("abcd")), 4),
        (
            Shown(
                Conjoint(id="q", text="", none=True, attributes=(Attribute(name="x", levels=("1", "2")),)),
                "",
                "en",
                alternatives=("a", "b", "c"),
            ),
            3,
        ),
        (Shown(OpenEnded(id="q", text="", verbatims=7), "", "en"), 7),
    ],
)
def test_reads_of_each_type(shown: Shown, reads: int) -> None:
    assert len(plan_asks(shown, "letters")) == reads


def test_none_of_these_stays_last_in_a_conjoint_task() -> None:
    question = Conjoint(id="q", text="", none=True, attributes=(Attribute(name="x", levels=("1", "2")),))
    asks = plan_asks(Shown(question, "", "de", alternatives=("a", "b")), "letters")
    assert [ask.order for ask in asks] == [(0, 1, 2), (1, 0, 2)]
    assert all("C) Nichts davon" in ask.text for ask in asks)


def test_a_list_longer_than_the_letters_is_asked_for_as_shares() -> None:
    many = tuple(Option(text=f"o{number}") for number in range(21))
    question = MultipleChoice(id="q", text="Which?", options=many)
    shown = Shown(question, "Which?", "en", options=tuple(option.text for option in many))
    assert [ask.kind for ask in plan_asks(shown, "letters")] == ["shares"]


def test_spellings_of_one_letter_count_together() -> None:
    elicitor, turns = script(("A", [("A", 0.4), (" A", 0.2), ("B)", 0.3)]), ("A", [("B", 0.9), ("A", 0.1)]))
    reading = run(elicitor.elicit(YES_NO, None, "letters"))
    first, second = (read.logprobs for read in reading.reads)
    assert [math.exp(value) for value in first] == pytest.approx([0.6, 0.3])
    assert [math.exp(value) for value in second] == pytest.approx([0.1, 0.9])
    assert turns[0].max_output_tokens == 1
    assert turns[0].sampling.temperature == 0
    assert reading.input_tokens == 20


def test_a_letter_that_is_not_listed_is_less_likely_than_the_last_one() -> None:
    elicitor, _ = script(*[("A", [("A", 0.9), ("The", 0.01)])] * 2)
    read = run(elicitor.elicit(YES_NO, None, "letters")).reads[0]
    assert math.exp(read.logprobs[1]) == pytest.approx(0.005)


def test_shares_are_asked_for_if_the_letters_hold_less_than_half() -> None:
    elicitor, turns = script(("The", [("The", 0.9), ("A", 0.05)]), ('{"answer_1": 30, "answer_2": 10}', None))
    reading = run(elicitor.elicit(YES_NO, None, "letters"))
    assert [read.kind for read in reading.reads] == ["shares"]
    assert reading.reads[0].shares == (0.75, 0.25)
    assert turns[1].format.schema is not None


@pytest.mark.parametrize("said", ["no", "[]", '{"answer_1": 0, "answer_2": 0}', '{"answer_1": "x"}', "{}"])
def test_shares_that_cannot_be_used_fail_the_cell(said: str) -> None:
    elicitor, _ = script((said, None))
    with pytest.raises(UnusableAnswer):
        run(elicitor.elicit(YES_NO, None, "shares"))


def test_a_server_without_log_probabilities_is_named() -> None:
    elicitor, _ = script(("A", None))
    with pytest.raises(NoLogprobs):
        run(elicitor.elicit(YES_NO, None, "letters"))
