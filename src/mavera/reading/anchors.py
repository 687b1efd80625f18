"""
Place texts on an ordered scale by their similarity to anchor sentences, one for each point of the scale.

    text, anchors → cosines → a distribution for each set of anchors → their mean

This is semantic similarity rating (Maier et al. 2025): a text says how it feels in its own words, and its
place on the scale is read from vectors. Nobody asks a model for a number. The distribution is broad, because
sentence vectors differ little between a mild and a strong agreement.
"""

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mavera.reading.encoder import SentenceEncoder

# The cosines of e5 differ by hundredths, so they are multiplied before they become shares.
_SHARPNESS = 40.0


@dataclass(frozen=True, slots=True)
class AnchoredScale:
    """
    A scale of ordered points. Each set has one sentence for every point, the lowest point first.

    Several sets that word the same scale differently make the reading depend less on one wording.
    """

    sets: tuple[tuple[str, ...], ...]

    def __post_init__(self) -> None:
        if not self.sets or len(self.sets[0]) < 2 or len({len(one) for one in self.sets}) > 1:
            raise ValueError("a scale needs sets of anchors of the same length, with two points or more")

    @property
    def points(self) -> int:
        return len(self.sets[0])


def rate_similarity(encoder: SentenceEncoder, texts: Sequence[str], scale: AnchoredScale) -> Any:
    """
    Return a float32 array (len(texts), scale.points) of shares that add up to 1 in each row.

    Takes processor time, so call it in a thread. Raises NoEncoder.
    """
    return to_shares(measure_similarity(encoder, texts, scale), _SHARPNESS)


def measure_similarity(encoder: SentenceEncoder, texts: Sequence[str], scale: AnchoredScale) -> Any:
    """
    Return a float32 array (len(texts), sets, scale.points) of the cosines of texts and anchors.

    Takes processor time, so call it in a thread. Raises NoEncoder.
    """
    numpy = importlib.import_module("numpy")
    vectors = encoder.embed(texts)
    return numpy.stack([vectors @ encoder.embed(anchors).T for anchors in scale.sets], axis=1)


def to_shares(cosines: Any, sharpness: float) -> Any:
    """
    Return the shares of the points for cosines with the shape (…, sets, points): the mean over the sets.

    A higher `sharpness` gives more to the nearest anchor. With 0 the shares are equal.
    """
    numpy = importlib.import_module("numpy")
    near = sharpness * cosines
    odds = numpy.exp(near - near.max(axis=-1, keepdims=True))
    return (odds / odds.sum(axis=-1, keepdims=True)).mean(axis=-2)


# How far a text says yes, from a firm no to a firm yes.
AGREEMENT = AnchoredScale(
    (
        (
            "No, I would never do that.",
            "I probably would not do that.",
            "I might do it, it depends.",
            "I would probably do that.",
            "Yes, I would definitely do that.",
        ),
        (
            "I strongly disagree. No.",
            "I rather disagree.",
            "I neither agree nor disagree.",
            "I rather agree.",
            "I strongly agree. Yes.",
        ),
        (
            "Absolutely not, I don't want it at all.",
            "Not really, I am not convinced.",
            "I am not sure, I go back and forth.",
            "I like it, I would consider it.",
            "I love it, sign me up right now.",
        ),
    )
)
