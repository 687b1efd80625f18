"""
Load the personas that ship once, and find them by id, by name or page by page.

    library/*.toml  →  PersonaLibrary.load()  →  get(id)            the API
                                                 find("gen x")      the command line
                                                 page(limit, …)     GET /personas

The order is by category, then by name. It does not change while the server runs, so a cursor (the id of
the last persona of a page) always points at the same place.
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
from mavera.personas.typos import MOST_KNOWN, find_words, fold, match_words

# Typing errors are forgiven in this many characters of a description. The library's descriptions are shorter.
_FORGIVEN_CHARACTERS = 300


class Listed(Protocol):
    """The members of a persona that lists show."""

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
    """A deleted persona. It keeps its place in the order, for cursors that name it."""

    id: str
    name: str
    category: Category


class Roll(Generic[P]):
    """
    Personas in a stable order. A roll is immutable, so all tasks can share one.

    `pages` is a cache for callers: the response that they built from this roll, by request.
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
        Return the persona that a person types at a terminal: `gen x`, `SMB owner`, `market_analyst`.

        An id or a whole name wins, then the only name that begins with the text, then the only name that
        contains it. Case, hyphens and underscores do not matter. Raises PersonaNotFound.
        """
        if name_or_id in self._by_id:
            return self._by_id[name_or_id]
        wanted = _plain(name_or_id)
        fits = self._match(wanted) if wanted else ()
        if len(fits) != 1:
            raise PersonaNotFound(self._advise(name_or_id, fits), param="persona_id")
        return fits[0]

    def list(
        self,
        category: str | None = None,
        search: str | None = None,
        custom: bool | None = None,
        expert: bool | None = None,
    ) -> tuple[P, ...]:
        """
        Return the personas that match, in order. A filter of None matches all.

        `search` looks in names and descriptions. If none contains it letter by letter, the result is the
        personas that contain all its words, apart from typing errors.
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
        sought = fold(search.strip())
        exact = [p for p in fits if sought in fold(p.name) or sought in fold(p.description)]
        return tuple(exact or self._nearly(search, fits))

    def _nearly(self, search: str, among: Sequence[P]) -> Iterator[P]:
        if not self._words:
            self._read_words()
        wanted = match_words(search, self._vocabulary)
        return (p for p in among if wanted and all(words & self._words[p.id] for words in wanted))

    def _read_words(self) -> None:
        """Collect the words of all personas. If they are too many, names come before descriptions."""
        names = [find_words(p.name) for p in self._ordered]
        described = [find_words(p.description[:_FORGIVEN_CHARACTERS]) for p in self._ordered]
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
        Return the next `limit` (at least 1) personas that match, and the cursor of the next page.

        The cursor is None on the last page. It may name a persona that the filters exclude. The page then
        begins after that persona's place.
        """
        start = self._after(cursor)
        rest = [p for p in self.list(category, search, custom, expert) if self._position[p.id] >= start]
        shown = tuple(rest[:limit])
        return shown, shown[-1].id if len(rest) > len(shown) else None

    def _after(self, cursor: str | None) -> int:
        if cursor is None:
            return 0
        if cursor not in self._position:
            message = f"The cursor {reprlib.repr(cursor)} is unknown. Use next_cursor of the previous page."
            raise InvalidRequest(message, param="cursor")
        return self._position[cursor] + 1

    def _match(self, wanted: str) -> tuple[P, ...]:
        """Return the strictest matches that exist: by the whole name, by its beginning, or by a part."""
        names = [(_plain(persona.name), persona) for persona in self._ordered]
        whole = tuple(persona for name, persona in names if name == wanted)
        beginning = tuple(persona for name, persona in names if name.startswith(wanted))
        part = tuple(persona for name, persona in names if wanted in name)
        return whole or beginning or part

    def _advise(self, name_or_id: str, fits: tuple[P, ...]) -> str:
        shown = reprlib.repr(name_or_id)
        if fits:
            names = ", ".join(persona.name for persona in fits)
            return f"{shown} matches several personas: {names}. Name one of them."
        known = {_plain(persona.name): persona.name for persona in self._ordered}
        near = difflib.get_close_matches(_plain(name_or_id), known, n=1)
        hint = f"Did you mean {known[near[0]]}?" if near else "List them with 'mavera personas list'."
        return f"No persona is called {shown}. {hint}"


class PersonaLibrary(Roll[Persona]):
    """The personas that ship with mavera."""

    @classmethod
    def load(cls) -> Self:
        """Read the files that ship. Raises ConfigurationError, which names the file that is not valid."""
        folder = resources.files("mavera.personas") / "library"
        files = (entry for entry in folder.iterdir() if entry.name.endswith(".toml"))
        return cls(decode_persona(file.read_bytes(), file.name) for file in files)


def decode_persona(data: bytes, name: str) -> Persona:
    """Return the persona that the TOML file `name` describes."""
    try:
        return msgspec.toml.decode(data, type=Persona)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"The persona file {name} is not valid: {error}") from error


def _place(persona: Listed | Gone) -> tuple[int, str, str]:
    return CATEGORIES.index(persona.category), persona.name.casefold(), persona.id


def _plain(name: str) -> str:
    """Return `name` without case, accents, hyphens and underscores."""
    letters = "".join(c for c in unicodedata.normalize("NFKD", name) if not unicodedata.combining(c))
    return " ".join(letters.casefold().replace("-", " ").replace("_", " ").split())
