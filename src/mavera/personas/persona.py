"""
Define a persona: one plausible person of a segment, as a TOML file describes them.

    Persona                  id, name, category, description, expert, created_at: shown to everyone
    └── Profile              values, goals, pains, and subjects that they do not know
        ├── Demographics     their name, and the facts of their life
        ├── Buying           triggers, objections, and the channels that they use
        ├── Voice            how they talk
        ├── BigFive          temperament, five numbers from 0 to 100
        └── SampleTurn × 4–8 a question and the answer in their voice

Everything except the first line is for the prompt (`prompt.py`). The API never shows it. The console shows
people who are signed in what a persona is like, without its phrases and sample turns. Custom personas
(`custom.py`) can have a profile too. Texts address the persona as "you" and have no final full stop, because
the prompt puts them into its own sentences. `docs/reference/personas.md` explains each field.
"""

from typing import Annotated, Literal, get_args

import msgspec
from msgspec import Meta

Category = Literal[
    "Generational", "Professional", "Lifestyle", "IndustrySpecific", "Expert", "LifeStage", "Regional"
]
CATEGORIES: tuple[Category, ...] = get_args(Category)

# Personas stored by earlier versions have "shrug" for "undecided".
Stance = Literal["yes", "no", "undecided", "shrug"]

Cuid = Annotated[str, Meta(pattern="^c[0-9a-z]{24}$", max_length=25)]
Name = Annotated[str, Meta(min_length=2, max_length=100)]
Description = Annotated[str, Meta(min_length=40, max_length=300)]
Short = Annotated[str, Meta(min_length=2, max_length=60)]
Line = Annotated[str, Meta(min_length=3, max_length=110)]
Facts = Annotated[tuple[Short, ...], Meta(min_length=2, max_length=4)]
Percent = Annotated[int, Meta(ge=0, le=100)]


class Demographics(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    The facts of a person's life.

    `speaker` is the person's full name, and `identity` completes "You are <speaker>, …". `age_band` is
    the segment's, as in "25-38". The speaker's own age is in `identity`.
    """

    speaker: Short
    identity: Line
    age_band: Annotated[str, Meta(pattern="^[0-9]{2}-[0-9]{2}$", max_length=5)]
    place: Short
    income: Short
    education: Short
    household: Short


class Buying(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The buying habits: two to four texts of each kind, of at most 60 characters."""

    triggers: Facts
    objections: Facts
    channels: Facts


class Voice(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    The way of talking. `register` completes "You talk …", and `phrases` are typical.

    The persona never says the `taboo` phrases. The prompt leaves them out, because a small model repeats
    a word that it is told to avoid. The tests check that the sample turns contain none of them.
    """

    reading_level: Short
    register: Line
    phrases: Facts
    taboo: Facts


class BigFive(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Percentiles. 50 is like most people. Only values up to 30 or from 70 reach the prompt."""

    openness: Percent
    conscientiousness: Percent
    extraversion: Percent
    agreeableness: Percent
    neuroticism: Percent


class SampleTurn(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    One exchange. The library's answers have 30 to 60 words: an opinion, its reason, one detail.

    `stance` says how the answer leans. It is for the tests and not in the prompt. "shrug" is read as
    "undecided".
    """

    ask: Annotated[str, Meta(min_length=8, max_length=90)]
    answer: Annotated[str, Meta(min_length=8, max_length=400)]
    stance: Stance

    def __post_init__(self) -> None:
        if self.stance == "shrug":
            msgspec.structs.force_setattr(self, "stance", "undecided")


class Profile(msgspec.Struct, frozen=True, cache_hash=True, kw_only=True, forbid_unknown_fields=True):
    """
    The part of a persona that the prompt describes.

    `decision_style` completes "You decide …". `money` and `technology` each follow a colon.
    """

    demographics: Demographics
    values: Facts
    goals: Facts
    pains: Facts
    decision_style: Line
    money: Line
    technology: Line
    unknowns: Facts
    buying: Buying
    voice: Voice
    big_five: BigFive
    turns: Annotated[tuple[SampleTurn, ...], Meta(min_length=4, max_length=8)]


class Persona(Profile, frozen=True, cache_hash=True, kw_only=True, forbid_unknown_fields=True):
    """One persona of the library, as in its file. `created_at` is in Unix seconds."""

    id: Cuid
    name: Name
    category: Category
    description: Description
    expert: bool
    created_at: Annotated[int, Meta(ge=1)]

    @property
    def is_expert(self) -> bool:
        return self.expert

    @property
    def is_custom(self) -> bool:
        """False, because every workspace can name a persona of the library."""
        return False
