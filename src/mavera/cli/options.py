"""Share options and output formats among the commands."""

import datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir", envvar="MAVERA_DATA_DIR", help="The folder of the database, files and settings."
    ),
]
ModelOption = Annotated[
    str, typer.Option(help="The model that answers: `mavera-1`, or another name of `mavera models list`.")
]
AsJSON = Annotated[bool, typer.Option("--json", help="Print one JSON value for scripts.")]


def print_json(value: Any) -> None:
    """Print `value` as one indented JSON document."""
    typer.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def format_day(seconds: int | None) -> str:
    """Format Unix seconds as a local day. None is "never"."""
    return format_time(seconds).partition(" ")[0]


def format_time(seconds: int | None) -> str:
    """Format Unix seconds as local time. None is "never"."""
    if seconds is None:
        return "never"
    return datetime.datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M")
