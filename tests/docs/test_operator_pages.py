"""The pages for operators name commands, options, settings, files and tests that exist."""

import re
import shlex
from pathlib import Path

import pytest

from mavera.settings import Settings, takes_file
from tests.docs.pages import DOCS, ROOT
from tests.docs.test_cli_page import ALL

PAGES = [
    DOCS / "how-to" / f"{name}.md"
    for name in (
        "compose",
        "disaster-recovery",
        "gpus",
        "kubernetes",
        "monitoring",
        "move-from-sqlite",
        "one-machine",
        "operations",
        "same-everywhere",
        "sizing",
        "upgrades",
    )
] + [DOCS / "explanation" / "scaling.md"]
# How a line of a page begins that runs the command of mavera.
_COMMAND = re.compile(
    r"^ +(?:[A-Z_]+=\S+ )*(?:docker compose exec \w+ |\S*/)?mavera(?:-admin)? ([a-z].*)$", re.MULTILINE
)
_SETTING = re.compile(r"\bMAVERA_([A-Z0-9_]+)")
_PATH = re.compile(r"\b((?:tests|deploy|src)/[\w./-]+\.\w+)")
# These belong to the tests and the command, not to the settings.
_NOT_SETTINGS = {"config", "s3"}

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


def list_commands() -> list[tuple[str, str]]:
    """Return the pages' names, and what stands behind `mavera` on them."""
    texts = {page.stem: page.read_text(encoding="utf-8") for page in PAGES}
    return [(name, line) for name, text in texts.items() for line in _COMMAND.findall(text)]


@pytest.mark.parametrize(("page", "line"), list_commands())
def test_a_command_of_a_page_exists_with_its_options(page: str, line: str) -> None:
    words = shlex.split(line.partition("  ")[0].partition("|")[0], comments=True)
    paths = [" ".join(["mavera", *words[:count]]) for count in (3, 2, 1)]
    command = next((ALL[path] for path in paths if path in ALL), None)
    assert command is not None, f"{page}: mavera {line}"
    known = {name for one in command.params for name in one.opts} | {"--help"}
    assert {word.partition("=")[0] for word in words if word.startswith("--")} <= known, line


def test_the_pages_have_commands() -> None:
    assert len(list_commands()) > 15


@each_page
def test_a_setting_of_a_page_exists(page: Path) -> None:
    known = set(Settings.__struct_fields__)
    for name in {name.lower() for name in _SETTING.findall(page.read_text(encoding="utf-8"))}:
        file = name.removesuffix("_file")
        is_prefix = name.endswith("_") and any(one.startswith(name) for one in known)
        assert name in known | _NOT_SETTINGS or is_prefix or (file != name and takes_file(file)), name


@each_page
def test_a_file_of_a_page_exists(page: Path) -> None:
    for name in _PATH.findall(page.read_text(encoding="utf-8")):
        assert (ROOT / name).exists(), name


@each_page
def test_a_page_names_the_tests_that_hold_what_it_says(page: Path) -> None:
    assert re.search(r"\btests/[\w/]+\.py", page.read_text(encoding="utf-8"))
