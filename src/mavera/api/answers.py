"""What the answers of both endpoints have in common, described; the encoders write it."""

from typing import Literal

import msgspec

from mavera.core.artifacts import ArtifactType


class Described(msgspec.Struct, forbid_unknown_fields=True):
    """Part of an answer: it has these members and no other."""


class LogprobObject(Described):
    """A token, its natural-log probability, and its bytes."""

    token: str
    logprob: float
    bytes: list[int]


class TokenLogprobObject(LogprobObject):
    """With the likeliest tokens in its place."""

    top_logprobs: list[LogprobObject]


class ArtifactObject(Described):
    """`complete` is false where the answer ended inside the artifact."""

    identifier: str
    type: ArtifactType
    title: str
    language: str
    content: str
    complete: bool


ServiceTierUsed = Literal["default"]


class ErrorDetail(Described):
    """`code` names the kind of failure; `param` the field of the request at fault, where there is one."""

    message: str
    type: str
    code: str
    param: str | None


class ErrorBody(Described):
    """What every failed request answers with."""

    error: ErrorDetail
