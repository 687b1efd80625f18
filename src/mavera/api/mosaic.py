"""The `mosaic` member, which both wire formats write alike."""

from typing import Any

from mavera.api.analysis import analysis_member
from mavera.core.events import PersonaAnswer, PersonasAnswered


def mosaic_member(answered: PersonasAnswered) -> dict[str, Any]:
    """Return `{"mosaic": {"answers": [...], "positions": [...]}}`."""
    positions = [
        {"position": one.text, "share": one.share, "persona_ids": list(one.persona_ids)}
        for one in answered.positions
    ]
    return {"mosaic": {"answers": [_answer(one) for one in answered.answers], "positions": positions}}


def _answer(answer: PersonaAnswer) -> dict[str, Any]:
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
        **analysis_member(answer.analysis),
    }
