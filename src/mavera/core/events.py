"""
What happens during a run, in neither wire format.

    a run yields                            a model yields
    RunPrepared
    RunStarted                              RunStarted
    PersonasAnswered, in a mosaic
    (TextDelta | RefusalDelta               (the same deltas)*
     | ToolCallStarted | ToolCallDelta
     | ServerCallStarted | ServerCallEnded)*
    RunCompleted | RunFailed                RunCompleted

`RunPrepared` says that everything a turn needs is here (its images are fetched), so only the model can
make it wait now. Clients do not see it. `ServerCallStarted` and `ServerCallEnded` are about the tools
that the server itself runs.

Before `RunStarted` a model and a run raise an APIError. After it a model still raises; the run then
yields `RunFailed`, because the status has been sent.
"""

from typing import Any, Literal

import msgspec

from mavera.core.analysis import Analysis
from mavera.core.artifacts import Artifact
from mavera.core.server_calls import ServerCall, ServerOutcome
from mavera.core.usage import Usage
from mavera.errors import APIError

FinishReason = Literal["stop", "length", "tool_calls", "content_filter"]


class TokenLogprob(msgspec.Struct, frozen=True):
    """One token, its natural-log probability, and the likeliest alternatives in its place."""

    token: str
    logprob: float
    bytes: tuple[int, ...] | None = None
    top: tuple["TokenLogprob", ...] = ()


class TextDelta(msgspec.Struct, frozen=True):
    """A piece of text. `pieces` counts the chunks in which the server of the model sent it."""

    text: str
    logprobs: tuple[TokenLogprob, ...] = ()
    pieces: int = 1


class RefusalDelta(msgspec.Struct, frozen=True):
    text: str


class ToolCallStarted(msgspec.Struct, frozen=True):
    """`index` counts the calls of this turn from 0; deltas refer to it."""

    index: int
    call_id: str
    name: str


class ToolCallDelta(msgspec.Struct, frozen=True):
    index: int
    arguments: str


class Parsed(msgspec.Struct, frozen=True):
    """The value that an answer in JSON stands for; wrapped, since null is one of them."""

    value: Any


class Speaker(msgspec.Struct, frozen=True):
    """A persona that answers. `version` is None for one of the library; `weight` is its share of a mosaic."""

    id: str
    name: str
    version: int | None = None
    weight: float = 1.0


class RunPrepared(msgspec.Struct, frozen=True):
    """`speakers` is empty if nobody in particular answers."""

    speakers: tuple[Speaker, ...] = ()


class RunStarted(msgspec.Struct, frozen=True):
    """The model has taken the prompt: from here on a failure travels as an event."""


class ServerCallStarted(msgspec.Struct, frozen=True):
    call: ServerCall


class ServerCallEnded(msgspec.Struct, frozen=True):
    outcome: ServerOutcome


class PersonaAnswer(msgspec.Struct, frozen=True):
    """The whole answer of one of several personas."""

    speaker: Speaker
    text: str
    usage: Usage
    analysis: Analysis | None = None


class Position(msgspec.Struct, frozen=True):
    """A view that some of several personas hold. `share` is the sum of their weights, 0 to 1."""

    text: str
    share: float
    persona_ids: tuple[str, ...]


class PersonasAnswered(msgspec.Struct, frozen=True):
    """Each persona's answer and the positions they take. A mosaic yields it before its first delta."""

    answers: tuple[PersonaAnswer, ...]
    positions: tuple[Position, ...]


class RunCompleted(msgspec.Struct, frozen=True):
    """
    `parsed` is set if the answer is JSON that fits the format asked for.

    `artifacts` and `analysis` are None if none were asked for. A model has an `analysis` only if it is
    another mavera server.
    """

    reason: FinishReason
    usage: Usage
    parsed: Parsed | None = None
    artifacts: tuple[Artifact, ...] | None = None
    analysis: Analysis | None = None

    def charged(self, credits: int) -> "RunCompleted":
        """The same, with what it cost."""
        usage = self.usage.charged(credits)
        return RunCompleted(self.reason, usage, self.parsed, self.artifacts, self.analysis)


class RunFailed(msgspec.Struct, frozen=True):
    error: APIError


Delta = TextDelta | RefusalDelta | ToolCallStarted | ToolCallDelta
ModelEvent = RunStarted | Delta | RunCompleted
ServerCallEvent = ServerCallStarted | ServerCallEnded
# What follows `RunStarted` as long as nothing fails.
AnswerEvent = ModelEvent | PersonasAnswered | ServerCallEvent
Event = RunPrepared | AnswerEvent | RunFailed
