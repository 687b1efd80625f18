"""Run `mavera worker`: check the settings, and replace this process by the worker for studies."""

import os
import sys
from typing import Annotated

import typer

from mavera.child_command import build_python_command
from mavera.cli.options import DataDir
from mavera.focus_groups.desk import load_study_module
from mavera.settings import PREFIX, load_settings

COMMAND = build_python_command("mavera.server.study_worker")

app = typer.Typer(add_completion=False)


@app.command()
def worker(
    database_url: Annotated[
        str | None,
        typer.Option(
            envvar="MAVERA_DATABASE_URL", help="The database of the servers.", show_default="SQLite"
        ),
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """
    Run the focus groups of a database until a signal. Start as many as you like, on any machine.

    `mavera serve` starts a worker of its own, unless MAVERA_STUDY_WORKER is off.
    """
    load_settings(database_url=database_url, data_dir=data_dir)
    load_study_module("service")
    options = {"database_url": database_url, "data_dir": data_dir}
    named = {f"{PREFIX}{name.upper()}": str(value) for name, value in options.items() if value is not None}
    sys.stdout.flush()
    os.execve(COMMAND[0], COMMAND, {**os.environ, **named})  # noqa: S606 - our own interpreter, no shell
