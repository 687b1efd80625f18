"""A test that lacks a program is skipped for a user and fails in CI, by one helper for all of them."""

import re

import pytest

from tests.docs.pages import ROOT
from tests.support.requirements import require_module, require_program, skip_or_fail

# These skip for another reason: the platform, its rights, or the other engine.
OTHER_REASONS = re.compile(r"sys\.platform|about \{other\}|skipif\(sys|ignore:|nobody mount|importorskip\|")


@pytest.mark.parametrize("ci", ["", "true"])
def test_what_is_missing_skips_for_a_user_and_fails_in_ci(ci: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", ci)
    outcome = pytest.fail.Exception if ci else pytest.skip.Exception

    for ask in (
        lambda: skip_or_fail("the moon is not here"),
        lambda: require_program("no-such-program"),
        lambda: require_module("no_such_module"),
    ):
        with pytest.raises(outcome, match=r"not (here|installed)"):
            ask()


def test_what_is_there_is_returned() -> None:
    assert require_program("sh").endswith("/sh")
    assert require_module("json").loads("1") == 1


def test_no_test_skips_by_itself_for_want_of_a_program() -> None:
    found = [
        f"{path}:{number}: {line.strip()}"
        for path in (ROOT / "tests").rglob("*.py")
        if "node_modules" not in path.parts
        and path.parent.name != "support"
        and path.name != "test_requirements.py"
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if re.search(r"pytest\.skip\(|mark\.skipif\(|importorskip|mark\.skip\b", line)
        if not OTHER_REASONS.search(line)
    ]
    assert not found, "\n".join(found)


def test_no_test_reads_a_file_outside_of_the_repository() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {climb[0]}"
        for path in (ROOT / "tests").rglob("*.py")
        if "node_modules" not in path.parts and path.name != "test_requirements.py"
        for climb in re.finditer(r"ROOT\.parent\b|\.parents\[(\d+)\]", path.read_text(encoding="utf-8"))
        if climb[1] is None or int(climb[1]) >= len(path.relative_to(ROOT).parts)
    ]
    assert not found, "such a file is missing in other clones:\n" + "\n".join(found)
