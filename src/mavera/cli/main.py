"""
`mavera`: the commands, each imported only when it is run.

Importing all of them costs seconds of a slow laptop's time; `mavera --help` needs none.
"""

import importlib
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from mavera import __version__
from mavera.server.endings import one_line_endings

# name: (the module that holds it as `app`, its line in `mavera --help`)
COMMANDS = {
    "serve": ("mavera.cli.serve", "Start the server."),
    "ask": ("mavera.cli.ask", "Ask a persona, and read its answer here."),
    "compare": ("mavera.cli.compare", "Ask several personas the same, and compare the analyses."),
    "personas": ("mavera.cli.personas", "See who can answer, and make personas of your own."),
    "keys": ("mavera.cli.keys", "Create, list and revoke API keys."),
    "workspaces": ("mavera.cli.workspaces", "Make, see and change workspaces."),
    "credits": ("mavera.cli.credits", "Give a workspace credits, and read its ledger."),
    "usage": ("mavera.cli.usage", "Show what a workspace used this month."),
    "models": ("mavera.cli.models", "See and fetch the embedded language models."),
    "tools": ("mavera.cli.tools", "See the server's own tools, and say who may use them."),
    "eval": ("mavera.cli.eval", "Measure whether personas differ as people do."),
    "doctor": ("mavera.cli.doctor", "Say what is set up, what is missing and what to type."),
}


class LazyGroup(TyperGroup):
    """A group that knows its commands' names and lines, and imports the one that is run."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        entry = COMMANDS.get(cmd_name)
        return TyperCommand(cmd_name, help=entry[1]) if entry else None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name = args[0]
        if name not in COMMANDS:
            return super().resolve_command(ctx, args)
        module = importlib.import_module(COMMANDS[name][0])
        command = typer.main.get_command(module.app)
        command.name = name
        # Imported as late as the commands, for the same reason.
        importlib.import_module("mavera.logs").logs_to_stderr()
        return name, command, args[1:]


app = typer.Typer(
    cls=LazyGroup,
    no_args_is_help=True,
    rich_markup_mode=None,  # drawing this one page with rich takes as long as all else together
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"mavera {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Ask audiences questions: persona-powered answers over OpenAI's wire formats."""


def main() -> None:
    """Run the command line; a foreseen failure is one line on standard error and exit code 1."""
    with one_line_endings():
        app(prog_name="mavera")


if __name__ == "__main__":
    main()
