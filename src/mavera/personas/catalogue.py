"""
Everyone who can answer a workspace: the library, and the personas of its own.

    get(id, principal)   one, from the library or the database
    roll(principal)      all, in order; known for a second and asked for once at a time, for fast lists
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NoReturn

from mavera.accounts.keys.text import Mode
from mavera.accounts.principal import Principal
from mavera.core.ids import is_cuid
from mavera.core.items import Item
from mavera.errors import Forbidden
from mavera.personas import repository
from mavera.personas.builtin import PersonaLibrary, Roll
from mavera.personas.custom import CustomPersona, Sheet, custom_items
from mavera.personas.persona import Persona
from mavera.personas.prompt import persona_items
from mavera.personas.repository import PersonaLimits
from mavera.storage.database import Database

ROLL_SECONDS = 1.0
MOST_KNOWN = 1000

AnyPersona = Persona | CustomPersona
# A workspace's personas for one kind of key: whoever asks with another key of that kind sees the same.
_Shelf = tuple[str, Mode]


@dataclass(frozen=True, slots=True)
class _Known:
    """What a workspace had at a time of the monotonic clock."""

    at: float
    marks: frozenset[tuple[str, int]]
    roll: Roll[AnyPersona]


class Personas:
    """
    `database` is None if there are no personas except the library's and `more`, which everyone may
    name. `limits` bound what one workspace may store. `clock` returns Unix seconds.
    """

    def __init__(
        self,
        library: PersonaLibrary,
        database: Database | None = None,
        *,
        more: Iterable[CustomPersona] = (),
        limits: PersonaLimits | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.library = library
        self._database = database
        self.limits = limits or PersonaLimits()
        self._clock = clock
        self._base: Roll[AnyPersona] = Roll([*library, *more])
        self._known: dict[_Shelf, _Known] = {}
        self._questions: dict[_Shelf, asyncio.Task[_Known]] = {}

    async def get(self, persona_id: str, principal: Principal) -> AnyPersona:
        """Raises PersonaNotFound, also for a persona of another workspace."""
        base = self._base.has(persona_id) or not is_cuid(persona_id)
        if self._database is not None and not base:
            found = await repository.find(self._database, principal, persona_id)
            if found is not None:
                return found
        return self._base.get(persona_id)

    async def roll(self, principal: Principal) -> Roll[AnyPersona]:
        """Return everyone, as of at most a second ago; a change made in this process is seen at once."""
        if self._database is None:
            return self._base
        shelf = _shelf_of(principal)
        known = self._known.get(shelf)
        if known is not None and time.monotonic() - known.at < ROLL_SECONDS:
            return known.roll
        question = self._questions.get(shelf)
        if question is None:
            question = asyncio.create_task(self._ask(self._database, principal, known))
            self._questions[shelf] = question
        # A client that leaves takes the answer from nobody else.
        return (await asyncio.shield(question)).roll

    async def _ask(self, database: Database, principal: Principal, known: _Known | None) -> _Known:
        """Return what the store has, and keep it unless it was changed meanwhile."""
        shelf = _shelf_of(principal)
        try:
            now = time.monotonic()
            marks = await repository.marks(database, principal)
            if not marks:
                roll = self._base
            elif known is not None and known.marks == marks:
                roll = known.roll
            else:
                custom, gone = await repository.list_all(database, principal)
                roll = Roll([*self.library, *custom], gone)
            found = _Known(now, marks, roll)
            if self._questions.get(shelf) is asyncio.current_task():
                if len(self._known) >= MOST_KNOWN:
                    self._known.clear()
                self._known[shelf] = found
            return found
        finally:
            if self._questions.get(shelf) is asyncio.current_task():
                del self._questions[shelf]

    def _forget(self, principal: Principal) -> None:
        """Let the next list ask anew: what is being asked now may not have the change."""
        shelf = _shelf_of(principal)
        self._known.pop(shelf, None)
        self._questions.pop(shelf, None)

    async def check_room(self, principal: Principal) -> None:
        """Raise InvalidRequest if another persona could not be stored. Call it before a draft is made."""
        await repository.check_room(self._opened, principal, self.limits)

    async def create(self, principal: Principal, sheet: Sheet, *, credits: int = 0) -> CustomPersona:
        """Store a persona that cost `credits`. Raises InvalidRequest if there are too many."""
        created = await repository.insert(
            self._opened, principal, sheet, limits=self.limits, now=int(self._clock()), credits=credits
        )
        self._forget(principal)
        return created

    async def update(
        self, principal: Principal, persona_id: str, change: Callable[[Sheet], Sheet]
    ) -> CustomPersona:
        """Make a new version, and return it. Raises PersonaNotFound, Forbidden for one of the library."""
        self._refuse_base(persona_id)
        updated = await repository.update(
            self._opened, principal, persona_id, change, limits=self.limits, now=int(self._clock())
        )
        self._forget(principal)
        return updated if updated is not None else self._missing(persona_id)

    async def delete(self, principal: Principal, persona_id: str) -> None:
        """Raises PersonaNotFound, Forbidden for one of the library."""
        self._refuse_base(persona_id)
        deleted = await repository.delete(self._opened, principal, persona_id, now=int(self._clock()))
        self._forget(principal)
        if not deleted:
            self._missing(persona_id)

    @property
    def _opened(self) -> Database:
        if self._database is None:
            raise RuntimeError("custom personas need a database")
        return self._database

    def _refuse_base(self, persona_id: str) -> None:
        if self.library.has(persona_id):
            raise Forbidden(
                "This persona belongs to the library and cannot be changed. Make one of your own with"
                " POST /api/v1/personas.",
                param="persona_id",
            )

    def _missing(self, persona_id: str) -> NoReturn:
        self.library.get(persona_id)
        raise AssertionError("unreachable")


def _shelf_of(principal: Principal) -> _Shelf:
    return principal.workspace_id, principal.mode


def prompt_items(persona: AnyPersona) -> tuple[Item, ...]:
    """Return what goes before the conversation."""
    return custom_items(persona) if isinstance(persona, CustomPersona) else persona_items(persona)
