"""Run `mavera workspaces`: make, list and change workspaces in the store, even while the server runs."""

from typing import Annotated, Any

import typer
from msgspec import UNSET
from rich.console import Console
from rich.table import Table

from mavera.accounts import workspaces
from mavera.accounts.administration import WorkspaceChanges, make_workspace, update_workspace
from mavera.accounts.audit import Actor
from mavera.accounts.data.deletion import delete_workspace
from mavera.accounts.plans import Overrides
from mavera.accounts.workspaces import NewWorkspace, Workspace
from mavera.cli.options import AsJSON, DataDir, format_day, format_time, print_json, print_line
from mavera.cli.store import with_database
from mavera.cli.tables import Shown, print_table
from mavera.settings import Settings
from mavera.storage.database import Database

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="Make, list and change workspaces: their plans, limits and budgets.",
)

WorkspaceId = Annotated[str, typer.Argument(help="The workspace's id.")]
_COLUMNS = (
    Shown("name", is_text=True),
    Shown("plan"),
    Shown("balance", is_number=True),
    Shown("spent", is_number=True),
    Shown("id"),
    Shown("created", is_extra=True),
)


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="The name in lists.")],
    plan: Annotated[str, typer.Option(help="The plan: free, pro, business or enterprise.")] = "free",
    requests_per_minute: Annotated[int | None, typer.Option(help="Enterprise only: per key.")] = None,
    requests_per_day: Annotated[int | None, typer.Option(help="Enterprise only: per key.")] = None,
    concurrent_runs: Annotated[
        int | None, typer.Option(help="Enterprise only: the limit of requests that run at once.")
    ] = None,
    monthly_credits: Annotated[
        int | None,
        typer.Option(help="Enterprise only: the credits of each month. Without it, credits are unlimited."),
    ] = None,
    budget: Annotated[int | None, typer.Option(help="The limit of credits per month.")] = None,
    as_json: AsJSON = False,
    data_dir: DataDir = None,
) -> None:
    """Make a workspace, and print its id."""
    overrides = Overrides(requests_per_minute, requests_per_day, concurrent_runs, monthly_credits)
    new = NewWorkspace(name, plan, overrides, budget)

    async def make(database: Database, _: Settings) -> Workspace:
        return await make_workspace(database, new, Actor.of_command(), now=int(database.clock()))

    made = with_database(data_dir, make)
    if as_json:
        print_json(describe_workspace(made))
    else:
        typer.echo(made.id)


@app.command("list")
def list_workspaces(as_json: AsJSON = False, data_dir: DataDir = None) -> None:
    """List the workspaces, oldest first."""

    async def find(database: Database, _: Settings) -> list[Workspace]:
        now = int(database.clock())
        await workspaces.grant_all_due(database, now=now)
        return await workspaces.list_all(database, now=now)

    found = with_database(data_dir, find)
    if as_json:
        print_json([describe_workspace(workspace) for workspace in found])
        return
    rows = []
    for workspace in found:
        shown = describe_workspace(workspace)
        balance = "unlimited" if workspace.unlimited else f"{workspace.balance:,}"
        spent = f"{workspace.spent:,}" + (f" of {workspace.budget:,}" if workspace.budget is not None else "")
        day = format_day(workspace.created_at)
        rows.append((shown["name"], shown["plan"], balance, spent, shown["id"], day))
    print_table(_COLUMNS, rows, empty="There is no workspace. `mavera workspaces create NAME` makes one.")


@app.command()
def show(workspace: WorkspaceId, as_json: AsJSON = False, data_dir: DataDir = None) -> None:
    """Show one workspace."""

    async def find(database: Database, _: Settings) -> Workspace:
        now = int(database.clock())
        await workspaces.grant_due(database, workspace, now=now)
        return await workspaces.get(database, workspace, now=now)

    found = describe_workspace(with_database(data_dir, find))
    if as_json:
        print_json(found)
    else:
        _print_one(found)


@app.command()
def delete(
    workspace: WorkspaceId,
    name: Annotated[str, typer.Option(help="The workspace's name, to delete the right one.")],
    data_dir: DataDir = None,
) -> None:
    """Delete a workspace with everything in it, for good. Servers remove its rows in the background."""

    async def close(database: Database, _: Settings) -> None:
        await delete_workspace(database, workspace, name, Actor.of_command(), now=int(database.clock()))

    with_database(data_dir, close)
    print_line(f"Deleted {workspace}.")


@app.command()
def update(
    workspace: WorkspaceId,
    name: Annotated[str | None, typer.Option(help="The name in lists.")] = None,
    plan: Annotated[str | None, typer.Option(help="The plan: free, pro, business or enterprise.")] = None,
    requests_per_minute: Annotated[int | None, typer.Option(help="Enterprise only: per key.")] = None,
    requests_per_day: Annotated[int | None, typer.Option(help="Enterprise only: per key.")] = None,
    concurrent_runs: Annotated[
        int | None, typer.Option(help="Enterprise only: the limit of requests that run at once.")
    ] = None,
    monthly_credits: Annotated[
        int | None, typer.Option(help="Enterprise only: the credits of each month.")
    ] = None,
    budget: Annotated[int | None, typer.Option(help="The limit of credits per month.")] = None,
    no_budget: Annotated[bool, typer.Option("--no-budget", help="Remove the budget.")] = False,
    reporting_zone: Annotated[
        str | None, typer.Option(help="The time zone of the days of usage, such as Europe/Berlin.")
    ] = None,
    as_json: AsJSON = False,
    data_dir: DataDir = None,
) -> None:
    """Change the given settings of a workspace. Running servers follow within a second."""
    changes = WorkspaceChanges(
        name=UNSET if name is None else name,
        budget=budget if budget is not None or no_budget else UNSET,
        reporting_zone=reporting_zone or UNSET,
        plan=plan or UNSET,
        overrides=Overrides(requests_per_minute, requests_per_day, concurrent_runs, monthly_credits),
    )

    async def change(database: Database, _: Settings) -> Workspace:
        return await update_workspace(
            database, workspace, changes, Actor.of_command(), now=int(database.clock())
        )

    changed = describe_workspace(with_database(data_dir, change))
    if as_json:
        print_json(changed)
    else:
        _print_one(changed)


def _print_one(shown: dict[str, Any]) -> None:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for name, value in shown.items():
        table.add_row(name.removesuffix("_at").replace("_", " "), _describe(name, value))
    Console(highlight=False).print(table)


def _describe(name: str, value: object) -> str:
    match value:
        case None:
            return "none"
        case bool():
            return "yes" if value else "no"
        case int() if name.endswith("_at"):
            return format_time(value)
        case int():
            return f"{value:,}"
        case _:
            return str(value)


def describe_workspace(workspace: Workspace) -> dict[str, Any]:
    """Return the members to show. `balance` is None if credit is unlimited."""
    return {
        "id": workspace.id,
        "name": workspace.name,
        "plan": workspace.plan,
        "requests_per_minute": workspace.limits.requests_per_minute,
        "requests_per_day": workspace.limits.requests_per_day,
        "concurrent_runs": workspace.limits.concurrent_runs,
        "monthly_credits": workspace.monthly_credits,
        "unlimited": workspace.unlimited,
        "balance": None if workspace.unlimited else workspace.balance,
        "budget": workspace.budget,
        "reporting_zone": workspace.reporting_zone,
        "spent": workspace.spent,
        "created_at": workspace.created_at,
    }
