"""Error messages and help texts are sentences: they end, have no double space, and count in whole words."""

import ast
import re
from collections.abc import Iterator
from typing import Any

import pytest

from mavera import errors
from tests.docs.pages import ROOT
from tests.docs.test_cli_page import ALL

_ERRORS = {name for name, value in vars(errors).items() if isinstance(value, type)}
# A message may end in what the reader can type, or in a text of somebody else.
_ENDINGS = re.compile(r"[.?]$|: \S[^.]*$|: .*https?://\S+$|: echo .*$|< question\.txt$|\{\}$")
_COUNTED = "credits|tokens|requests|personas|respondents|questions|cells|documents|images|models"
# `{count} credits` would say "1 credits". A limit has a name in capitals, and these counts are never 1.
_PLURALS = re.compile(rf"\{{[a-z][^{{}}]*\}} ({_COUNTED})\b")
_NEVER_ONE = ("{count:,} questions. A study", "{tokens:,} tokens{left}", "{len(sheets)} personas. Import")
_NEVER_ONE_OF = ("of {progress.total} cells",)


def list_modules() -> Iterator[tuple[str, str]]:
    for path in sorted((ROOT / "src" / "mavera").rglob("*.py")):
        yield str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")


def list_messages(source: str) -> Iterator[tuple[int, str]]:
    """Yield the line and the text of each error that is made with a text. Values in it become {}."""
    for node in ast.walk(ast.parse(source)):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _ERRORS):
            continue
        match node.args:
            case [ast.Constant(str(text)), *_]:
                yield node.lineno, text
            case [ast.JoinedStr(parts), *_]:
                pieces = [str(part.value) if isinstance(part, ast.Constant) else "{}" for part in parts]
                yield node.lineno, "".join(pieces)


def find_fault(text: str) -> str:
    if "  " in text:
        return "has a double space"
    return "" if _ENDINGS.search(text) else "has no end"


def test_every_error_message_is_a_whole_sentence() -> None:
    found = [(path, *one) for path, source in list_modules() for one in list_messages(source)]

    assert len(found) > 400
    assert [(path, line, text, fault) for path, line, text in found if (fault := find_fault(text))] == []


def test_counts_have_the_right_number() -> None:
    found = [
        f"{path}: {match[0]}"
        for path, source in list_modules()
        for match in _PLURALS.finditer(source)
        if not source.startswith(_NEVER_ONE, match.start())
        and not source[: match.end()].endswith(_NEVER_ONE_OF)
    ]

    assert found == []


@pytest.mark.parametrize("path", ALL)
def test_every_help_text_is_a_sentence_and_a_command_begins_with_its_verb(path: str) -> None:
    command: Any = ALL[path]
    texts = [command.help, *(getattr(param, "help", None) for param in command.params)]
    begin = command.help.split()[0]

    assert all(texts)
    assert [text for text in texts if not text.strip().endswith((".", "?")) or "  " in text] == []
    assert begin[0].isupper()
    assert begin not in ("The", "A", "An", "This", "It", "What")
    assert not begin.endswith(("s", "ing"))
