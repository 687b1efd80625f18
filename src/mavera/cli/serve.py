"""`mavera serve`: check the settings, and become the server."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from mavera.child_command import python_command
from mavera.cli.options import DataDir
from mavera.errors import ConfigurationError
from mavera.settings import PREFIX, load_settings

COMMAND = python_command("mavera.server.main")

app = typer.Typer(add_completion=False)


@app.command()
def serve(
    host: Annotated[
        str | None, typer.Option(envvar="MAVERA_HOST", help="Address to listen on.", show_default="127.0.0.1")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(envvar="MAVERA_PORT", help="Port to listen on, 0 for any.", show_default="8000"),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            envvar="MAVERA_WORKERS", help="Processes that share the port and the model.", show_default="1"
        ),
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Start the server. The first start makes a workspace and one key, shown this once."""
    settings = load_settings(host=host, port=port, workers=workers, data_dir=data_dir)
    if settings.workers > 1 and sys.platform == "win32":
        raise ConfigurationError("Several workers need a system that hands sockets on; Windows does not.")
    _become_server({"host": host, "port": port, "workers": workers, "data_dir": data_dir})


def _become_server(options: dict[str, str | int | Path | None]) -> None:
    """Give this process to the server; `options` that were named win over its other settings."""
    named = {f"{PREFIX}{name.upper()}": str(value) for name, value in options.items() if value is not None}
    environ = {**os.environ, **named}
    sys.stdout.flush()
    if sys.platform == "win32":  # where exec would start a second process and end this one at once
        sys.exit(subprocess.run(COMMAND, env=environ, check=False).returncode)
    os.execve(COMMAND[0], COMMAND, environ)  # noqa: S606 - our own interpreter, no shell
