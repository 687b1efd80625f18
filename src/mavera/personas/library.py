"""
The personas that ship: read once, looked up by id, found by name, listed in pages.

    library/*.toml  →  PersonaLibrary.load()  →  get(id)            the API
                                                 find("gen x")      the command line
                                                 page(limit, …)     GET /personas

The order is by category, then by name, and does not change while the server runs, so
a cursor (the id of the last persona of a page) always points at the same place.
"""

import difflib
import reprlib
import unicodedata
from collections.abc import Iterable
from importlib import resources
from typing import Self

import msgspec

from mavera.errors import ConfigurationError, InvalidRequest, PersonaNotFound
from mavera.personas.persona import CATEGORIES, Persona


class PersonaLibrary:
    """Personas in a stable order; immutable, so every task may share one."""

    def __init__(self, personas: Iterable[Persona]) -> None:
        self._ordered = tuple(sorted(personas, key=_place))
        self._by_id = {persona.id: persona for persona in self._ordered}
        self._position = {persona.id: n for n, persona in enumerate(self._ordered)}

    @classmethod
    def load(cls) -> Self:
        """Read the files that ship; raises ConfigurationError, naming the file that does not fit."""
        folder = resources.files("mavera.personas") / "library"
        files = (entry for entry in folder.iterdir() if entry.name.endswith(".toml"))
        return cls(decode_persona(file.read_bytes(), file.name) for file in files)

    def get(self, persona_id: str) -> Persona:
        try:
            return self._by_id[persona_id]
        except KeyError:
            shown = reprlib.repr(persona_id)
            message = f"No persona has the id {shown}. List them with GET /api/v1/personas."
            raise PersonaNotFound(message, param="persona_id") from None

    def find(self, name_or_id: str) -> Persona:
        """
        Return the persona a person at a terminal means: `gen x`, `SMB owner`, `market_analyst`.

        An id or a whole name wins, then the only name that begins so, then the only
        one that contains it; case, hyphens and underscores do not matter.
        """
        if name_or_id in self._by_id:
            return self._by_id[name_or_id]
        wanted = _plain(name_or_id)
        fits = self._fits(wanted) if wanted else ()
        if len(fits) != 1:
            raise PersonaNotFound(self._advice(name_or_id, fits), param="persona_id")
        return fits[0]

    def list(
        self,
        category: str | None = None,
        search: str | None = None,
        custom: bool | None = None,
        expert: bool | None = None,
    ) -> tuple[Persona, ...]:
        """Return those that fit, in order; `search` looks in name and description, None does not filter."""
        sought = (search or "").casefold()
        return tuple(
            persona
            for persona in self._ordered
            if category in (None, persona.category)
            and custom in (None, persona.is_custom)
            and expert in (None, persona.is_expert)
            and (sought in persona.name.casefold() or sought in persona.description.casefold())
        )

    def page(
        self,
        limit: int,
        cursor: str | None = None,
        category: str | None = None,
        search: str | None = None,
        custom: bool | None = None,
        expert: bool | None = None,
    ) -> tuple[tuple[Persona, ...], str | None]:
        """
        Return the next `limit` (at least 1) personas that fit, and the cursor of the page after.

        The cursor is None on the last page. It may name a persona that the filters leave
        out: the page then begins behind its place.
        """
        start = self._after(cursor)
        rest = [p for p in self.list(category, search, custom, expert) if self._position[p.id] >= start]
        shown = tuple(rest[:limit])
        return shown, shown[-1].id if len(rest) > len(shown) else None

    def _after(self, cursor: str | None) -> int:
        if cursor is None:
            return 0
        if cursor not in self._position:
            message = f"The cursor {reprlib.repr(cursor)} is unknown. Use next_cursor of the page before."
            raise InvalidRequest(message, param="cursor")
        return self._position[cursor] + 1

    def _fits(self, wanted: str) -> tuple[Persona, ...]:
        """Those of the strictest reading that fits any: the whole name, its beginning, a part."""
        names = [(_plain(persona.name), persona) for persona in self._ordered]
        whole = tuple(persona for name, persona in names if name == wanted)
        beginning = tuple(persona for name, persona in names if name.startswith(wanted))
        part = tuple(persona for name, persona in names if wanted in name)
        return whole or beginning or part

    def _advice(self, name_or_id: str, fits: tuple[Persona, ...]) -> str:
        shown = reprlib.repr(name_or_id)
        if fits:
            names = ", ".join(persona.name for persona in fits)
            return f"{shown} fits several personas: {names}. Say which."
        known = {_plain(persona.name): persona.name for persona in self._ordered}
        near = difflib.get_close_matches(_plain(name_or_id), known, n=1)
        hint = f"Did you mean {known[near[0]]}?" if near else "List them with 'mavera personas list'."
        return f"No persona is called {shown}. {hint}"


def decode_persona(data: bytes, name: str) -> Persona:
    """Return the persona that the TOML file `name` describes."""
    try:
        return msgspec.toml.decode(data, type=Persona)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"The persona file {name} does not fit: {error}") from error


def _place(persona: Persona) -> tuple[int, str, str]:
    return CATEGORIES.index(persona.category), persona.name.casefold(), persona.id


def _plain(name: str) -> str:
    """Return `name` without case, accents and the marks people type between words."""
    letters = "".join(c for c in unicodedata.normalize("NFKD", name) if not unicodedata.combining(c))
    return " ".join(letters.casefold().replace("-", " ").replace("_", " ").split())
