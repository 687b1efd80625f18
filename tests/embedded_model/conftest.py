"""One server with the default model for the whole run: it loads once, and a persona is read in once."""

from collections.abc import Iterator

import pytest

from tests.embedded_model.serving import Running, serving


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with serving(tmp_path_factory.mktemp("default"), "qwen2.5-coder-1.5b") as running:
        yield running
