"""
Define the stored part of a cell: the raw readings from the model.

A stored reading is never corrected. Later corrections, such as the position prior, have their own versions,
so that a better prior needs no new reads of the model.
"""

import msgspec

# The version of the prompts and of the reading method. The keys of cells depend on it.
ELICITATION = "letters@1"
# The version of the neutral lists that measure the preferred places of a model.
PRIOR = "places@1"


class Read(msgspec.Struct, frozen=True, omit_defaults=True):
    """
    One read of the model.

    `logprobs` has the logarithm of the probability of each place's letter, and `mass` the probability of all
    letters together. `shares` are the shares of 100 people, by answer. `text` is an answer in words, and
    `cosines` has its similarity to the anchors of each point of a scale, for each set of anchors.
    """

    kind: str
    about: str = ""
    order: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()
    mass: float = 0.0
    shares: tuple[float, ...] = ()
    text: str = ""
    cosines: tuple[tuple[float, ...], ...] = ()


class Reading(msgspec.Struct, frozen=True, omit_defaults=True):
    """All reads of a cell, with the first question, the tokens and the time."""

    reads: tuple[Read, ...]
    prompt: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    milliseconds: int = 0


class PositionPrior(msgspec.Struct, frozen=True):
    """The preference for each place, as a mean logarithm. The values add up to 0."""

    model: str
    language: str
    bias: tuple[float, ...]
    version: str = PRIOR

    @property
    def places(self) -> int:
        return len(self.bias)
