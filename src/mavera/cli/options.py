"""Share options and output formats among the commands."""

import datetime
import sys
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from mavera.core.turn import Verbosity
from mavera.server.endings import fit_to_terminal

DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir", envvar="MAVERA_DATA_DIR", help="The folder of the database, files and settings."
    ),
]
ModelOption = Annotated[
    str, typer.Option(help="The model that answers: `mavera-1`, or another name of `mavera models list`.")
]
AskPersona = Annotated[
    str | None,
    typer.Option(
        "--persona",
        "-p",
        help="The persona that answers: a name or an id. Without it, the answer is generic.",
    ),
]
GivenImages = Annotated[
    list[str] | None,
    typer.Option("--image", "-i", help="Show this image, a file or a URL. Repeat it for each image."),
]
Instructions = Annotated[
    str | None, typer.Option(help="Instructions for the persona, given before the question.")
]
VerbosityOption = Annotated[Verbosity, typer.Option(help="The length of the answer.")]
MaxTokens = Annotated[int | None, typer.Option(min=1, help="The limit of each answer in tokens.")]
Temperature = Annotated[
    float | None, typer.Option(min=0, max=2, help="From 0, for the likeliest words, to 2.")
]
UseTools = Annotated[
    bool, typer.Option("--tools", help="Let the model search and read web pages, if that is set up.")
]
AskedServer = Annotated[
    str | None,
    typer.Option(
        "--url", envvar="MAVERA_BASE_URL", help="Ask the server with this URL, which ends in /api/v1."
    ),
]
ServerKey = Annotated[
    str,
    typer.Option("--key", envvar="MAVERA_API_KEY", help="The API key for --url.", show_default=False),
]
AskAlone = Annotated[
    bool, typer.Option("--alone", help="Run the model in this process, even if a server runs.")
]
AsJSON = Annotated[bool, typer.Option("--json", help="Print one JSON value for scripts.")]


def print_json(value: Any) -> None:
    """Print `value` as one indented JSON document."""
    typer.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def print_line(text: str, *, err: bool = False) -> None:
    """Print `text`, with breaks between words on a terminal. A pipe gets each line whole."""
    typer.echo(fit_to_terminal(text, sys.stderr if err else sys.stdout), err=err)


def format_day(seconds: int | None) -> str:
    """Format Unix seconds as a local day. None is "never"."""
    return format_time(seconds).partition(" ")[0]


def format_time(seconds: int | None) -> str:
    """Format Unix seconds as local time. None is "never"."""
    if seconds is None:
        return "never"
    return datetime.datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M")
