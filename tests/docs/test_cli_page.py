"""docs/reference/cli.md against the Typer apps."""

import importlib
from collections.abc import Iterator
from typing import Any

import pytest
import typer

from mavera.cli.main import COMMANDS
from mavera.cli.main import app as root
from tests.docs.pages import DOCS, rows, sections, ticked

SECTIONS = sections(DOCS / "reference" / "cli.md")


def commands() -> Iterator[tuple[str, Any]]:
    yield "mavera", typer.main.get_command(root)
    for name, (module, _) in COMMANDS.items():
        yield from below(f"mavera {name}", typer.main.get_command(importlib.import_module(module).app))


def below(path: str, command: Any) -> Iterator[tuple[str, Any]]:
    """Yield a command, or those of a group, of a group in a group too."""
    inner = getattr(command, "commands", None)
    if inner is None:
        yield path, command
        return
    for name in inner:
        yield from below(f"{path} {name}", inner[name])


def words(command: Any) -> set[str]:
    """What a user may type after the command: long and short options, arguments in capitals."""
    options = {opt for param in command.params if param.param_type_name == "option" for opt in param.opts}
    arguments = {param.name.upper() for param in command.params if param.param_type_name == "argument"}
    return (options | arguments) - {"-h", "--help"}


ALL = dict(commands())
each_command = pytest.mark.parametrize("path", ALL)


def test_the_page_has_a_section_for_every_command_and_for_no_other() -> None:
    assert [heading for heading in SECTIONS if heading.startswith("mavera")] == list(ALL)


@each_command
def test_the_section_lists_every_option_and_argument(path: str) -> None:
    listed = {word for row in rows(SECTIONS[path]) for word in ticked(row[0])}

    assert listed == words(ALL[path])


@each_command
def test_the_section_has_an_example(path: str) -> None:
    examples = [line for line in SECTIONS[path].splitlines() if line.startswith("    ")]

    assert any(path in line for line in examples)
