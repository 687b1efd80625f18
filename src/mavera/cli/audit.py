"""Run `mavera audit`: show who changed what in a workspace, or on the server."""

import json
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Column, Table

from mavera.accounts.audit import OPERATORS_LOG, AuditEntry, Search, list_entries
from mavera.cli.options import AsJSON, DataDir, format_time, print_json
from mavera.cli.store import InWorkspace, choose_workspace, with_database
from mavera.settings import Settings
from mavera.storage.database import Database

app = typer.Typer(add_completion=False)


@app.command()
def show_audit_log(
    workspace: InWorkspace = None,
    operator: Annotated[
        bool, typer.Option("--operator", help="Show the log of the server instead of a workspace's.")
    ] = False,
    action: Annotated[
        str, typer.Option(help="Only these changes, such as api_key.rotated, or api_key for all of keys.")
    ] = "",
    limit: Annotated[int, typer.Option(min=1, max=1000, help="The number of changes to show.")] = 50,
    before: Annotated[int | None, typer.Option(help="Only changes before the one with this id.")] = None,
    as_json: AsJSON = False,
    data_dir: DataDir = None,
) -> None:
    """Show the newest changes of keys, budgets, plans, personas and the like: who, what and when."""

    async def find(database: Database, _: Settings) -> list[AuditEntry]:
        log = OPERATORS_LOG if operator else await choose_workspace(database, workspace)
        entries, _more = await list_entries(database, Search(log, before=before, action=action, limit=limit))
        return entries

    found = with_database(data_dir, find)
    if as_json:
        print_json([_describe(entry) for entry in found])
        return
    table = Table(Column("id", no_wrap=True), "when", "who", "what", "of what", "details")
    for entry in found:
        who = f"{entry.actor.kind} {entry.actor.name or entry.actor.id}".strip()
        what = entry.subject_name or entry.subject_id
        details = json.dumps(entry.details, ensure_ascii=False) if entry.details else ""
        table.add_row(str(entry.id), format_time(entry.created_at), who, entry.action, what, details)
    Console(highlight=False).print(table, markup=False)


def _describe(entry: AuditEntry) -> dict[str, object]:
    return {
        "id": entry.id,
        "created_at": entry.created_at,
        "actor": {"kind": entry.actor.kind, "id": entry.actor.id, "name": entry.actor.name},
        "action": entry.action,
        "subject_id": entry.subject_id,
        "subject_name": entry.subject_name,
        "details": entry.details,
    }
