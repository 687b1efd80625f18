"""
`mavera personas`: see who can answer, and make personas of a workspace's own.

The commands work on the store itself, as its operator, so what they make costs no credits.
Where there is no store yet, `list`, `show` and `export` know the library.
"""

import os
import shlex
import subprocess
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import msgspec
import typer
from rich.console import Console
from rich.table import Column, Table

from mavera.accounts.principal import Principal
from mavera.cli.options import AsJSON, DataDir, print_json
from mavera.cli.progress import wait_until_ready
from mavera.cli.store import InWorkspace, local_roll, with_database, workspace_or_first
from mavera.core.items import Message
from mavera.errors import ConfigurationError
from mavera.personas.builtin import Listed, PersonaLibrary
from mavera.personas.catalogue import AnyPersona, Personas, prompt_items
from mavera.personas.custom import CustomPersona, PersonaType, Sheet
from mavera.personas.files import from_csv, from_toml, sheet_of, to_toml
from mavera.personas.persona import Category
from mavera.personas.typos import plain
from mavera.runs.persona_draft import draft
from mavera.services import open_model
from mavera.settings import Settings
from mavera.storage.database import Database

T = TypeVar("T")
OnDuplicate = Literal["skip", "replace", "add"]
PersonaArgument = Annotated[str, typer.Argument(help="Name or id, as the list shows it.")]

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="See who can answer, and make personas of your own."
)


@app.command("list")
def list_personas(
    category: Annotated[str | None, typer.Option(help="Only this category.")] = None,
    search: Annotated[str | None, typer.Option(help="Only with this in name or description.")] = None,
    custom: Annotated[
        bool | None,
        typer.Option("--custom/--library", help="Only the workspace's own, or the library's."),
    ] = None,
    workspace: InWorkspace = None,
    as_json: AsJSON = False,
    data_dir: DataDir = None,
) -> None:
    """List the library's personas and the workspace's own."""
    personas = local_roll(data_dir, workspace).list(category=category, search=search, custom=custom)
    if as_json:
        print_json([_public(persona) for persona in personas])
        return
    table = Table("name", "category", "description", Column("id", no_wrap=True, min_width=25))
    for persona in personas:
        table.add_row(persona.name, persona.category, persona.description, persona.id)
    Console().print(table)


@app.command()
def show(
    persona: PersonaArgument, workspace: InWorkspace = None, as_json: AsJSON = False, data_dir: DataDir = None
) -> None:
    """Show one persona: who speaks, and how it answers."""
    found = local_roll(data_dir, workspace).find(persona)
    if as_json:
        print_json(_public(found))
        return
    console = Console(highlight=False)
    version = f"  version {found.version}" if isinstance(found, CustomPersona) else ""
    console.print(
        f"[bold]{found.name}[/]  {found.category}  [dim]{found.id}{version}[/]\n{found.description}\n"
    )
    for item in prompt_items(found):
        if isinstance(item, Message) and item.role != "system":
            console.print(("[dim]? [/]" if item.role == "user" else "  ") + item.text)


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="The audience's name.")],
    description: Annotated[str, typer.Option(help="Who they are, in a sentence or two.")],
    kind: Annotated[PersonaType | None, typer.Option("--type", help="Buys for a firm, or at home.")] = None,
    category: Annotated[Category, typer.Option(help="Where the list shows it.")] = "Lifestyle",
    drafted: Annotated[
        bool, typer.Option("--draft/--no-draft", help="Let the model invent a whole person.")
    ] = True,
    workspace: InWorkspace = None,
    as_json: AsJSON = False,
    data_dir: DataDir = None,
) -> None:
    """Make a persona from a name and a description; the model drafts the rest."""
    sheet = Sheet.of(
        pipeline_type="north_star" if drafted else "advanced",
        name=name,
        description=description,
        type=kind,
        category=category,
        details={},
    )

    async def make(personas: Personas, operator: Principal, settings: Settings) -> CustomPersona:
        [ready] = await _drafted([sheet], settings) if drafted else [sheet]
        return await personas.create(operator, ready)

    _print_stored(_with_personas(data_dir, workspace, make), "made", as_json=as_json)


@app.command()
def edit(
    persona: PersonaArgument,
    file: Annotated[
        Path | None, typer.Option("--file", help="Take this TOML file instead of opening an editor.")
    ] = None,
    workspace: InWorkspace = None,
    as_json: AsJSON = False,
    data_dir: DataDir = None,
) -> None:
    """Edit a persona of the workspace's own as TOML, in $EDITOR; saving makes a new version."""
    found = local_roll(data_dir, workspace).find(persona)
    if file is not None:
        sheet = from_toml(_read(file), file.name)
    else:
        before = _toml_of(found)
        text = _edited(before)
        if text == before:
            typer.echo("Nothing was changed.")
            return
        sheet = from_toml(text.encode(), "the edited text")

    async def change(personas: Personas, operator: Principal, _: Settings) -> CustomPersona:
        return await personas.update(operator, found.id, lambda _: sheet)

    _print_stored(_with_personas(data_dir, workspace, change), "saved", as_json=as_json)


@app.command()
def export(
    persona: PersonaArgument,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write here, not to the terminal.")
    ] = None,
    workspace: InWorkspace = None,
    data_dir: DataDir = None,
) -> None:
    """Write a persona as TOML, one of the library's too: a form to begin from."""
    text = _toml_of(local_roll(data_dir, workspace).find(persona))
    if output is None:
        typer.echo(text, nl=False)
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{output} cannot be written: {error.strerror}.") from error


@app.command("import")
def import_personas(
    files: Annotated[list[Path], typer.Argument(help="TOML files, or CSV files with one persona a row.")],
    on_duplicate: Annotated[
        OnDuplicate, typer.Option(help="What to do where the workspace has a persona of that name.")
    ] = "skip",
    drafted: Annotated[
        bool, typer.Option("--draft/--no-draft", help="Let the model invent a person where a file has none.")
    ] = False,
    workspace: InWorkspace = None,
    as_json: AsJSON = False,
    data_dir: DataDir = None,
) -> None:
    """Import personas from TOML or CSV. Nothing is stored unless every file fits."""
    sheets = [sheet for file in files for sheet in _sheets(file)]

    async def store(personas: Personas, operator: Principal, settings: Settings) -> list[dict[str, object]]:
        held = (await personas.roll(operator)).list(custom=True)
        mine: dict[str, Listed] = {plain(one.name): one for one in reversed(held)}
        _refuse_too_many(sheets, len(held), mine, on_duplicate, personas.limits.personas)
        ready = await _drafted(sheets, settings) if drafted else sheets
        return [await _store(personas, operator, sheet, on_duplicate, mine) for sheet in ready]

    stored = _with_personas(data_dir, workspace, store)
    if as_json:
        print_json(stored)
        return
    for one in stored:
        typer.echo(f"{one['done']:9} {one['id']}  {one['name']}")


def _refuse_too_many(
    sheets: Sequence[Sheet], held: int, mine: dict[str, Listed], on_duplicate: OnDuplicate, most: int
) -> None:
    names = [plain(sheet.name) for sheet in sheets]
    new = len(names) if on_duplicate == "add" else len(set(names) - mine.keys())
    if held + new > most:
        raise ConfigurationError(
            f"These are {new:,} more; a workspace may have {most:,} personas, and this one has {held:,}."
        )


async def _store(
    personas: Personas, operator: Principal, sheet: Sheet, on_duplicate: OnDuplicate, mine: dict[str, Listed]
) -> dict[str, object]:
    """Store a sheet, and note it in `mine`, the workspace's personas by name."""
    same = mine.get(plain(sheet.name))
    if same is not None and on_duplicate == "skip":
        return {"done": "skipped", "id": same.id, "name": same.name}
    if same is not None and on_duplicate == "replace":
        replaced = await personas.update(operator, same.id, lambda _: sheet)
        return {"done": "replaced", "id": replaced.id, "name": replaced.name}
    made = await personas.create(operator, sheet)
    mine.setdefault(plain(made.name), made)
    return {"done": "made", "id": made.id, "name": made.name}


def _edited(text: str) -> str:
    """Return what the user makes of `text` in $VISUAL or $EDITOR."""
    editor = shlex.split(os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "persona.toml"
        file.write_text(text, encoding="utf-8")
        try:
            done = subprocess.run([*editor, str(file)], check=False)
        except OSError as error:
            raise ConfigurationError(f"No editor: set EDITOR, or give --file ({error.strerror}).") from error
        if done.returncode != 0:
            raise ConfigurationError("The editor was left with an error; nothing was changed.")
        return file.read_text(encoding="utf-8")


def _sheets(file: Path) -> list[Sheet]:
    data = _read(file)
    if file.suffix.lower() == ".csv":
        return from_csv(data, file.name)
    if file.suffix.lower() == ".toml":
        return [from_toml(data, file.name)]
    raise ConfigurationError(f"{file.name} is neither .toml nor .csv.")


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be read: {error.strerror}.") from error


async def _drafted(sheets: list[Sheet], settings: Settings) -> list[Sheet]:
    """Let the model of the settings, here and now, invent a person for each sheet without one."""
    console = Console(stderr=True, highlight=False)
    ready: list[Sheet] = []
    async with open_model(settings) as model:
        await wait_until_ready(model, console)
        for sheet in sheets:
            if sheet.profile is None and sheet.description:
                with console.status(f"Drafting {sheet.name} …"):
                    profile, _ = await draft(model, sheet.name, sheet.description, sheet.type)
                sheet = msgspec.structs.replace(sheet, profile=profile)
            ready.append(sheet)
    return ready


def _with_personas(
    data_dir: Path | None,
    workspace: str | None,
    use: Callable[[Personas, Principal, Settings], Awaitable[T]],
) -> T:
    async def run(database: Database, settings: Settings) -> T:
        operator = Principal.local(await workspace_or_first(database, workspace))
        return await use(Personas(PersonaLibrary.load(), database), operator, settings)

    return with_database(data_dir, run)


def _toml_of(persona: AnyPersona) -> str:
    return to_toml(persona if isinstance(persona, CustomPersona) else sheet_of(persona))


def _print_stored(persona: CustomPersona, done: str, *, as_json: bool) -> None:
    if as_json:
        print_json(_public(persona))
    else:
        typer.echo(f"{done}: {persona.name}, version {persona.version}  {persona.id}")


def _public(persona: AnyPersona) -> dict[str, object]:
    return {
        "id": persona.id,
        "name": persona.name,
        "category": persona.category,
        "description": persona.description,
        "is_custom": persona.is_custom,
        "is_expert": persona.is_expert,
        "created_at": persona.created_at,
    }
