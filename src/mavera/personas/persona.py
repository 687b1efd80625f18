"""
A persona: one plausible person of a segment, as one TOML file describes them.

    Persona                  id, name, category, description, expert, created_at: shown to everyone
    └── Profile              values, goals, pains, what they do not know
        ├── Demographics     who speaks, and the facts of their life
        ├── Buying           what makes them buy, what stops them, where they hear of things
        ├── Voice            how they talk
        ├── BigFive          temperament, five numbers from 0 to 100
        └── SampleTurn × 4–8 a question and the answer in their voice

Everything but the first line is for the prompt (`prompt.py`) and never leaves the
server. Custom personas (`custom.py`) may have a profile too. Texts address the persona as
"you", without a closing full stop, because the prompt sets them into its own sentences.
`docs/personas.md` explains each field.
"""

from typing import Annotated, Literal, get_args

import msgspec
from msgspec import Meta

Category = Literal[
    "Generational", "Professional", "Lifestyle", "IndustrySpecific", "Expert", "LifeStage", "Regional"
]
CATEGORIES: tuple[Category, ...] = get_args(Category)

# "shrug" is what personas stored by earlier versions have for "undecided".
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
    `speaker` is the person's full name and `identity` completes "You are <speaker>, …".

    `age_band` is the segment's, as in "25-38"; the speaker's own age is in `identity`.
    """

    speaker: Short
    identity: Line
    age_band: Annotated[str, Meta(pattern="^[0-9]{2}-[0-9]{2}$", max_length=5)]
    place: Short
    income: Short
    education: Short
    household: Short


class Buying(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Two to four of each, at most 60 characters."""

    triggers: Facts
    objections: Facts
    channels: Facts


class Voice(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    `register` completes "You talk …"; `phrases` are typical.

    `taboo` phrases are never said. The prompt leaves them out, because a small model repeats
    a word that it is told to avoid; the tests hold the sample turns to them.
    """

    reading_level: Short
    register: Line
    phrases: Facts
    taboo: Facts


class BigFive(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Percentiles: 50 is like most people. Only 30 and below or 70 and above reach the prompt."""

    openness: Percent
    conscientiousness: Percent
    extraversion: Percent
    agreeableness: Percent
    neuroticism: Percent


class SampleTurn(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    One exchange. The library's answers have 30 to 60 words: an opinion, its reason, one detail.

    `stance` says how the answer leans. It is for the tests and not in the prompt. "shrug" is
    read as "undecided".
    """

    ask: Annotated[str, Meta(min_length=8, max_length=90)]
    answer: Annotated[str, Meta(min_length=8, max_length=400)]
    stance: Stance

    def __post_init__(self) -> None:
        if self.stance == "shrug":
            msgspec.structs.force_setattr(self, "stance", "undecided")


class Profile(msgspec.Struct, frozen=True, cache_hash=True, kw_only=True, forbid_unknown_fields=True):
    """
    Who a persona is, for the prompt.

    `decision_style` completes "You decide …"; `money` and `technology` each follow a colon.
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
    """One persona of the library, as its file has it. `created_at` is in Unix seconds."""

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
        """False: whatever has a file here belongs to everyone."""
        return False
