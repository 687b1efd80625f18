"""Fixtures for the servers that ours talks to: a model's server, and the providers of tools."""

from collections.abc import Iterator

import pytest

from tests.support.provider_stub import Providers, running_providers
from tests.support.upstream_stub import Upstream, running_upstream


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    """Run a model's server that fails in every way that a test asks for."""
    with running_upstream() as upstream:
        yield upstream


@pytest.fixture
def providers() -> Iterator[Providers]:
    """Run a server that speaks as each provider of tools does."""
    with running_providers() as providers:
        yield providers
