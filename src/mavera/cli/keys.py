"""Run `mavera keys`: make, list, change and revoke API keys in the store, even while the server runs."""

import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from msgspec import UNSET

from mavera.accounts.keys.changes import Changes
from mavera.accounts.keys.delegation import KeyTerms
from mavera.accounts.keys.keyring import Keyring, NewKey
from mavera.accounts.keys.repository import ApiKey
from mavera.accounts.keys.text import peppers_of
from mavera.accounts.plans import DEFAULT_SCOPES
from mavera.cli.options import AsJSON, DataDir, format_day, format_time, print_json, print_line
from mavera.cli.store import InWorkspace, choose_workspace, with_database
from mavera.cli.tables import Shown, print_table
from mavera.settings import Settings
from mavera.storage.database import Database

_DAY_SECONDS = 86_400

NamedKey = Annotated[str, typer.Argument(help="The key's id, its last four characters, or the key itself.")]

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Make, list, change and revoke API keys.")
_COLUMNS = (
    Shown("name", is_text=True),
    Shown("key"),
    Shown("state"),
    Shown("last used"),
    Shown("created", is_extra=True),
    Shown("id", is_extra=True),
)


@app.command()
def create(
    name: Annotated[str, typer.Option(help="The purpose of the key, for the list.")] = "",
    workspace: InWorkspace = None,
    scope: Annotated[
        list[str] | None,
        typer.Option(
            help="A permission of the key. Repeat it for more. The default is all but admin and operator."
        ),
    ] = None,
    budget: Annotated[int | None, typer.Option(help="The limit of credits per month.")] = None,
    test: Annotated[
        bool, typer.Option("--test", help="Make a test key, with free and deterministic answers.")
    ] = False,
    expires_days: Annotated[
        int | None,
        typer.Option(min=1, help="The days until the key expires. Without it, the key never expires."),
    ] = None,
    as_json: AsJSON = False,
    data_dir: DataDir = None,
) -> None:
    """Make a key, and print it. It is not shown again."""
    expires_at = int(time.time()) + expires_days * _DAY_SECONDS if expires_days else None

    scopes = tuple(scope) if scope else DEFAULT_SCOPES
    terms = KeyTerms(name, "test" if test else "live", expires_at, scopes, budget)

    async def make(keyring: Keyring, workspace_id: str) -> None:
        _print_new(await keyring.make(workspace_id, terms), as_json=as_json)

    _with_keyring(data_dir, workspace, make)


@app.command("list")
def list_keys(workspace: InWorkspace = None, as_json: AsJSON = False, data_dir: DataDir = None) -> None:
    """List the keys, newest first. Only the last four characters of each key are shown."""

    async def show(keyring: Keyring, workspace_id: str) -> None:
        keys = await keyring.list(workspace_id)
        if as_json:
            print_json([_public(key) for key in keys])
            return
        rows = [
            (
                key.name,
                f"mvra_{key.mode}_…{key.last_four}",
                _state(key),
                format_day(key.last_used_at),
                format_day(key.created_at),
                key.id,
            )
            for key in keys
        ]
        print_table(_COLUMNS, rows, empty="There is no key. `mavera keys create` makes one.")

    _with_keyring(data_dir, workspace, show)


@app.command()
def edit(
    key: NamedKey,
    name: Annotated[str | None, typer.Option(help="The purpose of the key, for the list.")] = None,
    scope: Annotated[
        list[str] | None,
        typer.Option(
            help="A permission of the key. Repeat it for more. Permissions that you leave out are removed."
        ),
    ] = None,
    budget: Annotated[int | None, typer.Option(help="The limit of credits per month.")] = None,
    no_budget: Annotated[bool, typer.Option("--no-budget", help="Remove the budget.")] = False,
    expires_days: Annotated[
        int | None, typer.Option(min=1, help="The days from now until the key expires.")
    ] = None,
    no_expiry: Annotated[bool, typer.Option("--no-expiry", help="Let the key never expire.")] = False,
    end_overlap: Annotated[
        bool, typer.Option("--end-overlap", help="Stop accepting the secret that the last rotation replaced.")
    ] = False,
    version: Annotated[
        int | None, typer.Option(help="Change the key only if this is still its version (see --json).")
    ] = None,
    workspace: InWorkspace = None,
    as_json: AsJSON = False,
    data_dir: DataDir = None,
) -> None:
    """Change the given values of a key. Running servers follow within a second."""
    if (budget is not None and no_budget) or (expires_days is not None and no_expiry):
        raise typer.BadParameter("Give a value or remove it, not both.")
    expires_at = int(time.time()) + expires_days * _DAY_SECONDS if expires_days else None
    changes = Changes(
        name=UNSET if name is None else name,
        scopes=tuple(scope) if scope else UNSET,
        budget=budget if budget is not None or no_budget else UNSET,
        expires_at=expires_at if expires_at is not None or no_expiry else UNSET,
        end_overlap=end_overlap,
    )

    async def change(keyring: Keyring, workspace_id: str) -> None:
        edited = await keyring.edit(workspace_id, key, changes, version=version)
        if as_json:
            print_json(_public(edited))
        else:
            print_line(f"Changed {edited.id} (…{edited.last_four}), now version {edited.version}.")

    _with_keyring(data_dir, workspace, change)


@app.command()
def rotate(
    key: NamedKey,
    overlap_days: Annotated[
        float,
        typer.Option(min=0, max=90, help="The days for which the present secret still works. 0 ends it now."),
    ] = 1,
    workspace: InWorkspace = None,
    as_json: AsJSON = False,
    data_dir: DataDir = None,
) -> None:
    """Give a key a new secret, and print it. Its id, name, rights and usage stay."""

    async def renew(keyring: Keyring, workspace_id: str) -> None:
        overlap_seconds = round(overlap_days * _DAY_SECONDS)
        new = await keyring.rotate(workspace_id, key, overlap_seconds=overlap_seconds)
        _print_new(new, as_json=as_json)
        if not as_json and overlap_seconds:
            ends = format_time(new.key.previous_until)
            typer.secho(f"The secret …{new.key.previous_last_four} works until {ends}.", err=True, dim=True)

    _with_keyring(data_dir, workspace, renew)


@app.command()
def revoke(
    key: NamedKey,
    with_children: Annotated[
        bool, typer.Option("--with-children", help="Also revoke the keys that it made, and their keys.")
    ] = False,
    workspace: InWorkspace = None,
    as_json: AsJSON = False,
    data_dir: DataDir = None,
) -> None:
    """Revoke a key for good. It stops working within a second."""

    async def stop(keyring: Keyring, workspace_id: str) -> None:
        revoked = await keyring.revoke(workspace_id, key, with_children=with_children)
        if as_json:
            print_json(_public(revoked))
        else:
            print_line(f"Revoked {revoked.id} (…{revoked.last_four}).")

    _with_keyring(data_dir, workspace, stop)


def _with_keyring(
    data_dir: Path | None, workspace: str | None, use: Callable[[Keyring, str], Awaitable[None]]
) -> None:
    """Run `use` with the keyring and the chosen workspace."""

    async def run(database: Database, settings: Settings) -> None:
        workspace_id = await choose_workspace(database, workspace)
        async with Keyring(database, peppers=peppers_of(settings)) as keyring:
            await use(keyring, workspace_id)

    with_database(data_dir, run)


def _print_new(new: NewKey, *, as_json: bool) -> None:
    if as_json:
        print_json({"key": new.text, **_public(new.key)})
        return
    typer.echo(new.text)
    typer.secho("Save the key now. It is not shown again.", err=True, dim=True)


def _public(key: ApiKey) -> dict[str, Any]:
    return {
        "id": key.id,
        "workspace_id": key.workspace_id,
        "name": key.name,
        "mode": key.mode,
        "last_four": key.last_four,
        "scopes": list(key.scopes),
        "budget": key.budget,
        "made_by": key.made_by,
        "created_at": key.created_at,
        "revoked_at": key.revoked_at,
        "expires_at": key.expires_at,
        "last_used_at": key.last_used_at,
        "version": key.version,
        "previous_last_four": key.previous_last_four,
        "previous_until": key.previous_until,
    }


def _state(key: ApiKey) -> str:
    if key.revoked_at is not None:
        return "revoked"
    return "expired" if key.expires_at is not None and key.expires_at <= time.time() else "active"
