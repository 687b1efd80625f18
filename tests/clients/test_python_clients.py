"""Clients in Python: each file of tests/clients/python runs in the clients' own environment."""

from pathlib import Path

import pytest

from tests.clients.conftest import HERE, Run

pytestmark = pytest.mark.proof

FILES = sorted((HERE / "python").glob("*_client.py"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_python_client_works_unchanged(run: Run, python: str, file: Path) -> None:
    printed = run(python, "-m", "pytest", "-c", "pytest.ini", file.name, cwd=file.parent)

    assert " passed" in printed
