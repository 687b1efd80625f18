"""
Open the store for the commands of `mavera study`, find a study in it, and compute its results.

    use_office   opens the store of the settings, without a model, and the service for studies
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from mavera.accounts.credits.holds import Credits
from mavera.accounts.keys.repository import find_first_workspace_id
from mavera.accounts.principal import Principal
from mavera.errors import ConfigurationError
from mavera.focus_groups.desk import digest_model, load_study_module
from mavera.focus_groups.repository import StudyRow
from mavera.personas.builtin import PersonaLibrary
from mavera.personas.catalogue import Personas
from mavera.runs.images import ImageStep
from mavera.services import Components, open_store
from mavera.settings import Settings, load_settings
from mavera.storage.database import Database

T = TypeVar("T")
StudyId = Annotated[str, typer.Argument(help="The study's id, or `last`.")]


@dataclass(frozen=True, slots=True)
class Office:
    """The parts that the commands work with: the store, and the operator's own workspace."""

    database: Database
    credits: Credits
    settings: Settings
    personas: Personas
    service: Any
    principal: Principal


def use_office(data_dir: Path | None, use: Callable[[Office], Awaitable[T]]) -> T:
    """Run `use` on the store of the settings, without a model."""

    async def run() -> T:
        settings = load_settings(data_dir=data_dir)
        async with open_store(settings) as database, Credits(database) as credits:
            return await use(await open_office(settings, database, credits))

    return asyncio.run(run())


async def open_office(
    settings: Settings, database: Database, credits: Credits, images: ImageStep | None = None
) -> Office:
    """Return the parts on an open database. `images` fetches the images of new studies."""
    components = Components.of(settings)
    personas = Personas(PersonaLibrary.load(), database)
    service = load_study_module("service").FocusGroups(
        database,
        credits,
        personas,
        components.named,
        model_digest=digest_model(settings),
        images=images,
    )
    principal = Principal.local(await find_first_workspace_id(database) or "")
    return Office(database, credits, settings, personas, service, principal)


async def find_study(office: Office, study: str) -> StudyRow:
    """Return a study by its id, or the newest one for "last". Raises NotFound and ConfigurationError."""
    if study != "last":
        row: StudyRow = await office.service.get(office.principal, study)
        return row
    rows, _ = await office.service.list_page(office.principal, 1, None)
    if not rows:
        raise ConfigurationError("There is no study yet. Begin with: mavera study new")
    newest: StudyRow = rows[0]
    return newest


async def read_record(office: Office, row: StudyRow) -> Any:
    """Return the record of a study that has answers. Raises ConfigurationError if it has none."""
    record = await office.service.read(row)
    if not record.book:
        raise ConfigurationError(f"{row.id} has no answers yet. {row.error or ''}".strip())
    return record


async def compute_results(office: Office, row: StudyRow) -> dict[str, Any]:
    """Return the results of a study. Raises ConfigurationError if it has no answers."""
    record = await read_record(office, row)
    results: dict[str, Any] = load_study_module("reports").compute_results(record)
    return results
