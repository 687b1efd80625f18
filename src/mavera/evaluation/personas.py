"""
Evaluate the personas: ask each of them its questions, and measure the answers.

    words   every persona × QUESTIONS          → distinctness, in character, topic, length, loops, copies
            (or a few drawn for each)
    yes/no  every pair × ITEMS                 → direction, with a persona and with a label alone
    yes/no  the same, reworded                 → stability
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from mavera.evaluation.asking import Interviewer, run_at_once
from mavera.evaluation.drawing import draw_questions
from mavera.evaluation.items import ITEMS, PAIRS, QUESTIONS, Item
from mavera.evaluation.measures import (
    Share,
    measure_character,
    measure_direction,
    measure_distinctness,
    measure_stability,
)
from mavera.evaluation.plot import Figure
from mavera.evaluation.wording import (
    Embed,
    Median,
    measure_copies,
    measure_length,
    measure_loops,
    measure_reasons,
    measure_topic,
)
from mavera.personas.builtin import PersonaLibrary
from mavera.personas.persona import Persona

Progress = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """The personas, open questions and yes-or-no items of an evaluation."""

    personas: Sequence[Persona]
    questions: Sequence[str]
    cases: Sequence[tuple[Item, Persona, Persona]]
    # The questions of each persona by its id: all, or some drawn from them.
    asked: Mapping[str, Sequence[str]]

    @classmethod
    def of(
        cls, library: PersonaLibrary, personas: int, questions: int, pairs: int, drawn: int | None = None
    ) -> "Plan":
        """
        Take the first questions and pairs. The personas are spread over the categories.

        With `drawn`, each persona answers only so many of the questions, drawn by a fixed seed.
        """
        everyone = library.list()
        count = min(personas, len(everyone))
        cases = [
            (item, library.find(a), library.find(b))
            for turn in range(3)
            for item in ITEMS
            for a, b in PAIRS[item.contrast][turn : turn + 1]
        ]
        spread = [everyone[n * len(everyone) // count] for n in range(count)]
        first = QUESTIONS[:questions]
        each = len(first) if drawn is None else min(drawn, len(first))
        asked = draw_questions([persona.id for persona in spread], first, each)
        return cls(spread, first, cases[:pairs], asked)

    @property
    def steps(self) -> int:
        return sum(map(len, self.asked.values())) + 6 * len(self.cases)


@dataclass(frozen=True, slots=True)
class Wording:
    """How the open answers are worded."""

    topic: Share
    reasons: Share
    loops: Share
    copies: Share
    words: Median


@dataclass(frozen=True, slots=True)
class Report:
    distinctness: Share
    in_character: Share
    direction: Share
    direction_by_label: Share
    stability: Share
    personas: int
    # Per contrast: the direction with the persona, and the direction with the label alone.
    contrasts: Mapping[str, tuple[Share, Share]]
    wording: Wording

    @property
    def figures(self) -> list[Figure[Share]]:
        chance = 1 / self.personas if self.personas else None
        return [
            Figure("Distinctness", self.distinctness, chance),
            Figure("In character", self.in_character),
            Figure("On topic", self.wording.topic, 1 / len(QUESTIONS)),
            Figure("With a reason, by a rule", self.wording.reasons),
            Figure("Loops", self.wording.loops),
            Figure("Copies of sample turns", self.wording.copies),
            Figure("Direction", self.direction, 0.5),
            Figure("Direction, label alone", self.direction_by_label, 0.5),
            Figure("Stability", self.stability, 0.5),
        ]

    @property
    def by_contrast(self) -> list[Figure[Share]]:
        """Return the figures of direction for each contrast."""
        return [
            Figure(f"{name}: {contrast}", share, 0.5)
            for contrast, shares in self.contrasts.items()
            for name, share in zip(("Direction", "Label alone"), shares, strict=True)
        ]


async def evaluate(
    plan: Plan,
    interviewer: Interviewer,
    progress: Progress,
    at_once: int = 1,
    embed: Embed | None = None,
) -> Report:
    """
    Ask the questions of `plan` that have no answer yet, `at_once` personas at a time. Raises APIError.

    `embed` turns texts into vectors. Without it, the topic is not measured.
    """
    await run_at_once(_list_work(plan, interviewer, progress), at_once)
    led: list[tuple[float, int]] = []
    labelled: list[tuple[float, int]] = []
    wordings: list[tuple[float, float]] = []
    for item, *pair in plan.cases:
        plain = [await interviewer.ask_yes(persona.id, item.ask) for persona in pair]
        label = [await interviewer.ask_yes(None, label_question(persona, item)) for persona in pair]
        wordings += [
            (value, await interviewer.ask_yes(persona.id, item.reworded))
            for value, persona in zip(plain, pair, strict=True)
        ]
        led.append((plain[0] - plain[1], item.sign))
        labelled.append((label[0] - label[1], item.sign))
    contrasts = dict.fromkeys(item.contrast for item, *_ in plan.cases)
    answers = {
        (persona.id, plan.questions.index(question)): await interviewer.ask_open(persona.id, question)
        for persona in plan.personas
        for question in plan.asked[persona.id]
    }
    return Report(
        measure_distinctness(answers),
        measure_character(answers.values()),
        measure_direction(led),
        measure_direction(labelled),
        measure_stability(wordings),
        len(plan.personas),
        {
            name: (measure_direction(_of(plan, name, led)), measure_direction(_of(plan, name, labelled)))
            for name in contrasts
        },
        await asyncio.to_thread(measure_wording, plan, answers, embed),
    )


def _list_work(plan: Plan, interviewer: Interviewer, progress: Progress) -> list[Coroutine[Any, Any, None]]:
    """
    Return the work: one persona after the other, so that the model's prefix cache is used.

    The rewordings come last.
    """
    sides = [(item, persona) for item, *pair in plan.cases for persona in pair]
    return [
        *(
            _one_by_one(partial(interviewer.ask_open, persona.id), plan.asked[persona.id], progress)
            for persona in plan.personas
        ),
        *(
            _one_by_one(partial(interviewer.ask_yes, who.id), [item.ask for item in items], progress)
            for who, items in _by_person(sides)
        ),
        _one_by_one(
            partial(interviewer.ask_yes, None),
            [label_question(persona, item) for item, persona in sides],
            progress,
        ),
        *(
            _one_by_one(partial(interviewer.ask_yes, who.id), [item.reworded for item in items], progress)
            for who, items in _by_person(sides)
        ),
    ]


def measure_wording(plan: Plan, answers: Mapping[tuple[str, int], str], embed: Embed | None) -> Wording:
    """Measure the answers one by one. `answers` are by persona and number of the question."""
    texts = list(answers.values())
    asked = [(plan.questions[number], text) for (_, number), text in answers.items()]
    samples = {persona.id: [turn.answer for turn in persona.turns] for persona in plan.personas}
    return Wording(
        measure_topic(asked, plan.questions, embed) if embed is not None else Share(0, 0),
        measure_reasons(texts),
        measure_loops(texts),
        measure_copies([(who, text) for (who, _), text in answers.items()], samples),
        measure_length(texts),
    )


def _of(plan: Plan, contrast: str, differences: Sequence[tuple[float, int]]) -> list[tuple[float, int]]:
    return [one for (item, *_), one in zip(plan.cases, differences, strict=True) if item.contrast == contrast]


async def _one_by_one(
    ask: Callable[[str], Awaitable[object]], questions: Iterable[str], progress: Progress
) -> None:
    for question in questions:
        await ask(question)
        progress()


def _by_person(sides: Sequence[tuple[Item, Persona]]) -> list[tuple[Persona, list[Item]]]:
    items: dict[str, tuple[Persona, list[Item]]] = {}
    for item, persona in sides:
        items.setdefault(persona.id, (persona, []))[1].append(item)
    return list(items.values())


def label_question(persona: Persona, item: Item) -> str:
    """Return the question after one line that names the persona, as a prompt without a persona would."""
    return f"You are {persona.demographics.identity}. {item.ask}"
