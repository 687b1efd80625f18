"""
Define what is stored of a cell: the raw readings, as the model gave them.

A reading is never corrected. What is applied to it later, such as the position prior, has a version of its
own, so that a better prior does not mean that the model must be asked again.
"""

import msgspec

# The version of the prompts and of the way of reading. It shapes the keys of cells.
ELICITATION = "letters@1"
# The version of the neutral lists that show which places a model prefers.
PRIOR = "places@1"


class Read(msgspec.Struct, frozen=True, omit_defaults=True):
    """
    One read of the model.

    `logprobs` has the logarithm of the probability of each place's letter, and `mass` the probability of all
    letters together. `shares` are those of 100 people, by answer. `text` is an answer in words.
    """

    kind: str
    about: str = ""
    order: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()
    mass: float = 0.0
    shares: tuple[float, ...] = ()
    text: str = ""


class Reading(msgspec.Struct, frozen=True, omit_defaults=True):
    """All reads of a cell, with what was asked first, the tokens and the time."""

    reads: tuple[Read, ...]
    prompt: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    milliseconds: int = 0


class PositionPrior(msgspec.Struct, frozen=True):
    """The mean logarithm by which each place is preferred. The values add up to 0."""

    model: str
    language: str
    bias: tuple[float, ...]
    version: str = PRIOR

    @property
    def places(self) -> int:
        return len(self.bias)
