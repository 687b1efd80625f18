"""
Portraits: who a persona is and what it cares about, for people who choose one.

A portrait has the persona's values, goals and pains. It leaves out everything that only the prompt needs,
such as the sample turns. A custom persona that is only a description has only that.
"""

from dataclasses import dataclass

from mavera.personas.catalogue import AnyPersona
from mavera.personas.custom import CustomPersona

_MOST_TRAITS = 4
_MOST_DESCRIPTION = 300


@dataclass(frozen=True, slots=True)
class Trait:
    """One line of a portrait, such as "Cares about" and the things."""

    label: str
    things: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Portrait:
    """`initials` stand in its picture, and `hue` is one of six colours, the same each time."""

    id: str
    name: str
    category: str
    description: str
    initials: str
    hue: int
    is_custom: bool
    traits: tuple[Trait, ...]


def draw_portrait(persona: AnyPersona) -> Portrait:
    return Portrait(
        id=persona.id,
        name=persona.name,
        category=_space_words(persona.category),
        description=_shorten(persona.description),
        initials=_find_initials(persona.name),
        hue=1 + sum(map(ord, persona.name)) % 6,
        is_custom=persona.is_custom,
        traits=tuple(_list_traits(persona)),
    )


def _list_traits(persona: AnyPersona) -> list[Trait]:
    found = [
        Trait(label, things[:_MOST_TRAITS]) for label, things in _list_things(persona) if things is not None
    ]
    return [trait for trait in found if trait.things]


def _list_things(persona: AnyPersona) -> list[tuple[str, tuple[str, ...] | None]]:
    profile = persona.profile if isinstance(persona, CustomPersona) else persona
    if profile is not None:
        values, goals, pains = profile.values, profile.goals, profile.pains
        return [("Cares about", values), ("Wants", goals), ("Struggles with", pains)]
    assert isinstance(persona, CustomPersona)  # noqa: S101 - only those may lack a profile
    details = persona.details
    return [
        ("Cares about", details.values),
        ("Wants", details.goals or details.primary_objectives),
        ("Struggles with", details.pains),
        ("Objects to", details.objections),
    ]


def _space_words(category: str) -> str:
    """Return `IndustrySpecific` as "Industry specific"."""
    spaced = "".join(f" {c.lower()}" if c.isupper() and at else c for at, c in enumerate(category))
    return spaced.strip()


def _find_initials(name: str) -> str:
    """Return the first letters of the first two words that begin with a letter or a digit."""
    words = [word for word in name.replace("-", " ").split() if word[0].isalnum()]
    return "".join(word[0] for word in words[:2]).upper() or "?"


def _shorten(text: str) -> str:
    return text if len(text) <= _MOST_DESCRIPTION else f"{text[:_MOST_DESCRIPTION].rstrip()}…"
