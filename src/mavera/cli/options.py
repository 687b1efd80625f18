"""Options that several commands share, and how they print."""

import datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", envvar="MAVERA_DATA_DIR", help="Where everything lives."),
]
AsJSON = Annotated[bool, typer.Option("--json", help="Print one JSON value, for scripts.")]


def print_json(value: Any) -> None:
    """Print `value` as one indented JSON document."""
    typer.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def when(seconds: int | None) -> str:
    """Return a time of the store's as people read it, in local time."""
    if seconds is None:
        return "never"
    return datetime.datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M")
