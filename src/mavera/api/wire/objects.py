"""Describe the members that the responses of both endpoints share. The encoders write them."""

from typing import Literal

import msgspec

from mavera.core.analysis import Analysis
from mavera.core.artifacts import ArtifactType


class Described(msgspec.Struct, forbid_unknown_fields=True):
    """A part of a response. It has exactly these members."""


class LogprobObject(Described):
    """A token, its natural-log probability, and its bytes."""

    token: str
    logprob: float
    bytes: list[int]


class TokenLogprobObject(LogprobObject):
    """A token with the likeliest alternatives in its place."""

    top_logprobs: list[LogprobObject]


class ArtifactObject(Described):
    """`complete` is false if the answer ended inside the artifact."""

    identifier: str
    type: ArtifactType
    title: str
    language: str
    content: str
    complete: bool


class PersonaUsage(Described):
    input_tokens: int
    output_tokens: int
    total_tokens: int


class PersonaAnswerObject(Described):
    """The answer of one persona of a mosaic. `version` is null for a library persona."""

    persona_id: str
    name: str
    version: int | None
    weight: float
    text: str
    usage: PersonaUsage
    analysis: Analysis | msgspec.UnsetType = msgspec.UNSET


class PositionObject(Described):
    """
    A position that some of the personas hold, worded by one of them. `share` is the sum of their weights.

    `stance` is null if the question asks for more than yes or no. A persona without a clear position is in
    none, so the shares may add up to less than 1.
    """

    position: str
    stance: Literal["yes", "no", "depends"] | None
    share: float
    persona_ids: list[str]


class MosaicObject(Described):
    answers: list[PersonaAnswerObject]
    positions: list[PositionObject]


ServiceTierUsed = Literal["default"]


class ErrorDetail(Described):
    """`code` names the kind of failure, and `param` the field of the request at fault, if there is one."""

    message: str
    type: str
    code: str
    param: str | None


class ErrorBody(Described):
    """The body of every error response."""

    error: ErrorDetail
