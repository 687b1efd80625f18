"""docs/decisions against what it decides on."""

import re
import tomllib

from tests.docs.pages import DOCS, ROOT, links, rows, sections

DECISIONS = DOCS / "decisions"


def test_every_runtime_dependency_has_its_reason_and_no_other_has() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = [re.split(r"[^A-Za-z0-9._-]", needed)[0] for needed in project["dependencies"]]

    listed = rows(sections(DECISIONS / "0002-runtime-dependencies.md")["Decision"])

    assert [row[0] for row in listed] == names
    assert all(row[1] for row in listed)


def test_the_index_lists_every_decision() -> None:
    pages = sorted(page.name for page in DECISIONS.glob("0*.md"))

    assert links(DECISIONS / "README.md") == pages


def test_each_decision_has_a_number_of_its_own_which_its_title_repeats() -> None:
    pages = list(DECISIONS.glob("0*.md"))

    assert len({page.name[:4] for page in pages}) == len(pages)
    for page in pages:
        assert page.read_text(encoding="utf-8").startswith(f"# {page.name[:4]}"), page.name


def test_a_decision_says_its_status_context_alternatives_and_what_follows() -> None:
    for page in DECISIONS.glob("0*.md"):
        assert re.search(r"^Status: \w+, \d{4}-\d\d-\d\d", page.read_text(encoding="utf-8"), re.M), page.name
        assert list(sections(page))[1:] == ["Context", "Decision", "Alternatives", "Consequences"], page.name
