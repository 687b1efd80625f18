"""
The program behind `mavera serve`: `python -m mavera.server.main`, with the command's options as settings.

It is a separate program so that the parser of the command line, some 10 MB, does not stay in memory.
"""

import asyncio
import os
import socket
import sys

import uvicorn
from rich.console import Console

from mavera.accounts.first_run import make_first_key
from mavera.accounts.keys.text import peppers_of
from mavera.app import create_app
from mavera.errors import ConfigurationError
from mavera.logs import configure_logs
from mavera.models.embedded.memory import describe_suggestion, measure_memory
from mavera.models.named import find_model_secrets
from mavera.personas.builtin import PersonaLibrary
from mavera.server.config import build_server_config, settle_garbage
from mavera.server.descriptors import raise_descriptor_limit
from mavera.server.endings import one_line_endings
from mavera.server.parent import run_workers
from mavera.server.signals import stop_on_hangup
from mavera.services import open_store
from mavera.settings import Settings, load_settings


def main() -> None:
    with one_line_endings():
        serve(load_settings())


def serve(settings: Settings) -> None:
    """Print the information that a user needs for a first request, then serve until a signal."""
    # Other users of the machine must not read files that this process or its children write.
    os.umask(0o077)
    configure_logs(settings, find_model_secrets(settings))
    raise_descriptor_limit()
    stop_on_hangup()
    application = create_app(settings)
    listener = _listen(settings)
    key = asyncio.run(_find_first_key(settings))
    _greet(settings, _build_url(listener), key)
    if settings.workers > 1:
        run_workers(settings, listener)
        return
    settle_garbage()
    uvicorn.Server(build_server_config(application, settings)).run(sockets=[listener])


async def _find_first_key(settings: Settings) -> str | None:
    """Bring the store up to date, and return the new key if this is the first start."""
    async with open_store(settings) as database:
        return await make_first_key(database, peppers_of(settings))


def _listen(settings: Settings) -> socket.socket:
    """Return a socket bound to the address in the settings. Raises ConfigurationError if that fails."""
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


def _build_url(listener: socket.socket) -> str:
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
    suggestion = describe_suggestion(settings, measure_memory())
    if suggestion is not None:
        console.print(f"{suggestion}\n", style="dim", markup=False)
    sys.stdout.flush()


if __name__ == "__main__":
    main()
