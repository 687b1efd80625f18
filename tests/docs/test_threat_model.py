"""docs/explanation/threat-model.md against the settings and the tests that it names."""

import re

import pytest

from mavera.settings import CLIENT_NAMES, PREFIX, Settings
from tests.docs.pages import DOCS, ROOT, links, rows, sections

PAGE = DOCS / "explanation" / "threat-model.md"
TEXT = PAGE.read_text(encoding="utf-8")
SETTINGS = {f"{PREFIX}{name.upper()}" for name in Settings.__struct_fields__} | set(CLIENT_NAMES)


def test_every_setting_that_the_page_names_exists() -> None:
    named = set(re.findall(r"\bMAVERA_[A-Z0-9_]+\b", TEXT))

    assert len(named) > 20
    assert named <= SETTINGS, named - SETTINGS


def test_every_row_of_what_is_bounded_names_a_bound_and_where_it_is_set() -> None:
    for what, bound, setting in rows(sections(PAGE)["What is bounded"]):
        assert what
        assert bound
        assert setting == "–" or "`MAVERA_" in setting or ".md" in setting, what


def test_every_attack_names_tests_that_exist() -> None:
    attacks = rows(sections(PAGE)["What has been attacked"])

    assert len(attacks) >= 10
    for attack, result, tests in attacks:
        assert result.startswith(("Held: ", "Mended: ")), attack
        paths = re.findall(r"`(tests/[\w/]+\.py)`", tests)
        assert paths, attack
        assert all((ROOT / path).is_file() for path in paths), paths


@pytest.mark.parametrize("page", ["README.md", "docs/how-to/operations.md"])
def test_the_page_and_how_to_report_are_linked(page: str) -> None:
    targets = {target.rpartition("/")[2] for target in links(ROOT / page)}

    assert {"threat-model.md", "SECURITY.md"} <= targets
