"""The `artifacts` member, which both wire formats write alike."""

from collections.abc import Sequence
from typing import Any

from msgspec.structs import asdict

from mavera.core.artifacts import Artifact


def artifacts_member(artifacts: Sequence[Artifact] | None) -> dict[str, Any]:
    """Return `{"artifacts": [...]}`, or nothing where no artifacts were asked for."""
    return {} if artifacts is None else {"artifacts": [asdict(artifact) for artifact in artifacts]}
