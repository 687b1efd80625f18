"""`mavera personas`: see who can answer."""

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Column, Table

from mavera.cli.options import AsJSON, print_json
from mavera.core.items import Message
from mavera.personas.library import PersonaLibrary
from mavera.personas.persona import Persona
from mavera.personas.prompt import persona_items

app = typer.Typer(no_args_is_help=True, add_completion=False, help="See who can answer.")


@app.command("list")
def list_personas(
    category: Annotated[str | None, typer.Option(help="Only this category.")] = None,
    search: Annotated[str | None, typer.Option(help="Only with this in name or description.")] = None,
    as_json: AsJSON = False,
) -> None:
    """List the personas of the library."""
    personas = PersonaLibrary.load().list(category=category, search=search)
    if as_json:
        print_json([_public(persona) for persona in personas])
        return
    table = Table("name", "category", "description", Column("id", no_wrap=True, min_width=25))
    for persona in personas:
        table.add_row(persona.name, persona.category, persona.description, persona.id)
    Console().print(table)


@app.command()
def show(
    persona: Annotated[str, typer.Argument(help="Name or id, as the list shows it.")],
    as_json: AsJSON = False,
) -> None:
    """Show one persona: who speaks, and how it answers."""
    found = PersonaLibrary.load().find(persona)
    if as_json:
        print_json(_public(found))
        return
    console = Console(highlight=False)
    console.print(f"[bold]{found.name}[/]  {found.category}  [dim]{found.id}[/]\n{found.description}\n")
    for item in persona_items(found):
        if isinstance(item, Message) and item.role != "system":
            console.print(("[dim]? [/]" if item.role == "user" else "  ") + item.text)


def _public(persona: Persona) -> dict[str, object]:
    return {
        "id": persona.id,
        "name": persona.name,
        "category": persona.category,
        "description": persona.description,
        "is_custom": persona.is_custom,
        "is_expert": persona.is_expert,
        "created_at": persona.created_at,
    }
