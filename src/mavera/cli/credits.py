"""Run `mavera credits`: give a workspace credits, and show its ledger."""

from typing import Annotated

import typer
from rich.console import Console

from mavera.accounts import workspaces
from mavera.accounts.administration import grant_credits
from mavera.accounts.audit import Actor
from mavera.cli.options import AsJSON, DataDir, format_time, print_json
from mavera.cli.store import InWorkspace, choose_workspace, with_database
from mavera.cli.tables import Shown, print_table
from mavera.cli.workspaces import describe_workspace
from mavera.core.text import format_count
from mavera.settings import Settings
from mavera.storage.database import Database, Row

app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="Give a workspace credits, and show its ledger."
)
_COLUMNS = (
    Shown("time"),
    Shown("what"),
    Shown("credits", is_number=True),
    Shown("note", is_text=True),
    Shown("run, month or top-up", is_extra=True),
)


@app.command()
def grant(
    credits: Annotated[int, typer.Argument(help="The number of credits.")],
    workspace: InWorkspace = None,
    note: Annotated[str | None, typer.Option(help="The reason, for the ledger.")] = None,
    as_json: AsJSON = False,
    data_dir: DataDir = None,
) -> None:
    """Add credits to a workspace, and print its new balance."""

    async def add(database: Database, _: Settings) -> tuple[str, int]:
        found, now = await choose_workspace(database, workspace), int(database.clock())
        balance = await grant_credits(database, found, credits, Actor.of_command(), note=note, now=now)
        return found, balance

    workspace_id, balance = with_database(data_dir, add)
    if as_json:
        print_json({"workspace_id": workspace_id, "granted": credits, "balance": balance})
    else:
        typer.echo(format_count(balance, "credit"))


@app.command()
def balance(workspace: InWorkspace = None, as_json: AsJSON = False, data_dir: DataDir = None) -> None:
    """Show the balance of a workspace, and the newest entries of its ledger."""

    async def find(database: Database, _: Settings) -> tuple[dict[str, object], list[Row]]:
        found, now = await choose_workspace(database, workspace), int(database.clock())
        await workspaces.grant_due(database, found, now=now)
        shown = describe_workspace(await workspaces.get(database, found, now=now))
        return shown, await workspaces.list_ledger(database, found, limit=20)

    shown, entries = with_database(data_dir, find)
    if as_json:
        print_json({**shown, "ledger": [dict(entry) for entry in entries]})
        return
    console = Console(highlight=False)
    left = "unlimited credit" if shown["unlimited"] else format_count(int(str(shown["balance"])), "credit")
    console.print(f"[bold]{left}[/]  {shown['name']}  [dim]{shown['id']}[/]")
    rows = [
        (
            format_time(entry["created_at"]),
            entry["kind"],
            f"{entry['credits']:+,}",
            entry["note"] or "",
            entry["reference"],
        )
        for entry in entries
    ]
    print_table(_COLUMNS, rows, empty="Nothing was charged or granted yet.")
