"""An answer of a small model ends before it says the same four words a third time."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from mavera.core.events import AnswerEvent, RunCompleted, RunStarted, TextDelta
from mavera.core.items import make_message
from mavera.core.prompt import Prompt
from mavera.core.speech import has_loop
from mavera.core.turn import Turn
from mavera.core.usage import Usage
from mavera.models.model import ModelContext
from mavera.models.scripted import ScriptedModel
from mavera.runs.loop_stop import StopLoops
from mavera.runs.pipeline import Pipeline
from mavera.runs.schema_checker import SchemaChecker

PROMPT = Prompt((make_message("user", "Would you move?"),))
PLAIN = "No. I like it here, and the rent is low. My sister lives next door."
LOOP = "I would love it. And I don't want to move. And I don't want to pack. And I don't want to. Ever."


def split(text: str, size: int) -> list[str]:
    return [text[at : at + size] for at in range(0, len(text), size)]


def listen(deltas: list[str]) -> tuple[list[AnswerEvent], list[int]]:
    """Return the events after the stage, and how many deltas the model had sent before each of them."""
    sent = 0

    async def speak(prompt: Prompt) -> AsyncGenerator[AnswerEvent, None]:
        async def stream() -> AsyncGenerator[AnswerEvent, None]:
            nonlocal sent
            for text in deltas:
                sent += 1
                yield TextDelta(text)
            yield RunCompleted("stop", Usage(7, len(deltas)))

        return stream()

    async def count(prompt: Prompt) -> int:
        return 7

    async def run() -> tuple[list[AnswerEvent], list[int]]:
        events, places = [], []
        async with aclosing(await StopLoops(ModelContext(100, count)).open(PROMPT, speak)) as stream:
            async for event in stream:
                events.append(event)
                places.append(sent)
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


def answer(hint: str, *, takes_hints: bool = True) -> str:
    """Return what a model that loops says to a prompt with `hint`, through the whole pipeline."""
    model = ScriptedModel(split(LOOP, 4))
    model.profile = replace(model.profile, takes_hints=takes_hints)
    prompt = msgspec.structs.replace(PROMPT, hint=hint)

    async def run() -> str:
        schemas = SchemaChecker()
        pipeline = Pipeline(Turn("mavera-1", PROMPT.items), prompt, model, schemas)
        async with aclosing(await pipeline.open()) as events:
            said = read([event async for event in events])
        assert model.running == 0
        return said

    return asyncio.run(run())


def test_only_spoken_answers_of_a_small_model_are_watched() -> None:
    assert answer("(What do you think?)").endswith("pack.")
    assert answer("") == LOOP
    assert answer("(What do you think?)", takes_hints=False) == LOOP


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
