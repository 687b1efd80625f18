"""
Everyone who can answer a workspace: the library, and the personas of its own.

    get(id, owner)     one, from the library or the database
    roll(owner)        all, in order; known for a second and asked for once at a time, so that lists are fast
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NoReturn

from mavera.core.ids import is_cuid
from mavera.core.items import Item
from mavera.errors import Forbidden
from mavera.personas import repository
from mavera.personas.builtin import PersonaLibrary, Roll
from mavera.personas.custom import CustomPersona, Sheet, custom_items
from mavera.personas.persona import Persona
from mavera.personas.prompt import persona_items
from mavera.personas.repository import Owner, PersonaLimits
from mavera.storage.database import Database

ROLL_SECONDS = 1.0
MOST_KNOWN = 1000

AnyPersona = Persona | CustomPersona


@dataclass(frozen=True, slots=True)
class _Known:
    """What an owner had at a time of the monotonic clock."""

    at: float
    marks: frozenset[tuple[str, int]]
    roll: Roll[AnyPersona]


class Personas:
    """
    `database` is None if there are no personas except the library's and `more`, which everyone may
    name. `limits` bound what one owner may store. `clock` returns Unix seconds.
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
        self._known: dict[Owner, _Known] = {}
        self._questions: dict[Owner, asyncio.Task[_Known]] = {}

    async def get(self, persona_id: str, owner: Owner | None) -> AnyPersona:
        """Raises PersonaNotFound, also for a persona of another workspace."""
        base = self._base.has(persona_id) or not is_cuid(persona_id)
        if owner is not None and self._database is not None and not base:
            found = await repository.find(self._database, owner, persona_id)
            if found is not None:
                return found
        return self._base.get(persona_id)

    async def roll(self, owner: Owner) -> Roll[AnyPersona]:
        """Return everyone, as of at most a second ago; a change made in this process is seen at once."""
        if self._database is None:
            return self._base
        known = self._known.get(owner)
        if known is not None and time.monotonic() - known.at < ROLL_SECONDS:
            return known.roll
        question = self._questions.get(owner)
        if question is None:
            question = asyncio.create_task(self._ask(self._database, owner, known))
            self._questions[owner] = question
        # A client that leaves takes the answer from nobody else.
        return (await asyncio.shield(question)).roll

    async def _ask(self, database: Database, owner: Owner, known: _Known | None) -> _Known:
        """Return what the store has, and keep it unless it was changed meanwhile."""
        try:
            now = time.monotonic()
            marks = await repository.marks(database, owner)
            if not marks:
                roll = self._base
            elif known is not None and known.marks == marks:
                roll = known.roll
            else:
                custom, gone = await repository.list_all(database, owner)
                roll = Roll([*self.library, *custom], gone)
            found = _Known(now, marks, roll)
            if self._questions.get(owner) is asyncio.current_task():
                if len(self._known) >= MOST_KNOWN:
                    self._known.clear()
                self._known[owner] = found
            return found
        finally:
            if self._questions.get(owner) is asyncio.current_task():
                del self._questions[owner]

    def _forget(self, owner: Owner) -> None:
        """Let the next list ask anew: what is being asked now may not have the change."""
        self._known.pop(owner, None)
        self._questions.pop(owner, None)

    async def check_room(self, owner: Owner) -> None:
        """Raise InvalidRequest if another persona could not be stored. Call it before a draft is made."""
        await repository.check_room(self._opened, owner, self.limits)

    async def create(self, owner: Owner, sheet: Sheet, *, credits: int = 0) -> CustomPersona:
        """Store a persona that cost `credits`. Raises InvalidRequest if there are too many."""
        created = await repository.insert(
            self._opened, owner, sheet, limits=self.limits, now=int(self._clock()), credits=credits
        )
        self._forget(owner)
        return created

    async def update(self, owner: Owner, persona_id: str, change: Callable[[Sheet], Sheet]) -> CustomPersona:
        """Make a new version, and return it. Raises PersonaNotFound, Forbidden for one of the library."""
        self._refuse_base(persona_id)
        updated = await repository.update(
            self._opened, owner, persona_id, change, limits=self.limits, now=int(self._clock())
        )
        self._forget(owner)
        return updated if updated is not None else self._missing(persona_id)

    async def delete(self, owner: Owner, persona_id: str) -> None:
        """Raises PersonaNotFound, Forbidden for one of the library."""
        self._refuse_base(persona_id)
        deleted = await repository.delete(self._opened, owner, persona_id, now=int(self._clock()))
        self._forget(owner)
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


def prompt_items(persona: AnyPersona) -> tuple[Item, ...]:
    """Return what goes before the conversation."""
    return custom_items(persona) if isinstance(persona, CustomPersona) else persona_items(persona)
