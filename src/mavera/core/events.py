"""
What happens during a run, in neither wire format.

A model yields                          a run yields
                                            RunPrepared
    Accepted                                RunStarted
                                            PersonasAnswered, where several answer
    (TextDelta | RefusalDelta               (the same deltas)*
     | ToolCallStarted | ToolCallDelta)*
    Finished                                RunCompleted | RunFailed

Between its deltas a run also yields `ServerCallStarted` and `ServerCallEnded`, for the tools
that the server itself runs.

`RunPrepared` says that all a turn needs is at hand (its images are fetched), so that only
the model can make it wait now; it says nothing to a client.

Before `Accepted` a model raises an APIError; after it too, and the run turns that
into `RunFailed`, because by then the status has gone out.
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


class Accepted(msgspec.Struct, frozen=True):
    """The model has taken the turn: from here on a failure travels as an event."""


class TextDelta(msgspec.Struct, frozen=True):
    """A piece of text; `pieces` is how many the model's server sent it in, of a token each as a rule."""

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


class Finished(msgspec.Struct, frozen=True):
    """
    `parsed` is there where the answer is JSON that fits the format asked for, `analysis`
    where the model is a mavera server that was asked for one.
    """

    reason: FinishReason
    usage: Usage
    parsed: Parsed | None = None
    analysis: Analysis | None = None


class Speaker(msgspec.Struct, frozen=True):
    """Who answers: `version` is None for a persona of the library, `weight` what it counts among several."""

    id: str
    name: str
    version: int | None = None
    weight: float = 1.0


class RunPrepared(msgspec.Struct, frozen=True):
    """`speakers` is empty where nobody in particular answers."""

    speakers: tuple[Speaker, ...] = ()


class RunStarted(msgspec.Struct, frozen=True):
    pass


class ServerCallStarted(msgspec.Struct, frozen=True):
    call: ServerCall


class ServerCallEnded(msgspec.Struct, frozen=True):
    outcome: ServerOutcome


class PersonaAnswer(msgspec.Struct, frozen=True):
    """What one of several personas said, whole."""

    speaker: Speaker
    text: str
    usage: Usage
    analysis: Analysis | None = None


class Position(msgspec.Struct, frozen=True):
    """What some of several personas hold; `share` is the sum of their weights, of 1."""

    text: str
    share: float
    persona_ids: tuple[str, ...]


class PersonasAnswered(msgspec.Struct, frozen=True):
    """Of a mosaic, before its first delta: each persona's answer, and the positions they take."""

    answers: tuple[PersonaAnswer, ...]
    positions: tuple[Position, ...]


class RunCompleted(msgspec.Struct, frozen=True):
    """`parsed` is as in `Finished`; `artifacts` and `analysis` are None where none were asked for."""

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
ModelEvent = Accepted | Delta | Finished
ServerCallEvent = ServerCallStarted | ServerCallEnded
Event = RunPrepared | RunStarted | PersonasAnswered | Delta | ServerCallEvent | RunCompleted | RunFailed
