"""A browser for all tests, and a server with something to see. `make proofs` runs them."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.browser.contents import fill_server
from tests.browser.watched import Watched, running_chromium, watched_page
from tests.conftest import Served, running_server
from tests.console.visitors import Visitor, sign_in

Open = Callable[..., AbstractContextManager[Watched]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "browser" in item.path.parts:
            item.add_marker(pytest.mark.proof)


@pytest.fixture(scope="package")
def served(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("browser")
    folder.chmod(0o700)
    shutil.copy(empty_store, folder)
    with running_server(folder) as running:
        fill_server(running, tmp_path_factory.mktemp("studies"))
        yield running


@pytest.fixture(scope="package")
def chromium(served: Served) -> Iterator[Any]:
    """The browser. It starts after the server, because its loop then runs in the main thread."""
    with running_chromium() as browser:
        yield browser


@pytest.fixture(scope="package")
def operator(served: Served) -> Visitor:
    return sign_in(served, "operator")


@pytest.fixture
def open_page(chromium: Any, served: Served, operator: Visitor) -> Open:
    """Open a page of the operator: `with open_page(color_scheme="dark") as watched: watched.open(path)`."""
    [cookie] = list(operator.http.cookies.items())
    return partial(watched_page, chromium, served.url, cookie)
