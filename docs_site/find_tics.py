"""
Count the tics of language in the pages, the changelog, the help texts and the sentences of /openapi.json.

    .venv/bin/python -m docs_site.find_tics

A tic is a turn of phrase that a native writer would not use, and that a program can find:

    a sentence without a head      "What was kept is removed."  →  "The server removes the kept answers."
    `where` as a condition         "where there is none"        →  "if there is none"
    a word of one's own            "goes away", "but for"       →  "disconnects", "except"
    two breaks in one sentence     a colon and a semicolon      →  two sentences

Questions, headings, short cells of tables and code are left alone.
"""

import importlib
import re
import tomllib
from collections import Counter
from collections.abc import Iterator
from typing import Any

import typer

from docs_site.measure_prose import ROOT, list_pages, list_sentences
from mavera.cli.main import COMMANDS
from mavera.cli.main import app as root_command

_TICS = {
    "a sentence begins with What, Which or Who": re.compile(r"(What|Which|Who|Whose)\b(?!.*\?)"),
    "where in place of if": re.compile(r"Where (?!.*\?)|.*\bwhere (nobody|nothing|none|something)\b"),
    "unless given": re.compile(r".*\bunless given\b", re.IGNORECASE),
    "but for": re.compile(r".*\bbut for (a|an|the)\b", re.IGNORECASE),
    "goes away": re.compile(r".*\b(goes|go|went) away\b", re.IGNORECASE),
    "ask again": re.compile(r".*\bask again\b", re.IGNORECASE),
    "told from, told apart": re.compile(r".*\btold (from|apart|of)\b", re.IGNORECASE),
    "in silence, at hand": re.compile(r".*\b(in silence|at hand)\b", re.IGNORECASE),
    "so many": re.compile(r".*\bso many [a-z]", re.IGNORECASE),
    "shall": re.compile(r".*\bshall\b", re.IGNORECASE),
    "a sentence begins with Of": re.compile(r"Of (a|an|the|which|several)\b"),
}
_BREAKS = {
    "a colon and a semicolon": re.compile(r".*:.*; |.*;.*: "),
    "two semicolons": re.compile(r".*;.*; "),
}
_CELL_WORDS = 5


def find_tics(sentence: str, *, in_table: bool = False) -> Iterator[str]:
    """Yield the name of each tic of a sentence. A cell of a table may be a list with semicolons."""
    sentence = re.sub(r"\*[A-Z][^*]*\*", "LABEL", sentence)
    sentence = re.sub(r"^[\s>*_(\"-]+", "", sentence)
    for name, pattern in (_TICS if in_table else _TICS | _BREAKS).items():
        if pattern.match(sentence):
            yield name


def find_all_tics() -> Iterator[tuple[str, str]]:
    """Yield the name of each tic in the texts for users, and where it is."""
    for where, sentence, in_table in _list_all_sentences():
        for name in find_tics(sentence, in_table=in_table):
            yield name, f"{where}: {sentence}"


def _list_all_sentences() -> Iterator[tuple[str, str, bool]]:
    for page in (*list_pages(), ROOT / "CHANGELOG.md"):
        text = page.read_text(encoding="utf-8")
        where = str(page.relative_to(ROOT))
        yield from ((where, sentence, False) for sentence in list_sentences(text))
        yield from ((where, sentence, True) for sentence in _list_cells(text))
    for path, command in _list_commands("mavera", typer.main.get_command(root_command)):
        yield from ((path, sentence, False) for sentence in _list_help(command))
    descriptions = (ROOT / "src/mavera/api/http/descriptions.toml").read_text(encoding="utf-8")
    for table in tomllib.loads(descriptions).values():
        for name, described in table.items():
            if isinstance(described, str):
                yield f"descriptions.toml, {name}", described, False


def _list_cells(text: str) -> Iterator[str]:
    """Yield the sentences of tables. A cell of a few words is a label."""
    text = re.sub(r"^ *```.*?^ *```", "", text, flags=re.MULTILINE | re.DOTALL)
    for line in text.splitlines():
        if line.startswith("|"):
            for cell in re.sub(r"`[^`]*`", "CODE", line).strip("| ").split(" | "):
                for sentence in re.split(r"(?<=\.) ", cell):
                    if len(sentence.split()) > _CELL_WORDS:
                        yield sentence


def _list_commands(path: str, command: Any) -> Iterator[tuple[str, Any]]:
    yield path, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from _list_commands(f"{path} {name}", inner)
    if path == "mavera":
        for name, (module, _) in COMMANDS.items():
            group = typer.main.get_command(importlib.import_module(module).app)
            yield from _list_commands(f"mavera {name}", group)


def _list_help(command: Any) -> Iterator[str]:
    for text in (command.help, *(getattr(param, "help", None) for param in command.params)):
        yield from re.split(r"(?<=[.;]) ", " ".join((text or "").split()))


def main() -> None:
    """Print each tic with its sentence, and the sum of each kind."""
    counts: Counter[str] = Counter()
    for name, place in find_all_tics():
        counts[name] += 1
        print(f"{name}: {place}")
    print(f"{counts.total()} tics", dict(counts))


if __name__ == "__main__":
    main()
