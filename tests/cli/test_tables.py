"""The tables of the commands fit 80 and 120 columns."""

import os
import re
from pathlib import Path

import pytest
from rich.cells import cell_len

from mavera.cli.tables import Shown, choose_columns
from tests.support.command import Mavera, run_mavera
from tests.support.tables import make_tables

COLUMNS = (
    Shown("name", is_text=True),
    Shown("id"),
    Shown("made", is_extra=True),
    Shown("place", is_extra=True),
)
ROWS = [("A long name of a study about many things", "cmx1ycoz40ff5fa54eeb143a1", "2026-11-29", "Lisbon")]
COMMANDS = [
    "keys list",
    "workspaces list",
    "personas list",
    "usage",
    "audit",
    "study list",
    "credits balance",
    "tools list",
    "tools index list",
    "tools calls",
    "models list",
]
NAME = "nightly-study-of-the-whole-northern-region"


def run(data_dir: Path, *command: str, columns: int = 80) -> str:
    """Return what the command prints on a terminal of this width."""
    environ = {**os.environ, "COLUMNS": str(columns), "MAVERA_MODEL_BACKEND": "scripted"}
    return run_mavera(environ)(*command, "--data-dir", str(data_dir)).stdout


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("screens")
    make_tables(f"sqlite:///{folder}/mavera.db")
    run(folder, "workspaces", "create", NAME, "--plan", "enterprise")
    for _ in range(2):
        run(folder, "keys", "create", "--name", NAME)
    return folder


@pytest.mark.proof
@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize("command", COMMANDS)
def test_no_line_is_wider_than_the_terminal_and_nothing_is_silent(
    data_dir: Path, command: str, columns: int
) -> None:
    printed = run(data_dir, *command.split(), columns=columns)

    assert printed.strip()
    assert not [line for line in printed.splitlines() if cell_len(line.rstrip()) > columns]


@pytest.mark.parametrize("columns", [80, 120])
def test_a_key_shows_the_characters_that_revoke_it(data_dir: Path, columns: int) -> None:
    printed = run(data_dir, "keys", "list", columns=columns)
    shown = re.findall(r"mvra_live_…(\w{4})\b", printed)

    assert len(set(shown)) >= 2
    run(data_dir, "keys", "revoke", shown[0])
    run(data_dir, "keys", "create", "--name", NAME)


def test_each_workspace_shows_its_whole_id(data_dir: Path) -> None:
    found = re.search(r"\bc[a-z0-9]{24}\b", run(data_dir, "workspaces", "list"))

    assert found is not None
    shown = run(data_dir, "workspaces", "show", found[0])
    assert re.search(r"^created +\d{4}-\d\d-\d\d \d\d:\d\d", shown, re.MULTILINE)
    assert re.search(r"^unlimited +yes", shown, re.MULTILINE)


@pytest.mark.parametrize("command", ["usage", "audit", "credits balance", "keys list", "tools calls"])
def test_an_unknown_workspace_is_an_error_that_names_a_command(mavera: Mavera, command: str) -> None:
    mavera("workspaces", "create", "Default")

    said = mavera(*command.split(), "--workspace", "cnobody", code=1).stderr
    assert said == "mavera: There is no workspace cnobody. `mavera workspaces list` lists all workspaces.\n"


def test_the_personas_take_a_line_each_and_say_who_speaks(data_dir: Path) -> None:
    lines = run(data_dir, "personas", "list").splitlines()

    assert len(lines) < 80
    assert any("retired school secretary" in line for line in lines)


def test_a_switch_takes_no_value(data_dir: Path) -> None:
    assert "<bool>" not in run(data_dir, "keys", "list", "--help")


@pytest.mark.parametrize(
    ("width", "kept"), [(120, [0, 1, 2, 3]), (60, [0, 1, 2]), (48, [0, 1]), (20, [0, 1])]
)
def test_the_last_extra_column_goes_first(width: int, kept: list[int]) -> None:
    assert choose_columns(COLUMNS, ROWS, width) == kept
