"""Run `mavera audit`: show who changed what in a workspace, or on the server."""

import json
from typing import Annotated

import typer

from mavera.accounts.audit import OPERATORS_LOG, AuditEntry, Search, list_entries
from mavera.cli.options import AsJSON, DataDir, format_time, print_json
from mavera.cli.store import InWorkspace, choose_workspace, with_database
from mavera.cli.tables import Shown, print_table
from mavera.settings import Settings
from mavera.storage.database import Database

app = typer.Typer(add_completion=False)
_COLUMNS = (
    Shown("id"),
    Shown("when"),
    Shown("who", is_text=True),
    Shown("what"),
    Shown("of what", is_text=True),
    Shown("details", is_text=True, is_extra=True),
)


@app.command()
def show_audit_log(
    workspace: InWorkspace = None,
    operator: Annotated[
        bool, typer.Option("--operator", help="Show the log of the server instead of a workspace's.")
    ] = False,
    action: Annotated[
        str,
        typer.Option(help="Show only these changes: api_key.rotated, or api_key for all changes of keys."),
    ] = "",
    limit: Annotated[int, typer.Option(min=1, max=1000, help="The number of changes to show.")] = 50,
    before: Annotated[int | None, typer.Option(help="Show only changes before the one with this id.")] = None,
    as_json: AsJSON = False,
    data_dir: DataDir = None,
) -> None:
    """Show who changed which key, budget, plan or persona, newest first."""

    async def find(database: Database, _: Settings) -> list[AuditEntry]:
        log = OPERATORS_LOG if operator else await choose_workspace(database, workspace)
        entries, _more = await list_entries(database, Search(log, before=before, action=action, limit=limit))
        return entries

    found = with_database(data_dir, find)
    if as_json:
        print_json([_describe(entry) for entry in found])
        return
    rows = []
    for entry in found:
        who = f"{entry.actor.kind} {entry.actor.name or entry.actor.id}".strip()
        what = entry.subject_name or entry.subject_id
        details = ", ".join(f"{name} {_show(value)}" for name, value in (entry.details or {}).items())
        rows.append((str(entry.id), format_time(entry.created_at), who, entry.action, what, details))
    print_table(_COLUMNS, rows, empty="Nobody has changed anything yet.")


def _show(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


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
