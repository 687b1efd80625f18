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
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from itertools import chain, islice
from typing import Any, Generic, Protocol, Self, TypeVar

import msgspec

from mavera.errors import ConfigurationError, InvalidRequest, PersonaNotFound
from mavera.personas.persona import CATEGORIES, Category, Persona
from mavera.personas.typos import MOST_KNOWN, meant, plain, words_of

# Of a description, which the library's stay below.
_FORGIVEN_CHARACTERS = 300


class Listed(Protocol):
    """What a list shows of a persona."""

    @property
    def id(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def category(self) -> Category: ...
    @property
    def description(self) -> str: ...
    @property
    def created_at(self) -> int: ...
    @property
    def is_expert(self) -> bool: ...
    @property
    def is_custom(self) -> bool: ...


P = TypeVar("P", bound=Listed)


@dataclass(frozen=True, slots=True)
class Gone:
    """A persona that was deleted: its place in the order, for cursors that name it."""

    id: str
    name: str
    category: Category


class Roll(Generic[P]):
    """
    Personas in a stable order; immutable, so every task may share one.

    `pages` is for whoever shows them: what was made of this roll, by what was asked for.
    """

    def __init__(self, personas: Iterable[P], gone: Iterable[Gone] = ()) -> None:
        self._ordered = tuple(sorted(personas, key=_place))
        self._by_id = {persona.id: persona for persona in self._ordered}
        places = sorted([*map(_place, self._ordered), *map(_place, gone)])
        self._position = {place[-1]: n for n, place in enumerate(places)}
        self._words: dict[str, frozenset[str]] = {}
        self._vocabulary: tuple[str, ...] = ()
        self.pages: dict[bytes, Any] = {}

    def __iter__(self) -> Iterator[P]:
        return iter(self._ordered)

    def has(self, persona_id: str) -> bool:
        return persona_id in self._by_id

    def get(self, persona_id: str) -> P:
        try:
            return self._by_id[persona_id]
        except KeyError:
            shown = reprlib.repr(persona_id)
            message = f"No persona has the id {shown}. List them with GET /api/v1/personas."
            raise PersonaNotFound(message, param="persona_id") from None

    def find(self, name_or_id: str) -> P:
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
    ) -> tuple[P, ...]:
        """
        Return those that fit, in order; None does not filter.

        `search` looks in name and description; where nothing has it letter by letter, the
        personas are returned that have all its words but for typing errors.
        """
        fits = [
            persona
            for persona in self._ordered
            if category in (None, persona.category)
            and custom in (None, persona.is_custom)
            and expert in (None, persona.is_expert)
        ]
        if not search or not search.strip():
            return tuple(fits)
        sought = plain(search.strip())
        exact = [p for p in fits if sought in plain(p.name) or sought in plain(p.description)]
        return tuple(exact or self._nearly(search, fits))

    def _nearly(self, search: str, among: Sequence[P]) -> Iterator[P]:
        if not self._words:
            self._read_words()
        wanted = meant(search, self._vocabulary)
        return (p for p in among if wanted and all(words & self._words[p.id] for words in wanted))

    def _read_words(self) -> None:
        """Note everyone's words; where they are very many, names are forgiven errors first."""
        names = [words_of(p.name) for p in self._ordered]
        described = [words_of(p.description[:_FORGIVEN_CHARACTERS]) for p in self._ordered]
        self._words = {p.id: a | b for p, a, b in zip(self._ordered, names, described, strict=True)}
        every = dict.fromkeys(chain.from_iterable(sorted(words) for words in (*names, *described)))
        self._vocabulary = tuple(islice(every, MOST_KNOWN))

    def page(
        self,
        limit: int,
        cursor: str | None = None,
        category: str | None = None,
        search: str | None = None,
        custom: bool | None = None,
        expert: bool | None = None,
    ) -> tuple[tuple[P, ...], str | None]:
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

    def _fits(self, wanted: str) -> tuple[P, ...]:
        """Those of the strictest reading that fits any: the whole name, its beginning, a part."""
        names = [(_plain(persona.name), persona) for persona in self._ordered]
        whole = tuple(persona for name, persona in names if name == wanted)
        beginning = tuple(persona for name, persona in names if name.startswith(wanted))
        part = tuple(persona for name, persona in names if wanted in name)
        return whole or beginning or part

    def _advice(self, name_or_id: str, fits: tuple[P, ...]) -> str:
        shown = reprlib.repr(name_or_id)
        if fits:
            names = ", ".join(persona.name for persona in fits)
            return f"{shown} fits several personas: {names}. Say which."
        known = {_plain(persona.name): persona.name for persona in self._ordered}
        near = difflib.get_close_matches(_plain(name_or_id), known, n=1)
        hint = f"Did you mean {known[near[0]]}?" if near else "List them with 'mavera personas list'."
        return f"No persona is called {shown}. {hint}"


class PersonaLibrary(Roll[Persona]):
    """The personas that ship."""

    @classmethod
    def load(cls) -> Self:
        """Read the files that ship; raises ConfigurationError, naming the file that does not fit."""
        folder = resources.files("mavera.personas") / "library"
        files = (entry for entry in folder.iterdir() if entry.name.endswith(".toml"))
        return cls(decode_persona(file.read_bytes(), file.name) for file in files)


def decode_persona(data: bytes, name: str) -> Persona:
    """Return the persona that the TOML file `name` describes."""
    try:
        return msgspec.toml.decode(data, type=Persona)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"The persona file {name} does not fit: {error}") from error


def _place(persona: Listed | Gone) -> tuple[int, str, str]:
    return CATEGORIES.index(persona.category), persona.name.casefold(), persona.id


def _plain(name: str) -> str:
    """Return `name` without case, accents and the marks people type between words."""
    letters = "".join(c for c in unicodedata.normalize("NFKD", name) if not unicodedata.combining(c))
    return " ".join(letters.casefold().replace("-", " ").replace("_", " ").split())
