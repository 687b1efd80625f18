"""
Run the command `mavera`. Each subcommand is imported only when it runs.

On a slow laptop, importing all of them takes seconds. `mavera --help` imports none.
"""

import importlib
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from mavera import __version__
from mavera.cli.hints import name_commands
from mavera.errors import APIError
from mavera.server.endings import one_line_endings

# name: (the module that has it as `app`, its line in `mavera --help`)
COMMANDS = {
    "serve": ("mavera.cli.serve", "Start the server."),
    "console": ("mavera.cli.console", "Print a link that signs the operator in once."),
    "ask": ("mavera.cli.ask", "Ask a persona, and print its answer."),
    "chat": ("mavera.cli.chat", "Talk with a persona at the terminal."),
    "compare": ("mavera.cli.compare", "Ask several personas, and compare the analyses."),
    "study": ("mavera.cli.study", "Run studies with a panel of personas, and read their results."),
    "worker": ("mavera.cli.worker", "Run the focus groups of a database until a signal."),
    "personas": ("mavera.cli.personas", "List personas, and make your own."),
    "keys": ("mavera.cli.keys", "Make, list, change and revoke API keys."),
    "workspaces": ("mavera.cli.workspaces", "Make, list and change workspaces."),
    "credits": ("mavera.cli.credits", "Give a workspace credits, and show its ledger."),
    "audit": ("mavera.cli.audit", "Show who changed which key, budget, plan or persona."),
    "usage": ("mavera.cli.usage", "Show the usage of a workspace this month."),
    "models": ("mavera.cli.models", "List, fetch and choose language models."),
    "tools": ("mavera.cli.tools", "List the server tools, and allow them to workspaces."),
    "eval": ("mavera.cli.eval", "Measure whether personas answer as people do."),
    "db": ("mavera.cli.db", "Upgrade, check and move the database."),
    "doctor": ("mavera.cli.doctor", "Check the installation, and say how to fix each fault."),
}


class LazyGroup(TyperGroup):
    """A group that knows the names and help lines of its commands, and imports only the one that runs."""

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
        _hide_types_of_switches(command)
        # Imported late, because it takes time and most calls do not need it.
        importlib.import_module("mavera.logs").send_logs_to_stderr()
        return name, command, args[1:]


_HELP = ["-h", "--help"]


def _hide_types_of_switches(command: Any) -> None:
    """Show `--json` and not `--json <bool>`: a switch takes no value."""
    context = typer.Context(command, help_option_names=_HELP)
    for param in [*command.params, command.get_help_option(context)]:
        if getattr(param, "is_flag", False):
            param.metavar = ""
    for below in getattr(command, "commands", {}).values():
        _hide_types_of_switches(below)


app = typer.Typer(
    cls=LazyGroup,
    no_args_is_help=True,
    rich_markup_mode=None,  # rich would double the time of this one page
    context_settings={"help_option_names": _HELP},
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
    """Run the command line. An expected failure prints one line on standard error and exits with 1."""
    with one_line_endings():
        try:
            app(prog_name="mavera")
        except APIError as error:
            error.message = name_commands(error.message)
            raise


if __name__ == "__main__":
    main()
