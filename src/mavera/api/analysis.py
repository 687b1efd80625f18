"""The `analysis` member, which both wire formats write alike."""

from typing import Any

import msgspec

from mavera.core.analysis import Analysis


class Answer(msgspec.Struct, kw_only=True):
    """OpenAI's own object, and beside its members `analysis`, where `analysis_mode` was true."""

    analysis: Analysis | msgspec.UnsetType = msgspec.UNSET


def analysis_member(analysis: Analysis | None) -> dict[str, Any]:
    """Return `{"analysis": {...}}`, or nothing where none was asked for."""
    return {} if analysis is None else {"analysis": msgspec.to_builtins(analysis)}
