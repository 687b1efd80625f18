"""What the commands on the store share: open it, find the workspace meant."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from mavera.accounts.repository import first_workspace_id
from mavera.errors import ConfigurationError
from mavera.settings import Settings, load_settings
from mavera.storage.database import Database
from mavera.storage.schema import ensure_schema

T = TypeVar("T")

InWorkspace = Annotated[
    str | None, typer.Option("--workspace", help="The workspace's id; the first one unless given.")
]


def with_database(data_dir: Path | None, use: Callable[[Database, Settings], Awaitable[T]]) -> T:
    """Run `use` with the store that the settings name, brought up to date."""

    async def run() -> T:
        settings = load_settings(data_dir=data_dir)
        async with Database.open(settings) as database:
            await ensure_schema(database)
            return await use(database, settings)

    return asyncio.run(run())


async def workspace_or_first(database: Database, workspace_id: str | None) -> str:
    """Return the id given, or the first workspace's. Raises ConfigurationError where there is none."""
    found = workspace_id or await first_workspace_id(database)
    if found is None:
        raise ConfigurationError("There is no workspace yet. Start the server once: mavera serve")
    return found
