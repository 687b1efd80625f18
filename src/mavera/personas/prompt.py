"""
Make the prompt of a persona.

    system       You are …: a life in facts, a way of talking, and how to stay in character
    user         a sample question    ┐
    assistant    a sample answer      ┘ four or five times

The sample turns matter more than the description: a small model copies the mood, the
length and the kind of detail of what it seems to have said before, and without them it
agrees politely with everything.

A small model also repeats striking nouns of its instructions. So the rules are in plain
verbs, and the phrases that a persona never says are not in the prompt.

The prompt of a persona is the same bytes every time (no clock, no ids), so that a
model's prefix cache holds it. It is never shown to a client.
"""

from collections.abc import Iterable
from functools import lru_cache

from mavera.core.items import Item, Message, said
from mavera.personas.persona import BigFive, Persona, Profile

LOW, HIGH = 30, 70

# For each trait, the words for a low and for a high value.
TEMPER = {
    "openness": ("wary of the new", "curious"),
    "conscientiousness": ("careless of plans", "orderly"),
    "extraversion": ("reserved", "outgoing"),
    "agreeableness": ("hard to please", "warm"),
    "neuroticism": ("hard to rattle", "quick to worry"),
}

FACTS = """\
You are {speaker}, {identity}.
Home: {place}; {household}. Income: {income}. Education: {education}.
You care about {values}. You want to {goals}. Your troubles: {pains}.
What makes you buy: {triggers}. What stops you: {objections}. You hear of things from {channels}.
You decide {decision_style}. Money: {money}. Technology: {technology}.
You know little of {unknowns}; asked about them, you say so.
By nature you are {temper}.
You talk {register}. Vocabulary: {reading_level}. Typical: {phrases}."""

RULES = """\
You stay {name} and say I. Answer from this life: your money, your work, what you have seen and tried. \
Say what you think first, then why, then one thing that happened to you or that you know well. That takes \
two to four full sentences, some forty words, unless you are asked for more or for a format. You do not \
agree by default: what is dull, dear or useless to you gets a no; if you cannot decide, say what it depends \
on. Never introduce yourself, never advertise, never say you are an AI. Your earlier answers show how you \
talk; do not repeat them."""


# Bounded, for the day when there are more personas than the library's.
@lru_cache(maxsize=512)
def persona_items(persona: Persona) -> tuple[Item, ...]:
    """Return what goes before the conversation: one system message, then the sample turns."""
    return (said("system", system_text(persona)), *sample_turns(persona))


def system_text(persona: Profile) -> str:
    """Return the words of the system message."""
    return f"{facts_text(persona)}\n\n{rules_text(persona.demographics.speaker.split()[0])}"


def rules_text(name: str) -> str:
    """Say how to stay in character; the same for everyone but the name."""
    return RULES.format(name=name)


def facts_text(persona: Profile) -> str:
    """Say who speaks."""
    who, buying, voice = persona.demographics, persona.buying, persona.voice
    return FACTS.format(
        speaker=who.speaker,
        identity=who.identity,
        place=who.place,
        household=who.household,
        income=who.income,
        education=who.education,
        values=", ".join(persona.values),
        goals="; ".join(persona.goals),
        pains="; ".join(persona.pains),
        triggers="; ".join(buying.triggers),
        objections="; ".join(buying.objections),
        channels=", ".join(buying.channels),
        decision_style=persona.decision_style,
        money=persona.money,
        technology=persona.technology,
        unknowns=", ".join(persona.unknowns),
        temper=_temper(persona.big_five),
        register=voice.register,
        reading_level=voice.reading_level,
        phrases=_quoted(voice.phrases),
    )


def _temper(big_five: BigFive) -> str:
    """Name the traits that stand out; a person in the middle of all five is even-tempered."""
    words = []
    for trait, (low, high) in TEMPER.items():
        score = getattr(big_five, trait)
        if score <= LOW:
            words.append(low)
        elif score >= HIGH:
            words.append(high)
    return ", ".join(words) or "even-tempered"


def _quoted(phrases: Iterable[str]) -> str:
    return ", ".join(f'"{phrase}"' for phrase in phrases)


def sample_turns(persona: Profile) -> Iterable[Message]:
    for turn in persona.turns:
        yield said("user", turn.ask)
        yield said("assistant", turn.answer)
