"""An answer of a small model ends before it says the same four words a third time."""

import asyncio
import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from mavera.core.events import AnswerEvent, RunCompleted, RunStarted, TextDelta
from mavera.core.items import make_message
from mavera.core.prompt import Prompt
from mavera.core.speech import has_loop
from mavera.core.turn import Turn
from mavera.core.usage import Usage
from mavera.models.embedded.loop_watch import LoopWatch
from mavera.models.embedded.model import EmbeddedModel
from mavera.models.model import Model
from mavera.models.scripted import ScriptedModel
from mavera.runs.pipeline import Pipeline
from mavera.runs.repeating import SeededAnswers, SeededTurn
from mavera.runs.schema_checker import SchemaChecker
from mavera.runs.stage import open_model
from mavera.storage.kept import Purpose
from tests.support.stand_in_engine import StandInEngine

PROMPT = Prompt((make_message("user", "Would you move?"),))
SPOKEN = msgspec.structs.replace(PROMPT, hint="(What do you think?)")
PLAIN = "No. I like it here, and the rent is low. My sister lives next door."
LOOP = "I would love it. And I don't want to move. And I don't want to pack. And I don't want to. Ever."


def split(text: str, size: int) -> list[str]:
    return [text[at : at + size] for at in range(0, len(text), size)]


class Said:
    """Says `deltas` in the place of the engine, and counts those that were said."""

    def __init__(self, deltas: list[str]) -> None:
        self._deltas = deltas
        self.sent = 0
        self.is_closed = False

    async def stream(self, prompt: Prompt) -> AsyncGenerator[AnswerEvent, None]:
        try:
            yield RunStarted()
            for text in self._deltas:
                self.sent += 1
                yield TextDelta(text)
            yield RunCompleted("stop", Usage(7, len(self._deltas)))
        finally:
            self.is_closed = True


class SpeakingModel(EmbeddedModel):
    def __init__(self, deltas: list[str]) -> None:
        super().__init__(StandInEngine("http://127.0.0.1:1"))
        self.said = Said(deltas)
        self._answers: Any = self.said

    async def _count_tokens(self, prompt: Prompt) -> int:
        return 7


def listen(deltas: list[str]) -> tuple[list[AnswerEvent], list[int]]:
    """Return the events after `RunStarted`, and how many deltas the model had sent before each of them."""

    async def run() -> tuple[list[AnswerEvent], list[int]]:
        events, places = [], []
        model = SpeakingModel(deltas)
        async with aclosing(await open_model(model, SPOKEN)) as stream:
            async for event in stream:
                events.append(event)
                places.append(model.said.sent)
        assert model.said.is_closed
        return events, places

    return asyncio.run(run())


def read(events: list[AnswerEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def test_an_answer_without_repetitions_passes_delta_by_delta() -> None:
    deltas = split(PLAIN, 4)

    events, places = listen(deltas)

    assert read(events) == PLAIN
    assert places[:-1] == list(range(1, len(deltas) + 1))
    assert events[-1] == RunCompleted("stop", Usage(7, len(deltas)))
    assert not any(isinstance(event, RunStarted) for event in events)


def test_a_loop_ends_the_answer_before_its_sentence() -> None:
    events, _ = listen(split(LOOP, 4))

    assert read(events) == "I would love it. And I don't want to move. And I don't want to pack."
    end = events[-1]
    assert isinstance(end, RunCompleted)
    assert (end.reason, end.usage.input_tokens, end.usage.estimated) == ("stop", 7, True)


def test_a_loop_of_the_last_words_is_dropped_as_well() -> None:
    text = "I go there. I go there now. I go there now. I go there now"

    events, _ = listen(split(text, 5))

    assert read(events).strip() == "I go there. I go there now. I go there now."
    assert len([event for event in events if isinstance(event, RunCompleted)]) == 1


def test_an_answer_that_ends_within_a_sentence_trails_off() -> None:
    text = "It is a great way to walk and a great way to run and a great way to swim."

    events, _ = listen(split(text, 1))

    assert read(events) == "It is a great way to walk and a great way to…"


def test_text_after_a_repetition_waits_for_the_end_of_its_sentence() -> None:
    twice = "I like my own car. I like my own flat. It is small."

    events, places = listen(split(twice, 1))

    assert read(events) == twice
    assert places[:38] == [*range(1, 33), 39, 39, 39, 39, 39, 39]


def answer(prompt: Prompt, model: Model) -> str:
    """Return what a model says to `prompt`, through the whole pipeline."""

    async def run() -> str:
        pipeline = Pipeline(Turn("mavera-1", prompt.items), prompt, model, SchemaChecker())
        async with aclosing(await pipeline.open()) as events:
            return read([event async for event in events])

    return asyncio.run(run())


def test_only_spoken_answers_of_a_small_model_are_watched() -> None:
    assert answer(SPOKEN, SpeakingModel(split(LOOP, 4))).endswith("pack.")
    assert answer(PROMPT, SpeakingModel(split(LOOP, 4))) == LOOP
    assert answer(SPOKEN, ScriptedModel(split(LOOP, 4))) == LOOP


def test_each_character_of_a_text_without_spaces_is_looked_at_once() -> None:
    watch, looked = LoopWatch(), 0

    def count(frame: object, kind: str, called: Any) -> None:
        nonlocal looked
        looked += kind == "c_call" and called.__name__ == "isspace"

    sys.setprofile(count)
    try:
        for _ in range(500):
            list(watch.feed(TextDelta("価格")))
    finally:
        sys.setprofile(None)

    assert 500 <= looked <= 3 * 500


@given(
    st.lists(st.sampled_from(["I", "do", "not", "want", "it", "yes.", "no,", "\n"]), max_size=60),
    st.integers(1, 9),
)
def test_what_passes_is_a_beginning_of_the_answer_and_has_no_loop(words: list[str], size: int) -> None:
    text = " ".join(words)

    events, _ = listen(split(text, size))

    said = read(events)
    assert text.startswith(said.removesuffix("…"))
    assert not has_loop(said)
    assert has_loop(text) or said == text
    assert [type(event) for event in events].count(RunCompleted) == 1


class Kept:
    """Keeps answers in a dictionary."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}

    async def find(self, workspace_id: str, purpose: Purpose, key: str) -> bytes | None:
        return self.values.get(key)

    async def keep(
        self, workspace_id: str, purpose: Purpose, key: str, value: bytes, *, seconds: int
    ) -> None:
        self.values[key] = value


def test_an_answer_that_was_ended_at_its_loop_is_kept_for_repeating() -> None:
    kept: Any = Kept()
    model = SpeakingModel(split(LOOP, 4))
    repeating = SeededAnswers(kept, lambda name: name, days=1).repeat(model, SeededTurn("mavera-1", 7, "w"))

    async def ask() -> list[AnswerEvent]:
        async with aclosing(await open_model(repeating, SPOKEN)) as stream:
            return [event async for event in stream]

    first, said = asyncio.run(ask()), model.said.sent
    second = asyncio.run(ask())

    assert (
        read(second) == read(first) == "I would love it. And I don't want to move. And I don't want to pack."
    )
    assert model.said.sent == said, "the model was asked once"
