"""
The evaluation: which questions go to whom, and what the answers come to.

    words   every persona × QUESTIONS          → distinctness, in character
    yes/no  every pair × ITEMS                 → direction, with a persona and with a label alone
    yes/no  the same, reworded                 → stability
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mavera.evaluation.asking import Interviewer
from mavera.evaluation.items import ITEMS, PAIRS, QUESTIONS, Item
from mavera.evaluation.measures import Share, direction, distinctness, in_character, stability
from mavera.evaluation.plot import Figure
from mavera.personas.library import PersonaLibrary
from mavera.personas.persona import Persona

Progress = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is asked: so many personas, open questions and yes-or-no items."""

    personas: Sequence[Persona]
    questions: Sequence[str]
    cases: Sequence[tuple[Item, Persona, Persona]]

    @classmethod
    def of(cls, library: PersonaLibrary, personas: int, questions: int, pairs: int) -> "Plan":
        """Take the first of each; personas are spread over the categories."""
        everyone = library.list()
        step = max(1, len(everyone) // personas) if personas else 1
        cases = [
            (item, library.find(a), library.find(b))
            for turn in range(3)
            for item in ITEMS
            for a, b in PAIRS[item.contrast][turn : turn + 1]
        ]
        return cls(everyone[::step][:personas], QUESTIONS[:questions], cases[:pairs])

    @property
    def steps(self) -> int:
        return len(self.personas) * len(self.questions) + 6 * len(self.cases)


@dataclass(frozen=True, slots=True)
class Report:
    distinctness: Share
    in_character: Share
    direction: Share
    direction_by_label: Share
    stability: Share
    personas: int

    @property
    def figures(self) -> list[Figure]:
        chance = 1 / self.personas if self.personas else None
        return [
            Figure("Distinctness", self.distinctness, chance),
            Figure("In character", self.in_character),
            Figure("Direction", self.direction, 0.5),
            Figure("Direction, label alone", self.direction_by_label, 0.5),
            Figure("Stability", self.stability, 0.5),
        ]


async def evaluate(plan: Plan, interviewer: Interviewer, progress: Progress) -> Report:
    """Ask everything in `plan` that has no answer yet. Raises APIError."""
    answers: dict[tuple[str, int], str] = {}
    for persona in plan.personas:
        for number, question in enumerate(plan.questions):
            answers[persona.id, number] = await interviewer.words(persona.id, question)
            progress()
    led: list[tuple[float, int]] = []
    labelled: list[tuple[float, int]] = []
    wordings: list[tuple[float, float]] = []
    for item, first, second in plan.cases:
        values = []
        for persona in (first, second):
            plain = await interviewer.yes(persona.id, item.ask)
            progress()
            wordings.append((plain, await interviewer.yes(persona.id, item.reworded)))
            progress()
            label = await interviewer.yes(None, f"{_label(persona)} {item.ask}")
            progress()
            values.append((plain, label))
        led.append((values[0][0] - values[1][0], item.sign))
        labelled.append((values[0][1] - values[1][1], item.sign))
    return Report(
        distinctness(answers),
        in_character(answers.values()),
        direction(led),
        direction(labelled),
        stability(wordings),
        len(plan.personas),
    )


def _label(persona: Persona) -> str:
    """Say in a line who is asked, which is all that a prompt without a persona would have."""
    return f"You are {persona.demographics.identity}."
