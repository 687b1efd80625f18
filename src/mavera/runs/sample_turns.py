"""
Draw the sample turns of a drafted person: four everyday questions, answered in one conversation.

    facts and rules · plain turns · question 1 → answer 1 · question 2 → answer 2 …

The prompt is the one with which the persona will answer later, so the answers have its voice. Each question
asks for a side, so that the person does not agree with everything. An answer that copies, loops or breaks
character is asked for once more. After that, a plain turn takes its place.
"""

import hashlib
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Literal

import msgspec

from mavera.core.items import Item, make_message
from mavera.core.prompt import Prompt, Sampling
from mavera.core.speech import breaks_character, find_copied_grams, find_words, has_loop
from mavera.core.usage import Usage
from mavera.models.sampling import CALM
from mavera.personas.custom import PLAIN_TURNS
from mavera.personas.persona import SampleTurn
from mavera.personas.prompt import build_sample_turns

TURNS = 4
TURN_TOKENS = 100
LEAST_WORDS = 8
MOST_CHARACTERS = 400
TRIES = 2

Side = Literal["yes", "no", "undecided"]
Ask = Callable[[Prompt], Awaitable[tuple[str, Usage]]]

# No question is one of the evaluation or of the library.
_QUESTIONS: dict[Side, tuple[str, ...]] = {
    "yes": (
        "Is it worth paying more for good shoes?",
        "Do you bring your own lunch on a working day?",
        "Would you lend a neighbour your tools?",
        "Do you still write things down on paper?",
    ),
    "no": (
        "Would you pay to skip a queue?",
        "Would you let an app pick your groceries?",
        "Should every shop play music?",
        "Would you buy furniture that you have only seen in pictures?",
    ),
    "undecided": (
        "Is an extended warranty worth its price?",
        "Is it better to repair a thing or to buy it new?",
        "Would you move to another town for a better job?",
        "Do you need a car where you live?",
    ),
}
_SIDES: tuple[Side, ...] = ("yes", "no", "undecided", "no")
_HINTS: dict[Side, str] = {
    "yes": "You are for it. Why, and what have you seen?",
    "no": "You are against it. Why, and what have you seen?",
    "undecided": "You can see both sides. What does it depend on, and what have you seen?",
}
# The place of an answer that is not usable. One of each is enough for all four.
_SPARE = (
    *PLAIN_TURNS,
    SampleTurn(
        ask="Do you like getting things by post?",
        answer="It depends on what it is and on how long I have to stay at home for it. Small things are "
        "fine, but I once waited a whole day for a chair, and the note said that nobody was in.",
        stance="undecided",
    ),
)
_SENTENCE_END = re.compile(r"[.!?…](?=\s|$)")


async def draw_turns(
    ask: Ask, prefix: Sequence[Item], *, seed: str, forbidden: Sequence[str] = ()
) -> tuple[tuple[SampleTurn, ...], Usage]:
    """
    Return four turns and the usage of drawing them. `prefix` is the person's prompt, with plain turns.

    `seed` decides which questions are asked. No answer has six words in a row with a text of `forbidden`, a
    plain turn or an earlier answer. Raises what `ask` raises.
    """
    known = find_copied_grams([*forbidden, *(turn.answer for turn in PLAIN_TURNS)])
    spare = iter(_SPARE)
    turns: list[SampleTurn] = []
    usage = Usage()
    for side, question in choose_questions(seed):
        earlier = tuple(build_sample_turns(turns))
        answer = ""
        for _ in range(TRIES):
            text, spent = await ask(_build_prompt((*prefix, *earlier), question, side))
            usage += spent
            answer = cut_answer(text)
            if is_usable(answer, known):
                break
        else:
            turns.append(next(spare))
            continue
        known |= find_copied_grams([answer])
        turns.append(SampleTurn(ask=question, answer=answer, stance=side))
    return tuple(turns), usage


def choose_questions(seed: str) -> list[tuple[Side, str]]:
    """Return four different questions with the side that each asks for. The same seed gives the same ones."""
    chosen: list[tuple[Side, str]] = []
    for place, side in enumerate(_SIDES):
        digest = hashlib.sha256(f"{place}\n{seed}".encode()).digest()
        left = [one for one in _QUESTIONS[side] if (side, one) not in chosen]
        chosen.append((side, left[digest[0] % len(left)]))
    return chosen


def cut_answer(text: str) -> str:
    """Return `text` on one line, up to the end of the last sentence that fits."""
    line = " ".join(text.split())
    ends = [found.end() for found in _SENTENCE_END.finditer(line[:MOST_CHARACTERS])]
    return line[: ends[-1]] if ends else line[:MOST_CHARACTERS].rstrip()


def is_usable(answer: str, known: set[tuple[str, ...]]) -> bool:
    """Return whether `answer` is long enough, in character, without a loop, and copies nothing of `known`."""
    if len(find_words(answer)) < LEAST_WORDS or has_loop(answer) or breaks_character(answer):
        return False
    return known.isdisjoint(find_copied_grams([answer]))


def _build_prompt(items: tuple[Item, ...], question: str, side: Side) -> Prompt:
    settings = {name: value for name, value in msgspec.structs.asdict(CALM).items() if value is not None}
    return Prompt(
        (*items, make_message("user", f"{question}\n({_HINTS[side]})")),
        max_output_tokens=TURN_TOKENS,
        sampling=Sampling(**settings),
        prefix_length=len(items),
        preferences=frozenset({"max_output_tokens", *settings}),
    )
