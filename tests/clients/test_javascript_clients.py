"""Clients in JavaScript: each file of tests/clients/node is run by node's own test runner."""

import json
import re
from pathlib import Path

import pytest

from tests.clients.conftest import HERE, Run

pytestmark = pytest.mark.proof

FILES = sorted((HERE / "node").glob("*.test.mjs"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name.removesuffix(".test.mjs"))
def test_a_javascript_client_works_unchanged(run: Run, node: str, file: Path) -> None:
    printed = run(node, "--test", "--test-reporter=tap", file.name, cwd=file.parent)

    assert re.search(r"^# pass [1-9]", printed, re.MULTILINE), printed


def test_every_npm_package_is_pinned_and_none_by_an_address() -> None:
    pinned = json.loads((HERE / "node" / "package.json").read_text(encoding="utf-8"))["dependencies"]

    assert [version for version in pinned.values() if not re.fullmatch(r"\d+\.\d+\.\d+", version)] == []
    assert not (HERE / "node" / "package-lock.json").exists()
