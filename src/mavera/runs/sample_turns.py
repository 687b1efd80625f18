"""
Draw the sample turns of a drafted person: four questions, answered in one conversation.

    facts and rules · plain turns · question 1 → answer 1 · question 2 → answer 2 …

The prompt is the one with which the persona will answer later, so the answers have its voice. Three
everyday questions ask for a side, so that the person does not agree with everything, and decoding lets the
answer begin with it. The last question is about the life that the customer described. An answer that copies,
repeats itself or breaks character is asked for once more, and so is an answer about that life with no word of
it. After that, a plain turn takes the place of an answer that is not usable.
"""

import hashlib
import re
from collections.abc import Awaitable, Callable, Sequence
from textwrap import shorten
from typing import Literal

import msgspec

from mavera.core.items import Item, make_message
from mavera.core.prompt import OutputFormat, Prompt, Sampling
from mavera.core.speech import breaks_character, find_copied_grams, find_words, has_loop, repeats_sentence
from mavera.core.usage import Usage
from mavera.models.sampling import CALM
from mavera.personas.custom import PLAIN_TURNS
from mavera.personas.described import find_stems
from mavera.personas.persona import SampleTurn
from mavera.personas.prompt import build_sample_turns

TURNS = 4
TURN_TOKENS = 100
LEAST_WORDS = 8
MOST_CHARACTERS = 400
TRIES = 2

Side = Literal["yes", "no", "undecided"]
# A side, or the life that the customer described.
Aim = Side | Literal["life"]
Ask = Callable[[Prompt], Awaitable[tuple[str, Usage]]]

# No question is one of the evaluation or of the library.
_QUESTIONS: dict[Aim, tuple[str, ...]] = {
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
    "life": (
        "What do people get wrong about the way you live?",
        "What is the hardest part of your week?",
        "What do others not see about your days?",
    ),
}
_AIMS: tuple[Aim, ...] = ("yes", "no", "undecided", "life")
_HINTS: dict[Aim, str] = {
    "yes": "You are for it. Why, and what have you seen?",
    "no": "You are against it. Why, and what have you seen?",
    "undecided": "You can see both sides. What does it depend on, and what have you seen?",
    "life": "You are one of these: {audience}. Tell of it: what do you think, why, and what have you seen?",
}
# A small model says yes to everything, whatever its hint asks for.
_OPENINGS: dict[Aim, tuple[str, ...]] = {
    "yes": ("Yes,", "Yes.", "I think so,"),
    "no": ("No,", "No.", "I don't think so,"),
    "undecided": ("It depends.", "That depends,", "Yes and no."),
}
# A hint has no room for a longer description.
_MOST_OF_AUDIENCE = 160
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
    ask: Ask, prefix: Sequence[Item], *, audience: str, seed: str, forbidden: Sequence[str] = ()
) -> tuple[tuple[SampleTurn, ...], Usage]:
    """
    Return four turns and the usage of drawing them. `prefix` is the person's prompt, with plain turns.

    `audience` is the customer's description. `seed` decides which questions are asked. No answer has six
    words in a row with a text of `forbidden`, a plain turn or an earlier answer. Raises what `ask` raises.
    """
    known = find_copied_grams([*forbidden, *(turn.answer for turn in PLAIN_TURNS)])
    spare = iter(_SPARE)
    turns: list[SampleTurn] = []
    usage = Usage()
    for aim, question in choose_questions(seed):
        prompt = _build_prompt((*prefix, *build_sample_turns(turns)), question, aim, audience)
        stems = find_stems(audience) if aim == "life" else frozenset()
        usable = ""
        for _ in range(TRIES):
            text, spent = await ask(prompt)
            usage += spent
            answer = cut_answer(text)
            if is_usable(answer, known):
                usable = answer
                if not stems or stems & find_stems(answer):
                    break
        if not usable:
            turns.append(next(spare))
            continue
        known |= find_copied_grams([usable])
        stance: Side = "undecided" if aim == "life" else aim
        turns.append(SampleTurn(ask=question, answer=usable, stance=stance))
    return tuple(turns), usage


def choose_questions(seed: str) -> list[tuple[Aim, str]]:
    """Return four different questions with the aim of each. The same seed gives the same ones."""
    return [(aim, _choose(_QUESTIONS[aim], f"{place}\n{seed}")) for place, aim in enumerate(_AIMS)]


def _choose(texts: Sequence[str], seed: str) -> str:
    """Return one of `texts`, the same one for the same seed."""
    return texts[hashlib.sha256(seed.encode()).digest()[0] % len(texts)]


def cut_answer(text: str) -> str:
    """Return `text` on one line, up to the end of the last sentence that fits."""
    line = " ".join(text.split())
    ends = [found.end() for found in _SENTENCE_END.finditer(line[:MOST_CHARACTERS])]
    return line[: ends[-1]] if ends else line[:MOST_CHARACTERS].rstrip()


def is_usable(answer: str, known: set[tuple[str, ...]]) -> bool:
    """Return whether `answer` is long enough, in character, repeats nothing and copies none of `known`."""
    if len(find_words(answer)) < LEAST_WORDS or breaks_character(answer):
        return False
    if has_loop(answer) or repeats_sentence(answer):
        return False
    return known.isdisjoint(find_copied_grams([answer]))


def _build_prompt(items: tuple[Item, ...], question: str, aim: Aim, audience: str) -> Prompt:
    hint = _HINTS[aim].format(audience=shorten(audience, _MOST_OF_AUDIENCE, placeholder="…").rstrip("."))
    settings = {name: value for name, value in msgspec.structs.asdict(CALM).items() if value is not None}
    return Prompt(
        (*items, make_message("user", f"{question}\n({hint})")),
        max_output_tokens=TURN_TOKENS,
        sampling=Sampling(**settings),
        format=OutputFormat(begins=_choose(_OPENINGS.get(aim, ("",)), question)),
        prefix_length=len(items),
        preferences=frozenset({"max_output_tokens", *settings}),
    )
