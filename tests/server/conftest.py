"""What the server's tests share: an upstream that fails in every way there is."""

from collections.abc import Iterator

import pytest

from tests.server.upstream_stub import Upstream, running_upstream


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with running_upstream() as upstream:
        yield upstream
