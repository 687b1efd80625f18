"""Run `mavera serve`: check the settings, and replace this process by the server."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from mavera.child_command import build_python_command
from mavera.cli.options import DataDir
from mavera.errors import ConfigurationError
from mavera.settings import PREFIX, load_settings

COMMAND = build_python_command("mavera.server.main")

app = typer.Typer(add_completion=False)


@app.command()
def serve(
    host: Annotated[
        str | None,
        typer.Option(envvar="MAVERA_HOST", help="The address to listen on.", show_default="127.0.0.1"),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            envvar="MAVERA_PORT", help="The port to listen on. 0 takes any free port.", show_default="8000"
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            envvar="MAVERA_WORKERS",
            help="The number of processes that share the port and the model.",
            show_default="1",
        ),
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Start the server. The first start makes a workspace and a key, which it shows only once."""
    settings = load_settings(host=host, port=port, workers=workers, data_dir=data_dir)
    if settings.workers > 1 and sys.platform == "win32":
        raise ConfigurationError("Windows cannot run several workers, because it cannot hand sockets on.")
    _become_server({"host": host, "port": port, "workers": workers, "data_dir": data_dir})


def _become_server(options: dict[str, str | int | Path | None]) -> None:
    """Replace this process by the server. `options` that are not None win over its other settings."""
    named = {f"{PREFIX}{name.upper()}": str(value) for name, value in options.items() if value is not None}
    environ = {**os.environ, **named}
    sys.stdout.flush()
    if sys.platform == "win32":  # exec would start a second process there, and end this one at once
        sys.exit(subprocess.run(COMMAND, env=environ, check=False).returncode)
    os.execve(COMMAND[0], COMMAND, environ)  # noqa: S606 - our own interpreter, no shell
