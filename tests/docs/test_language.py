"""
The texts and names of `src/mavera` against the tics of language that a program can find.

    a docstring or a comment begins with its          not with What, Which, Who, Whose or Where
    subject or its verb
    a condition begins with "if"                      not with "where", which is for places
    a function's name begins with a verb              not with a past participle
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.pages import ROOT

SOURCE = ROOT / "src" / "mavera"
ROOMS = sorted(path.name for path in SOURCE.iterdir() if path.suffix == ".py" or any(path.rglob("*.py")))

HEADLESS = re.compile(r"(What|Which|Who|Whose|Where)\b")
HEADLESS_COMMENT = re.compile(r"^\s*# ((What|Which|Who|Whose|Where)\b.*)")
WHERE_FOR_IF = re.compile(r"(Raises? \w+|None|nothing|empty|error|True|False|,)\s+where\b")
# Base verbs that end as participles do.
VERBS = re.compile("bleed|breed|embed|exceed|feed|heed|need|proceed|seed|shed|speed|succeed|wed|weed")
IRREGULAR = re.compile(
    "begun|bought|bound|broken|brought|built|caught|chosen|done|drawn|driven|eaten|fallen|felt|forgotten|fought|"
    "found|frozen|given|gone|got|gotten|grown|heard|held|hidden|kept|known|laid|led|left|lent|lost|made|meant|met|"
    "paid|said|seen|sent|shown|sold|spent|spoken|stolen|struck|sung|sunk|sworn|taken|taught|thought|told|torn|"
    "understood|won|worn|wound|woven|written"
)

_Function = ast.FunctionDef | ast.AsyncFunctionDef
_Documented = ast.Module | ast.ClassDef | _Function


def find_tics(source: str) -> Iterator[str]:
    """Yield a message for each tic in the text of a module."""
    for number, text in enumerate(source.splitlines(), 1):
        if (match := HEADLESS_COMMENT.match(text)) is not None:
            yield f"line {number}: a comment begins with '{match[2]}'"
    for node in ast.walk(ast.parse(source)):
        line = getattr(node, "lineno", 1)
        if isinstance(node, _Documented):
            text = ast.get_docstring(node) or ""
            if HEADLESS.match(text):
                yield f"line {line}: a docstring begins with '{text.split()[0]}'"
            for found in WHERE_FOR_IF.finditer(text):
                yield f"line {line}: '{' '.join(found[0].split())}' in a docstring"
        if isinstance(node, _Function) and not _is_property(node) and _is_participle(node.name):
            yield f"line {line}: '{node.name}' begins with a participle"


def _is_property(function: _Function) -> bool:
    names = {getattr(one, "id", getattr(one, "attr", "")) for one in function.decorator_list}
    return bool(names & {"property", "cached_property"})


def _is_participle(name: str) -> bool:
    word = name.lstrip("_").split("_")[0]
    return bool(IRREGULAR.fullmatch(word)) or (word.endswith("ed") and not VERBS.fullmatch(word))


def _modules(room: str) -> list[Path]:
    path = SOURCE / room
    return [path] if path.is_file() else sorted(path.rglob("*.py"))


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_has_no_tics(room: str) -> None:
    modules = _modules(room)
    found = [
        f"{module.relative_to(ROOT)}, {tic}"
        for module in modules
        for tic in find_tics(module.read_text(encoding="utf-8"))
    ]

    assert modules
    assert found == []


@pytest.mark.parametrize(
    "source",
    [
        '"""What the readers share."""',
        "# What the readers share.\nFRAMES = 4",
        'class Name:\n    """Who answers."""',
        'def load():\n    """Load it. Raises NotFound where there is none."""',
        'def load():\n    """Return it, None\n    where there is none."""',
        "def told(error): ...",
        "async def _drafted_text(): ...",
        "class Name:\n    def signed(self): ...",
    ],
)
def test_the_lint_finds_each_tic(source: str) -> None:
    assert len(list(find_tics(source))) == 1


@pytest.mark.parametrize(
    "source",
    [
        '"""Share frames among the readers."""',
        'def load():\n    """Load the folder where the files are. Raises NotFound if there is none."""',
        "def need_credits(): ...",
        "def read_answer(): ...",
        "class Name:\n    @property\n    def cached(self): ...",
    ],
)
def test_the_lint_leaves_plain_language_alone(source: str) -> None:
    assert list(find_tics(source)) == []
