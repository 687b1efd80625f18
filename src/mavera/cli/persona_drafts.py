"""Draft personas with the model of the settings, and show them before anything is stored."""

import asyncio
import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console

from mavera.cli.options import AsJSON, DataDir, ModelOption, print_json
from mavera.cli.progress import wait_until_ready
from mavera.errors import ConfigurationError
from mavera.models.config import DEFAULT_NAME
from mavera.personas.custom import PersonaType, Sheet, describe_sheet
from mavera.personas.files import to_toml
from mavera.personas.prompt import build_facts
from mavera.runs.persona_draft import Drafted, draft
from mavera.services import open_named_model
from mavera.settings import Settings, load_settings

NameArgument = Annotated[str, typer.Argument(help="The audience's name.")]
DescriptionOption = Annotated[str, typer.Option(help="The audience, in a sentence or two.")]
KindOption = Annotated[
    PersonaType | None,
    typer.Option("--type", help="B2B for a person who buys for a firm, B2C for one who buys at home."),
]


def draft_persona(
    name: NameArgument,
    description: DescriptionOption,
    kind: KindOption = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the draft to this TOML file.")
    ] = None,
    model: ModelOption = DEFAULT_NAME,
    as_json: AsJSON = False,
    data_dir: DataDir = None,
) -> None:
    """Draft a persona and show it. Nothing is stored; `mavera personas import` makes it from the file."""
    sheet = Sheet.from_members(
        pipeline_type="north_star",
        name=name,
        description=description,
        type=kind,
        category="Professional" if kind == "B2B" else "Lifestyle",
        details={},
    )
    if output is not None:
        _refuse_unwritable(output)
    settings = load_settings(data_dir=data_dir)
    drafted = asyncio.run(_draft_one(sheet, settings, model))
    whole = msgspec.structs.replace(sheet, profile=drafted.profile)
    if output is not None:
        try:
            output.write_text(to_toml(whole), encoding="utf-8")
        except OSError as error:
            raise ConfigurationError(f"{output} cannot be written: {error.strerror}.") from error
    if as_json:
        profile = msgspec.to_builtins(drafted.profile)
        print_json({"name": whole.name, "description": whole.description, "profile": profile})
        return
    print_draft(drafted)
    if output is not None:
        typer.echo(
            f"\nwritten: {output}. To make this persona: mavera personas import {shlex.quote(str(output))}"
        )


def _refuse_unwritable(output: Path) -> None:
    """Raise ConfigurationError if `output` cannot be written. A draft takes a minute, so this comes first."""
    if output.is_dir():
        raise ConfigurationError(f"{output} is a folder.")
    place = output if output.exists() else output.parent
    if not os.access(place, os.W_OK):
        reason = "Permission denied" if place.exists() else "No such folder"
        raise ConfigurationError(f"{output} cannot be written: {reason}.")


async def _draft_one(sheet: Sheet, settings: Settings, model_name: str) -> Drafted:
    [drafted] = await _draft_all([sheet], settings, model_name)
    return drafted


async def draft_profiles(sheets: Sequence[Sheet], settings: Settings, model_name: str) -> list[Sheet]:
    """Return the sheets, with a person that the model invents for each one that lacks one."""
    lacking = [sheet for sheet in sheets if sheet.profile is None]
    drafted = iter(await _draft_all(lacking, settings, model_name))
    return [
        msgspec.structs.replace(sheet, profile=next(drafted).profile) if sheet.profile is None else sheet
        for sheet in sheets
    ]


async def _draft_all(sheets: Sequence[Sheet], settings: Settings, model_name: str) -> list[Drafted]:
    """Let the model called `model_name` invent a person for each sheet, one after the other."""
    if not sheets:
        return []
    console = Console(stderr=True, highlight=False)
    async with open_named_model(settings, model_name) as named:
        await wait_until_ready(named.model, console)
        found = []
        for sheet in sheets:
            with console.status(f"Drafting {sheet.name} …"):
                found.append(await draft(named.model, sheet.name, describe_sheet(sheet), sheet.type))
        return found


def print_draft(drafted: Drafted) -> None:
    """Print who the person is, with their sample answers, and what the draft does not repeat."""
    console = Console(highlight=False)
    for line in build_facts(drafted.profile).splitlines():
        console.print(line, markup=False)
    for turn in drafted.profile.turns:
        console.print(f"\n? {turn.ask}", style="dim", markup=False)
        console.print(f"  {turn.answer}", markup=False)
    if drafted.unmentioned:
        words = ", ".join(drafted.unmentioned)
        console.print(
            f"\nThe draft does not repeat: {words}. The persona still reads them in the description.",
            markup=False,
        )
