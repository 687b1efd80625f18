"""
Fill in the sampling that a model recommends, for each setting that the caller leaves out.

    caller > models.toml > the catalogue of embedded models > GENERAL, for a model file of one's own

Each setting is separate: a caller that sets the temperature still gets the recommended `top_p`.
"""

from typing import Annotated

import msgspec
from msgspec import Meta
from msgspec.structs import asdict, replace

from mavera.core.items import Image, Message
from mavera.core.prompt import Repetition, Sampling
from mavera.core.turn import Turn


class RecommendedSampling(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The sampling that suits a model. A caller who names none gets it."""

    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    frequency_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    presence_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    top_k: Annotated[int, Meta(ge=0, le=1_000_000)] | None = None
    min_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    repetition: Repetition | None = None

    def complete(self, other: "RecommendedSampling") -> "RecommendedSampling":
        """Return this sampling with what it lacks from `other`."""
        return replace(
            self, **{name: value for name, value in asdict(other).items() if name in _missing(self)}
        )

    def prepare(self, turn: Turn) -> Turn:
        """Return `turn` with what its sampling lacks, which then counts among the turn's preferences."""
        if self == _NOTHING:
            return turn
        lacking = _missing(turn.sampling)
        filled = {
            name: value for name, value in asdict(self).items() if value is not None and name in lacking
        }
        if not _is_prose(turn):
            filled.pop("repetition", None)
        if not filled:
            return turn
        return replace(
            turn,
            sampling=replace(turn.sampling, **filled),
            preferences=turn.preferences | frozenset(filled),
        )


_NOTHING = RecommendedSampling()


def _missing(sampling: Sampling | RecommendedSampling) -> set[str]:
    return {name for name, value in asdict(sampling).items() if value is None}


def _is_prose(turn: Turn) -> bool:
    """
    Return whether repeated words are a fault of the answer.

    JSON, tables and drawings have to repeat, and so has an answer that quotes an image. A reader of
    probabilities wants those of the model.
    """
    if turn.format.type != "text" or turn.canvas_mode or turn.top_logprobs is not None:
        return False
    messages = (item for item in turn.items if isinstance(item, Message))
    return not any(isinstance(part, Image) for message in messages for part in message.parts)


# The sampling for spoken answers of small models. docs/how-to/models.md gives the reasons.
_SPOKEN = Repetition(penalty=1.05, dry_multiplier=0.8, dry_base=1.75, dry_length=3, window=2048)
CALM = RecommendedSampling(temperature=0.6, top_p=0.9, top_k=40, min_p=0.1, repetition=_SPOKEN)
# A model that nobody measured gets llama.cpp's own defaults.
GENERAL = RecommendedSampling(temperature=0.8, top_p=0.95, top_k=40, min_p=0.05)
