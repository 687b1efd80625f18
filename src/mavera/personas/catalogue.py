"""
Look up all personas that a workspace can name: the library's and its own.

    get(id, principal)   one persona, from the library or the database
    roll(principal)      all personas in order, cached for a second and read by one task at a time
"""

import asyncio
import reprlib
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import NoReturn

from mavera.accounts import audit
from mavera.accounts.audit import Actor, Entry
from mavera.accounts.keys.text import Mode
from mavera.accounts.principal import Principal
from mavera.core.ids import is_cuid
from mavera.core.items import Item
from mavera.errors import Forbidden, PersonaNotFound
from mavera.personas import repository
from mavera.personas.builtin import PersonaLibrary, Roll
from mavera.personas.custom import CustomPersona, Sheet, build_custom_prefix
from mavera.personas.differences import Difference, list_differences
from mavera.personas.persona import Persona
from mavera.personas.prompt import build_library_prefix
from mavera.personas.repository import PersonaLimits
from mavera.personas.slugs import find_by_slug, nearest_slug
from mavera.storage.database import Database

ROLL_SECONDS = 1.0
MOST_KNOWN = 1000

AnyPersona = Persona | CustomPersona
# The personas of a workspace for one mode of key. All keys of that mode see the same ones.
_Shelf = tuple[str, Mode]


@dataclass(frozen=True, slots=True)
class _Known:
    """The personas of a workspace at a time of the monotonic clock."""

    at: float
    marks: frozenset[tuple[str, int]]
    roll: Roll[AnyPersona]


@dataclass(frozen=True, slots=True)
class Version:
    """A version of a custom persona, stored at its `updated_at`. The first one changed nothing."""

    persona: CustomPersona
    differences: tuple[Difference, ...]


class Personas:
    """
    The personas of all workspaces.

    If `database` is None, there are only those of the library and `more`, which every workspace can name.
    `limits` bound the custom personas of a workspace. `clock` returns Unix seconds.
    """

    def __init__(
        self,
        library: PersonaLibrary,
        database: Database | None = None,
        *,
        more: Iterable[CustomPersona] = (),
        limits: PersonaLimits | None = None,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self.library = library
        self._database = database
        self.limits = limits or PersonaLimits()
        self._clock = clock or (database.clock if database is not None else time.time)
        self._base: Roll[AnyPersona] = Roll([*library, *more])
        self._known: dict[_Shelf, _Known] = {}
        self._questions: dict[_Shelf, asyncio.Task[_Known]] = {}

    async def get(self, persona_id: str, principal: Principal) -> AnyPersona:
        """Return a persona. Raises PersonaNotFound, even if another workspace has a persona of this id."""
        base = self._base.has(persona_id) or not is_cuid(persona_id)
        if self._database is not None and not base:
            found = await repository.find(self._database, principal, persona_id)
            if found is not None:
                return found
        return self._base.get(persona_id)

    async def find(self, slug_or_id: str, principal: Principal) -> AnyPersona:
        """Return the persona of this id or slug. Raises PersonaNotFound, with the nearest slug."""
        if self._base.has(slug_or_id) or is_cuid(slug_or_id):
            return await self.get(slug_or_id, principal)
        found = find_by_slug(slug_or_id, self._base) or find_by_slug(slug_or_id, await self.roll(principal))
        if found is None:
            near = nearest_slug(slug_or_id, await self.roll(principal))
            hint = f"Did you mean '{near}'?" if near else "List them with GET /api/v1/personas."
            raise PersonaNotFound(f"No persona has the id or slug {reprlib.repr(slug_or_id)}. {hint}")
        return found

    async def roll(self, principal: Principal) -> Roll[AnyPersona]:
        """Return all personas as of at most a second ago. Changes made in this process show at once."""
        if self._database is None:
            return self._base
        shelf = _shelf_of(principal)
        known = self._known.get(shelf)
        if known is not None and time.monotonic() - known.at < ROLL_SECONDS:
            return known.roll
        question = self._questions.get(shelf)
        if question is None:
            question = asyncio.create_task(self._read(self._database, principal, known))
            self._questions[shelf] = question
        # If a client disconnects, the other waiting tasks still get the result.
        return (await asyncio.shield(question)).roll

    async def _read(self, database: Database, principal: Principal, known: _Known | None) -> _Known:
        """Read the personas from the database, and cache them unless they were changed meanwhile."""
        shelf = _shelf_of(principal)
        try:
            now = time.monotonic()
            marks = await repository.list_versions(database, principal)
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
        """Make the next list read again. A read that is in progress may lack the change."""
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
        await self._record(principal, "persona.created", created.id, created.name)
        return created

    async def update(
        self,
        principal: Principal,
        persona_id: str,
        change: Callable[[Sheet], Sheet],
        *,
        version: int | None = None,
    ) -> CustomPersona:
        """
        Store a new version, and return it.

        Raises PersonaNotFound, Forbidden for the library's, and VersionConflict if `version` is given and
        another version is the latest.
        """
        self._refuse_base(persona_id)
        updated = await repository.update(
            self._opened,
            principal,
            persona_id,
            change,
            limits=self.limits,
            now=int(self._clock()),
            version=version,
        )
        self._forget(principal)
        if updated is None:
            self._raise_not_found(persona_id)
        await self._record(principal, "persona.updated", updated.id, updated.name, version=updated.version)
        return updated

    async def page_versions(
        self, principal: Principal, persona_id: str, limit: int, before: int | None = None
    ) -> tuple[list[Version], int | None]:
        """
        Return a page of versions with what each of them changed, and where the next page begins.

        Raises PersonaNotFound, and Forbidden for a persona of the library, which has no versions.
        """
        self._refuse_base(persona_id)
        found = await repository.list_history(
            self._opened, principal, persona_id, limit=limit + 1, before=before
        )
        if not found and before is None:
            self._raise_not_found(persona_id)
        versions = [
            Version(one, list_differences(repository.to_sheet(older), repository.to_sheet(one)))
            for one, older in pairwise(found)
        ]
        if found and len(found) <= limit:
            versions.append(Version(found[-1], ()))
        return versions, versions[-1].persona.version if len(found) > limit else None

    async def delete(self, principal: Principal, persona_id: str) -> None:
        """Delete a persona. Raises PersonaNotFound, and Forbidden for one of the library."""
        self._refuse_base(persona_id)
        deleted = await repository.delete(self._opened, principal, persona_id, now=int(self._clock()))
        self._forget(principal)
        if not deleted:
            self._raise_not_found(persona_id)
        await self._record(principal, "persona.deleted", persona_id, "")

    async def _record(
        self, principal: Principal, action: str, persona_id: str, name: str, **details: int
    ) -> None:
        entry = Entry(principal.workspace_id, action, persona_id, name, details)
        await audit.record(self._opened, Actor.of(principal), entry, now=int(self._clock()))

    @property
    def _opened(self) -> Database:
        if self._database is None:
            raise RuntimeError("custom personas need a database")
        return self._database

    def _refuse_base(self, persona_id: str) -> None:
        if self.library.has(persona_id):
            raise Forbidden(
                "This persona belongs to the library and cannot be changed. Create your own persona with"
                " POST /api/v1/personas.",
                param="persona_id",
            )

    def _raise_not_found(self, persona_id: str) -> NoReturn:
        self.library.get(persona_id)
        raise AssertionError("unreachable")


def _shelf_of(principal: Principal) -> _Shelf:
    return principal.workspace_id, principal.mode


def build_prefix(persona: AnyPersona) -> tuple[Item, ...]:
    """Return the persona's prefix: the items before the conversation."""
    if isinstance(persona, CustomPersona):
        return build_custom_prefix(persona)
    return build_library_prefix(persona)
