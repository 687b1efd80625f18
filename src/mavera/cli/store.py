"""Open the store for a command, and find the workspace that the user chose."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from mavera.accounts import workspaces
from mavera.accounts.keys.repository import find_first_workspace_id
from mavera.accounts.principal import Principal
from mavera.errors import ConfigurationError
from mavera.personas.builtin import PersonaLibrary, Roll
from mavera.personas.catalogue import AnyPersona, Personas
from mavera.services import open_store
from mavera.settings import Settings, load_settings
from mavera.storage.database import Database

T = TypeVar("T")

InWorkspace = Annotated[
    str | None, typer.Option("--workspace", help="The workspace's id. The default is the first workspace.")
]


def with_database(data_dir: Path | None, use: Callable[[Database, Settings], Awaitable[T]]) -> T:
    """Run `use` with the store in the settings, after migrating it."""

    async def run() -> T:
        settings = load_settings(data_dir=data_dir)
        async with open_store(settings) as database:
            return await use(database, settings)

    return asyncio.run(run())


def load_personas(data_dir: Path | None, workspace_id: str | None) -> Roll[AnyPersona]:
    """Return the personas of the library and of the workspace. Without a store, only the library's."""
    settings = load_settings(data_dir=data_dir)
    if not settings.database_url and not (settings.data_dir / "mavera.db").exists():
        return asyncio.run(Personas(PersonaLibrary.load()).roll(Principal.local()))

    async def roll(database: Database, _: Settings) -> Roll[AnyPersona]:
        operator = Principal.local(workspace_id or await find_first_workspace_id(database) or "")
        return await Personas(PersonaLibrary.load(), database).roll(operator)

    return with_database(data_dir, roll)


async def choose_workspace(database: Database, workspace_id: str | None) -> str:
    """
    Return `workspace_id`, or the first workspace's id.

    Raises ConfigurationError if there is no workspace, and NotFound if none has this id.
    """
    if workspace_id is not None:
        return (await workspaces.get(database, workspace_id, now=int(database.clock()))).id
    found = await find_first_workspace_id(database)
    if found is None:
        raise ConfigurationError("There is no workspace yet. Start the server once: mavera serve")
    return found
