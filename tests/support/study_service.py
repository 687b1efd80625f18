"""The service of studies on a test's database, without a server."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec

from mavera.accounts.credits.holds import Credits
from mavera.accounts.principal import Principal
from mavera.focus_groups import reports
from mavera.focus_groups.repository import StudyRow
from mavera.focus_groups.service import FocusGroups
from mavera.models.config import ModelConfig
from mavera.models.named import NamedModel
from mavera.models.scripted import ScriptedModel
from mavera.personas.builtin import PersonaLibrary
from mavera.personas.catalogue import Personas
from mavera.settings import Settings
from mavera.storage.database import Database

T = TypeVar("T")


def use_service(settings: Settings, scene: Callable[[FocusGroups, Database], Awaitable[T]]) -> T:
    """Open the database of `settings`, and return what `scene` makes with the service on it."""

    async def main() -> T:
        async with Database.open(settings) as database, Credits(database) as credits:
            named = {"mavera-1": NamedModel("mavera-1", ScriptedModel(), "scripted", ModelConfig())}
            people = Personas(PersonaLibrary.load(), database)
            service = FocusGroups(database, credits, people, named, model_digest="scripted")
            return await scene(service, database)

    return asyncio.run(main())


async def find_principal(_: FocusGroups, database: Database) -> Principal:
    """Return whoever holds the key that was made last."""
    row = await database.fetch_one("SELECT id, workspace_id FROM api_keys ORDER BY created_at DESC LIMIT 1")
    assert row is not None
    return Principal(row["id"], row["workspace_id"], "live", "enterprise")


def read_results(settings: Settings, row: StudyRow) -> bytes:
    """Return the results of a study without what differs between two runs of it."""

    async def compute(service: FocusGroups, _: Database) -> bytes:
        found = reports.compute_results(await service.read(row))
        return msgspec.json.encode({**found, "id": "", "created_at": 0})

    return use_service(settings, compute)
