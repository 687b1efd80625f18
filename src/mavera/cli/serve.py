"""`mavera serve`: start the server, after saying what a user needs to make the first call."""

import asyncio
import socket
import sys
from typing import Annotated

import typer
import uvicorn
from rich.console import Console

from mavera.accounts.first_run import first_run
from mavera.accounts.keys import peppers_of
from mavera.app import create_app
from mavera.cli.options import DataDir
from mavera.cli.serving import server_config, settle_garbage
from mavera.cli.workers import run_workers
from mavera.errors import ConfigurationError
from mavera.logs import configure_logs
from mavera.personas.library import PersonaLibrary
from mavera.settings import Settings, load_settings
from mavera.storage.database import Database
from mavera.storage.schema import ensure_schema

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
    configure_logs(settings)
    application = create_app(settings)
    listener = _listen(settings)
    key = asyncio.run(_first_key(settings))
    _greet(settings, _url(listener), key)
    if settings.workers > 1:
        run_workers(settings, listener)
        return
    settle_garbage()
    uvicorn.Server(server_config(application, settings)).run(sockets=[listener])


async def _first_key(settings: Settings) -> str | None:
    """Bring the store up to date; return the new key where this is the first start."""
    database = Database.open(settings)
    try:
        await ensure_schema(database)
        return await first_run(database, peppers_of(settings))
    finally:
        await database.close()


def _listen(settings: Settings) -> socket.socket:
    """Return a socket bound where the settings say. Raises ConfigurationError where that fails."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
        listener.listen(2048)
    except OSError as error:
        listener.close()
        raise ConfigurationError(
            f"Cannot listen on {settings.host} port {settings.port}: {error.strerror}. "
            "Another port: mavera serve --port 8001"
        ) from error
    listener.set_inheritable(True)
    return listener


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
    return f"http://{host}:{port}"


def _greet(settings: Settings, url: str, key: str | None) -> None:
    console = Console(file=sys.stdout, highlight=False, soft_wrap=True)
    persona = PersonaLibrary.load().find("Gen Z Consumer")
    console.print(f"[bold]mavera[/] at {url}/api/v1   docs: [link]{url}/docs[/link]")
    console.print(f"data in {settings.data_dir}")
    if key is not None:
        console.print(f"\nYour API key, shown this once: [bold green]{key}[/]")
    else:
        console.print("\nYour API key was shown at the first start; 'mavera keys create' makes another.")
    console.print("\nTry it:\n")
    question = "How do you feel about sustainable fashion?"
    body = f'{{"model": "mavera-1", "persona_id": "{persona.id}", "input": "{question}"}}'
    console.print(
        f"  curl {url}/api/v1/responses \\\n"
        f"    -H 'Authorization: Bearer {key or 'mvra_live_…'}' \\\n"
        f"    -H 'Content-Type: application/json' \\\n"
        f"    -d '{body}'\n",
        markup=False,
    )
    sys.stdout.flush()
