"""
Name a persona in a few letters, for clients that can only send the name of a model.

    Gen Z Consumer                       gen-z-consumer
    Honey buyer, made by a workspace     honey-buyer-4f0a91c2      the last letters of its id

Names of the library are unique and never change. Names of custom personas may repeat and change, so their
slug ends in a part of their id. That part alone finds the persona, so an old slug still works after a change
of the name.
"""

import difflib
import re
import unicodedata
from collections.abc import Iterable
from typing import Protocol, TypeVar

_TAIL = 8
_MOST = 60


class Named(Protocol):
    @property
    def id(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def is_custom(self) -> bool: ...


P = TypeVar("P", bound=Named)


def slug_of(persona: Named) -> str:
    """Return the slug of a persona: lower-case letters, digits and hyphens."""
    letters = unicodedata.normalize("NFKD", persona.name).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "-", letters)[:_MOST].strip("-")
    return f"{slug or 'persona'}-{persona.id[-_TAIL:]}" if persona.is_custom else slug


def find_by_slug(slug: str, personas: Iterable[P]) -> P | None:
    """Return the one persona that `slug` names, or None."""
    for persona in personas:
        if (persona.is_custom and slug.rpartition("-")[2] == persona.id[-_TAIL:]) or slug == slug_of(persona):
            return persona
    return None


def nearest_slug(slug: str, personas: Iterable[Named]) -> str | None:
    """Return the slug that `slug` was most likely meant to be."""
    near = difflib.get_close_matches(slug[:_MOST], [slug_of(persona) for persona in personas], n=1)
    return near[0] if near else None
