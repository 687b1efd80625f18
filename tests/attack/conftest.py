"""
What the attacks share.

    attack(**settings)            a server of the test's own, named settings as in mavera.toml
    attacked                      one server with the default settings, shared by the tests of a file
    upstream                      a stub that answers as badly as its script says

Every test in this folder is marked `attack`, so that `make test` leaves it out and `make proofs` runs it.
The folder has to stay under three minutes: bound each load by a count and a time.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.attack.serving import AttackedServer, attacked_server
from tests.support.upstream_stub import Upstream, running_upstream

HERE = Path(__file__).parent

Attack = Callable[..., AttackedServer]


@pytest.hookimpl(tryfirst=True)  # before `-m` selects
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.attack)


@pytest.fixture
def attack(tmp_path: Path) -> Iterator[Attack]:
    """Start servers: `attack("--workers", "2", file_limit=256, max_body_bytes=1024)`."""
    with ExitStack() as stack:

        def start(*options: str, file_limit: int | None = None, **settings: object) -> AttackedServer:
            data_dir = tmp_path / "data"
            data_dir.mkdir(mode=0o700, exist_ok=True)
            return stack.enter_context(attacked_server(data_dir, settings, *options, file_limit=file_limit))

        yield start


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AttackedServer]:
    data_dir = tmp_path_factory.mktemp("attacked")
    data_dir.chmod(0o700)
    with attacked_server(data_dir) as server:
        yield server


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with running_upstream() as upstream:
        yield upstream
