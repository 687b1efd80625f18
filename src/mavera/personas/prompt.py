"""
Build the prefix of a persona: the items that go before the conversation.

    system       You are …: a life in facts, a way of talking, and how to stay in character
    user         a sample question    ┐
    assistant    a sample answer      ┘ four or five times

The sample turns matter more than the description. A small model copies the mood, the length and the kind
of detail of its earlier answers. Without sample turns it agrees politely with everything.

A small model also repeats striking nouns of its instructions. Therefore the rules use plain verbs, and the
prompt does not contain the phrases that a persona never says.

The prefix of a persona has the same bytes every time (no clock, no ids), so that a model's prefix cache
keeps it. No client ever sees it.
"""

import re
from collections.abc import Iterable
from functools import lru_cache

from mavera.core.items import Item, Message, make_message
from mavera.personas.persona import BigFive, Persona, Profile, SampleTurn

LOW, HIGH = 30, 70

# The words for a low and for a high value of each trait.
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
You care about {values}. Your goals: {goals}. Your troubles: {pains}.
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

# Words with which a text may repeat the sentence that it completes, as in "You decide you decide …".
_REPEATED = {
    "identity": r"(?:you are|you're|i am|i'm)\s+",
    "values": r"(?:you (?:care about|value)|caring about)\s+",
    "goals": r"(?:(?:you want|i want|you would like|wants?)\s+)?to\s+|you want\s+",
    "pains": r"(?:you (?:suffer|are troubled) (?:from|by)|suffers from)\s+",
    "channels": r"(?:you hear of things )?(?:from|through|via)\s+",
    "decision_style": r"(?:(?:you|i|to) )?decides?\s+",
    "money": r"money:\s+",
    "technology": r"technology:\s+",
    "unknowns": r"(?:you know )?(?:little|nothing) (?:of|about)\s+|about\s+",
    "register": r"(?:(?:you|i|to) )?(?:talks?|speaks?)\s+",
}
# "etc." and "a.m." keep their stop.
_FULL_STOP = re.compile(r"(?<!\.)(?<!\.[A-Za-z])(?<!etc)\.$")
_TWO_STOPS = re.compile(r"(?<!\.)\.\.(?!\.)")
_REPEATS = {name: re.compile(words, re.IGNORECASE) for name, words in _REPEATED.items()}


# The cache is bounded, because tests and callers may load other libraries.
@lru_cache(maxsize=512)
def build_library_prefix(persona: Persona) -> tuple[Item, ...]:
    """Return the prefix of a persona of the library: one system message, then the sample turns."""
    return (make_message("system", build_system_text(persona)), *build_sample_turns(persona.turns))


def build_system_text(persona: Profile) -> str:
    """Return the text of the system message."""
    return f"{build_facts(persona)}\n\n{build_rules(persona.demographics.speaker.split()[0])}"


def build_rules(name: str) -> str:
    """Return the rules for staying in character. They are the same for all personas except for the name."""
    return RULES.format(name=name)


def build_facts(persona: Profile) -> str:
    """
    Return the facts about the person.

    A text may repeat the words before it ("to earn more" among the goals) or end in a full stop. The
    sentence has both only once.
    """
    who, buying, voice = persona.demographics, persona.buying, persona.voice
    facts = FACTS.format(
        speaker=who.speaker,
        identity=_fit("identity", who.identity),
        place=_fit("place", who.place),
        household=_fit("household", who.household),
        income=_fit("income", who.income),
        education=_fit("education", who.education),
        values=_join(", ", "values", persona.values),
        goals=_join("; ", "goals", persona.goals),
        pains=_join("; ", "pains", persona.pains),
        triggers=_join("; ", "triggers", buying.triggers),
        objections=_join("; ", "objections", buying.objections),
        channels=_join(", ", "channels", buying.channels),
        decision_style=_fit("decision_style", persona.decision_style),
        money=_fit("money", persona.money),
        technology=_fit("technology", persona.technology),
        unknowns=_join(", ", "unknowns", persona.unknowns),
        temper=_temper(persona.big_five),
        register=_fit("register", voice.register),
        reading_level=_fit("reading_level", voice.reading_level),
        phrases=_quote(voice.phrases),
    )
    return _TWO_STOPS.sub(".", facts)


def _join(separator: str, field: str, texts: Iterable[str]) -> str:
    return separator.join(_fit(field, text) for text in texts)


def _fit(field: str, text: str) -> str:
    """Return `text` without the words that stand before it in its sentence, and without a full stop."""
    repeated = _REPEATS.get(field)
    found = repeated.match(text) if repeated else None
    rest = text[found.end() :] if found else text
    return (rest[:-1].rstrip() if _FULL_STOP.search(rest) else rest) or text


def _temper(big_five: BigFive) -> str:
    """Name the traits that stand out. A person in the middle of all five is even-tempered."""
    words = []
    for trait, (low, high) in TEMPER.items():
        score = getattr(big_five, trait)
        if score <= LOW:
            words.append(low)
        elif score >= HIGH:
            words.append(high)
    return ", ".join(words) or "even-tempered"


def _quote(phrases: Iterable[str]) -> str:
    return ", ".join(f'"{phrase}"' for phrase in phrases)


def build_sample_turns(turns: Iterable[SampleTurn]) -> Iterable[Message]:
    for turn in turns:
        yield make_message("user", turn.ask)
        yield make_message("assistant", turn.answer)
