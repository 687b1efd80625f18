"""Build the members that both wire formats share: `artifacts`, `analysis` and `mosaic`."""

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec.structs import asdict

from mavera.core.analysis import Analysis
from mavera.core.artifacts import Artifact
from mavera.core.events import PersonaAnswer, PersonasAnswered


def build_artifacts(artifacts: Sequence[Artifact] | None) -> dict[str, Any]:
    """Return `{"artifacts": [...]}`, or an empty dict if the caller asked for none."""
    return {} if artifacts is None else {"artifacts": [asdict(artifact) for artifact in artifacts]}


def build_analysis(analysis: Analysis | None) -> dict[str, Any]:
    """Return `{"analysis": {...}}`, or an empty dict if the caller asked for none."""
    return {} if analysis is None else {"analysis": msgspec.to_builtins(analysis)}


def build_mosaic(answered: PersonasAnswered) -> dict[str, Any]:
    """Return `{"mosaic": {"answers": [...], "positions": [...]}}`."""
    positions = [
        {
            "position": one.text,
            "stance": one.stance,
            "share": one.share,
            "persona_ids": list(one.persona_ids),
        }
        for one in answered.positions
    ]
    return {"mosaic": {"answers": [_to_answer(one) for one in answered.answers], "positions": positions}}


def _to_answer(answer: PersonaAnswer) -> dict[str, Any]:
    who, usage = answer.speaker, answer.usage
    return {
        "persona_id": who.id,
        "name": who.name,
        "version": who.version,
        "weight": who.weight,
        "text": answer.text,
        "usage": {
            "input_tokens": usage.input_tokens,
            "output_tokens": usage.output_tokens,
            "total_tokens": usage.total_tokens,
        },
        **build_analysis(answer.analysis),
    }
