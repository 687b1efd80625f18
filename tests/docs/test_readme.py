"""The pages show the examples as they are, and no page leads nowhere."""

import re
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, ROOT, anchors, links

EXAMPLES = sorted(path for path in (ROOT / "examples").iterdir() if path.is_file())

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def code_blocks(page: Path) -> list[str]:
    return re.findall(r"^```\w+\n(.*?)^```$", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def test_the_code_blocks_of_the_pages_are_the_examples() -> None:
    examples = {path.name: path.read_text(encoding="utf-8") for path in EXAMPLES}

    assert code_blocks(ROOT / "README.md") == [examples["ask.py"]]
    assert sorted(code_blocks(ROOT / "docs" / "how-to" / "call.md")) == sorted(examples.values())


@each_page
def test_every_link_leads_to_something(page: Path) -> None:
    for target in links(page):
        path, _, anchor = target.partition("#")
        found = (page.parent / path) if path else page
        assert found.exists(), target
        assert not anchor or anchor in anchors(found), target


@each_page
def test_every_source_file_that_a_page_names_exists(page: Path) -> None:
    named = set(re.findall(r"[\w/]*\w\.py\b", page.read_text(encoding="utf-8")))
    shipped = [
        str(path.relative_to(ROOT))
        for top in ("src", "tests", "examples", "bench")
        for path in (ROOT / top).rglob("*.py")
    ]

    for name in {one.lstrip("/") for one in named}:
        assert any(path.endswith(f"/{name}") or path == name for path in shipped), name
