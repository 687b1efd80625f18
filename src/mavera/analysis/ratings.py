"""Define the rating of one sentence or emoji."""

from typing import NamedTuple, get_args

from mavera.core.analysis import EmotionName

NAMES: tuple[EmotionName, ...] = get_args(EmotionName)


class Rating(NamedTuple):
    """
    Valence, arousal and dominance, each from 1 to 5 as EmoBank's raters gave them.

    `shares` has the probability of each of `NAMES`. They add up to 1.
    """

    valence: float
    arousal: float
    dominance: float
    shares: tuple[float, ...]

    @property
    def dimensions(self) -> tuple[float, float, float]:
        return self.valence, self.arousal, self.dominance
