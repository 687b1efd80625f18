"""
Run `mavera personas`: list the personas, and make personas of a workspace.

The commands work directly on the store, as its operator, so their personas cost no credits. If there is
no store yet, `list`, `show` and `export` use the library.
"""

import os
import shlex
import subprocess
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import typer
from rich.console import Console

from mavera.accounts.principal import Principal
from mavera.cli.options import AsJSON, DataDir, ModelOption, print_json, print_line
from mavera.cli.persona_drafts import (
    DescriptionOption,
    KindOption,
    NameArgument,
    draft_persona,
    draft_profiles,
)
from mavera.cli.store import InWorkspace, choose_workspace, load_personas, with_database
from mavera.cli.tables import Shown, print_table
from mavera.core.items import Message
from mavera.errors import ConfigurationError
from mavera.models.config import DEFAULT_NAME
from mavera.personas.builtin import Listed, PersonaLibrary
from mavera.personas.catalogue import AnyPersona, Personas, build_prefix
from mavera.personas.custom import CustomPersona, Sheet
from mavera.personas.files import from_csv, from_toml, to_sheet, to_toml
from mavera.personas.persona import Category
from mavera.personas.slugs import slug_of
from mavera.personas.typos import fold
from mavera.settings import Settings
from mavera.storage.database import Database

T = TypeVar("T")
OnDuplicate = Literal["skip", "replace", "add"]
PersonaArgument = Annotated[str, typer.Argument(help="The persona's name or id.")]

app = typer.Typer(no_args_is_help=True, add_completion=False, help="List personas, and make your own.")
_COLUMNS = (
    Shown("name"),
    Shown("who speaks", is_text=True, least=48),
    Shown("category", is_extra=True),
    Shown("short name", is_extra=True),
    Shown("id", is_extra=True),
)


@app.command("list")
def list_personas(
    category: Annotated[str | None, typer.Option(help="List only this category.")] = None,
    search: Annotated[
        str | None, typer.Option(help="List only personas with this in the name or description.")
    ] = None,
    custom: Annotated[
        bool | None,
        typer.Option("--custom/--library", help="List only the workspace's personas, or only the library's."),
    ] = None,
    workspace: InWorkspace = None,
    as_json: AsJSON = False,
    data_dir: DataDir = None,
) -> None:
    """List the personas of the library and of the workspace."""
    personas = load_personas(data_dir, workspace).list(category=category, search=search, custom=custom)
    if as_json:
        print_json([_public(persona) for persona in personas])
        return
    rows = [
        (persona.name, _say_who_speaks(persona), persona.category, slug_of(persona), persona.id)
        for persona in personas
    ]
    print_table(_COLUMNS, rows, empty="No persona fits. Try fewer words, or no category.")


def _say_who_speaks(persona: AnyPersona) -> str:
    """Return the first sentence of the description."""
    return persona.description.partition(". ")[0].rstrip(".")


@app.command()
def show(
    persona: PersonaArgument, workspace: InWorkspace = None, as_json: AsJSON = False, data_dir: DataDir = None
) -> None:
    """Show one persona: the person, and sample answers."""
    found = load_personas(data_dir, workspace).find(persona)
    if as_json:
        print_json(_public(found))
        return
    console = Console(highlight=False)
    version = f"  version {found.version}" if isinstance(found, CustomPersona) else ""
    console.print(
        f"[bold]{found.name}[/]  {found.category}  [dim]{found.id}{version}[/]\n{found.description}\n"
    )
    for item in build_prefix(found):
        if isinstance(item, Message) and item.role != "system":
            console.print(("[dim]? [/]" if item.role == "user" else "  ") + item.text)


@app.command()
def create(
    name: NameArgument,
    description: DescriptionOption,
    kind: KindOption = None,
    category: Annotated[Category, typer.Option(help="The category in lists.")] = "Lifestyle",
    drafted: Annotated[
        bool, typer.Option("--draft/--no-draft", help="Let the model invent a whole person.")
    ] = True,
    model: ModelOption = DEFAULT_NAME,
    workspace: InWorkspace = None,
    as_json: AsJSON = False,
    data_dir: DataDir = None,
) -> None:
    """Make a persona from a name and a description. The model drafts the rest."""
    sheet = Sheet.from_members(
        pipeline_type="north_star" if drafted else "advanced",
        name=name,
        description=description,
        type=kind,
        category=category,
        details={},
    )

    async def make(personas: Personas, operator: Principal, settings: Settings) -> CustomPersona:
        [ready] = await draft_profiles([sheet], settings, model) if drafted else [sheet]
        return await personas.create(operator, ready)

    _print_stored(_with_personas(data_dir, workspace, make), "made", as_json=as_json)


app.command("draft")(draft_persona)


@app.command()
def edit(
    persona: PersonaArgument,
    file: Annotated[
        Path | None, typer.Option("--file", help="Use this TOML file, without an editor.")
    ] = None,
    workspace: InWorkspace = None,
    as_json: AsJSON = False,
    data_dir: DataDir = None,
) -> None:
    """Edit a persona of the workspace as TOML in $EDITOR. Each save makes a new version."""
    found = load_personas(data_dir, workspace).find(persona)
    if file is not None:
        sheet = from_toml(_read(file), file.name)
    else:
        before = _toml_of(found)
        text = _edit_text(before)
        if text == before:
            print_line("Nothing was changed.")
            return
        sheet = from_toml(text.encode(), "the edited text")

    async def change(personas: Personas, operator: Principal, _: Settings) -> CustomPersona:
        return await personas.update(operator, found.id, lambda _: sheet)

    _print_stored(_with_personas(data_dir, workspace, change), "saved", as_json=as_json)


@app.command()
def export(
    persona: PersonaArgument,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write to this file, not to the terminal.")
    ] = None,
    workspace: InWorkspace = None,
    data_dir: DataDir = None,
) -> None:
    """Write a persona as TOML. A persona of the library is a good form to start from."""
    text = _toml_of(load_personas(data_dir, workspace).find(persona))
    if output is None:
        typer.echo(text, nl=False)
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{output} cannot be written: {error.strerror}.") from error


@app.command()
def delete(
    persona: PersonaArgument,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before deleting.")] = False,
    workspace: InWorkspace = None,
    data_dir: DataDir = None,
) -> None:
    """Delete a persona of the workspace. Answers and studies that name it stay."""
    found = load_personas(data_dir, workspace).find(persona)
    if not yes:
        typer.confirm(f"Delete {found.name} ({found.id})?", abort=True)

    async def remove(personas: Personas, operator: Principal, _: Settings) -> None:
        await personas.delete(operator, found.id)

    _with_personas(data_dir, workspace, remove)
    print_line(f"Deleted {found.name}.")


@app.command("import")
def import_personas(
    files: Annotated[list[Path], typer.Argument(help="TOML files, or CSV files with one persona per row.")],
    on_duplicate: Annotated[
        OnDuplicate, typer.Option(help="The action if the workspace has a persona of that name.")
    ] = "skip",
    drafted: Annotated[
        bool, typer.Option("--draft/--no-draft", help="Let the model invent a person if a file has none.")
    ] = False,
    model: ModelOption = DEFAULT_NAME,
    workspace: InWorkspace = None,
    as_json: AsJSON = False,
    data_dir: DataDir = None,
) -> None:
    """Import personas from TOML or CSV. Nothing is stored unless every file is valid."""
    sheets = [sheet for file in files for sheet in _sheets(file)]

    async def store(personas: Personas, operator: Principal, settings: Settings) -> list[dict[str, object]]:
        held = (await personas.roll(operator)).list(custom=True)
        mine: dict[str, Listed] = {fold(one.name): one for one in reversed(held)}
        _refuse_too_many(sheets, len(held), mine, on_duplicate, personas.limits.personas)
        ready = await draft_profiles(sheets, settings, model) if drafted else sheets
        return [await _store(personas, operator, sheet, on_duplicate, mine) for sheet in ready]

    stored = _with_personas(data_dir, workspace, store)
    if as_json:
        print_json(stored)
        return
    for one in stored:
        print_line(f"{one['done']:9} {one['id']}  {one['name']}")


def _refuse_too_many(
    sheets: Sequence[Sheet], held: int, mine: dict[str, Listed], on_duplicate: OnDuplicate, most: int
) -> None:
    names = [fold(sheet.name) for sheet in sheets]
    new = len(names) if on_duplicate == "add" else len(set(names) - mine.keys())
    if held + new > most:
        raise ConfigurationError(
            f"The files have {new:,} new personas. A workspace can have {most:,}, and this one has {held:,}."
        )


async def _store(
    personas: Personas, operator: Principal, sheet: Sheet, on_duplicate: OnDuplicate, mine: dict[str, Listed]
) -> dict[str, object]:
    """Store a sheet, and add it to `mine`, the workspace's personas by name."""
    same = mine.get(fold(sheet.name))
    if same is not None and on_duplicate == "skip":
        return {"done": "skipped", "id": same.id, "name": same.name}
    if same is not None and on_duplicate == "replace":
        replaced = await personas.update(operator, same.id, lambda _: sheet)
        return {"done": "replaced", "id": replaced.id, "name": replaced.name}
    made = await personas.create(operator, sheet)
    mine.setdefault(fold(made.name), made)
    return {"done": "made", "id": made.id, "name": made.name}


def _edit_text(text: str) -> str:
    """Let the user edit `text` in $VISUAL or $EDITOR, and return the result."""
    editor = shlex.split(os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "persona.toml"
        file.write_text(text, encoding="utf-8")
        try:
            done = subprocess.run([*editor, str(file)], check=False)
        except OSError as error:
            raise ConfigurationError(
                f"The editor cannot be started ({error.strerror}). Set EDITOR, or use --file."
            ) from error
        if done.returncode != 0:
            raise ConfigurationError("The editor ended with an error. Nothing was changed.")
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


def _with_personas(
    data_dir: Path | None,
    workspace: str | None,
    use: Callable[[Personas, Principal, Settings], Awaitable[T]],
) -> T:
    async def run(database: Database, settings: Settings) -> T:
        operator = Principal.local(await choose_workspace(database, workspace))
        return await use(Personas(PersonaLibrary.load(), database), operator, settings)

    return with_database(data_dir, run)


def _toml_of(persona: AnyPersona) -> str:
    return to_toml(persona if isinstance(persona, CustomPersona) else to_sheet(persona))


def _print_stored(persona: CustomPersona, done: str, *, as_json: bool) -> None:
    if as_json:
        print_json(_public(persona))
    else:
        print_line(f"{done}: {persona.name}, version {persona.version}  {persona.id}")


def _public(persona: AnyPersona) -> dict[str, object]:
    return {
        "id": persona.id,
        "name": persona.name,
        "slug": slug_of(persona),
        "category": persona.category,
        "description": persona.description,
        "is_custom": persona.is_custom,
        "is_expert": persona.is_expert,
        "created_at": persona.created_at,
    }
