"""The `analysis` member, which both wire formats write alike."""

from typing import Any

import msgspec

from mavera.core.analysis import Analysis


def analysis_member(analysis: Analysis | None) -> dict[str, Any]:
    """Return `{"analysis": {...}}`, or nothing where none was asked for."""
    return {} if analysis is None else {"analysis": msgspec.to_builtins(analysis)}
