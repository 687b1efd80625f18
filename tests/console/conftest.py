"""
A server, and browsers that are signed in to it, for the tests of one file.

    operator, admin, member   sessions without a key
    visitor                   a session of a pasted key
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Served, running_server
from tests.console.visitors import Visitor, sign_in, sign_in_with_key


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("console")
    folder.chmod(0o700)
    shutil.copy(empty_store, folder)
    with running_server(folder) as running:
        yield running


@pytest.fixture(scope="module")
def operator(served: Served) -> Visitor:
    return sign_in(served, "operator")


@pytest.fixture(scope="module")
def admin(served: Served) -> Visitor:
    return sign_in(served, "admin")


@pytest.fixture(scope="module")
def member(served: Served) -> Visitor:
    return sign_in(served, "member")


@pytest.fixture(scope="module")
def visitor(served: Served) -> Visitor:
    return sign_in_with_key(served)
