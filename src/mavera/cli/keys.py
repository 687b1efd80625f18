"""`mavera keys`: create, list and revoke API keys, straight in the store; the server may be running."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.table import Column, Table

from mavera.accounts import repository
from mavera.accounts.keyring import Keyring
from mavera.accounts.repository import ApiKey
from mavera.cli.options import AsJSON, DataDir, print_json, when
from mavera.errors import ConfigurationError
from mavera.settings import load_settings
from mavera.storage.database import Database
from mavera.storage.schema import ensure_schema

T = TypeVar("T")

_DAY_SECONDS = 86_400

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Create, list and revoke API keys.")


@app.command()
def create(
    name: Annotated[str, typer.Option(help="What the key is for, as the list shows it.")] = "",
    test: Annotated[bool, typer.Option("--test", help="A test key: free, deterministic answers.")] = False,
    expires_days: Annotated[
        int | None, typer.Option(min=1, help="Days until the key stops working; never unless given.")
    ] = None,
    as_json: AsJSON = False,
    data_dir: DataDir = None,
) -> None:
    """Make a key and print it; it is not shown again."""
    expires_at = int(time.time()) + expires_days * _DAY_SECONDS if expires_days else None

    async def make(keyring: Keyring, workspace_id: str) -> None:
        new = await keyring.create(workspace_id, name, "test" if test else "live", expires_at)
        if as_json:
            print_json({"key": new.text, **_public(new.key)})
        else:
            typer.echo(new.text)
            typer.secho("Keep it: it is not shown again.", err=True, dim=True)

    _with_keyring(data_dir, make)


@app.command("list")
def list_keys(as_json: AsJSON = False, data_dir: DataDir = None) -> None:
    """List the keys, newest first; of each key only the last four characters."""

    async def show(keyring: Keyring, workspace_id: str) -> None:
        keys = await keyring.list(workspace_id)
        if as_json:
            print_json([_public(key) for key in keys])
            return
        table = Table(
            Column("id", no_wrap=True, min_width=25), "name", "key", "created", "last used", "state"
        )
        for key in keys:
            shown = f"mvra_{key.mode}_…{key.last_four}"
            table.add_row(key.id, key.name, shown, when(key.created_at), when(key.last_used_at), _state(key))
        Console().print(table)

    _with_keyring(data_dir, show)


@app.command()
def revoke(
    key: Annotated[str, typer.Argument(help="The key's id, its last four characters, or the key itself.")],
    as_json: AsJSON = False,
    data_dir: DataDir = None,
) -> None:
    """Make a key stop working, within a second, for good."""

    async def stop(keyring: Keyring, workspace_id: str) -> None:
        revoked = await keyring.revoke(workspace_id, key)
        if as_json:
            print_json(_public(revoked))
        else:
            typer.echo(f"Revoked {revoked.id} (…{revoked.last_four}).")

    _with_keyring(data_dir, stop)


def _with_keyring(data_dir: Path | None, use: Callable[[Keyring, str], Awaitable[None]]) -> None:
    """Run `use` with the keyring and the workspace of the data directory."""

    async def run() -> None:
        async with Database.open(load_settings(data_dir=data_dir)) as database:
            await ensure_schema(database)
            workspace_id = await repository.first_workspace_id(database)
            if workspace_id is None:
                raise ConfigurationError("There is no workspace yet. Start the server once: mavera serve")
            async with Keyring(database) as keyring:
                await use(keyring, workspace_id)

    asyncio.run(run())


def _public(key: ApiKey) -> dict[str, Any]:
    return {
        "id": key.id,
        "workspace_id": key.workspace_id,
        "name": key.name,
        "mode": key.mode,
        "last_four": key.last_four,
        "created_at": key.created_at,
        "revoked_at": key.revoked_at,
        "expires_at": key.expires_at,
        "last_used_at": key.last_used_at,
    }


def _state(key: ApiKey) -> str:
    if key.revoked_at is not None:
        return "revoked"
    return "expired" if key.expires_at is not None and key.expires_at <= time.time() else "active"
