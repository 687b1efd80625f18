"""
The events of a run, independent of both wire formats.

    a run yields                            a model yields
    RunPrepared
    RunStarted                              RunStarted
    PersonasAnswered, in a mosaic
    (TextDelta | RefusalDelta               (the same deltas)*
     | ReasoningDelta | TextWasReasoning
     | ToolCallStarted | ToolCallDelta
     | ServerCallStarted | ServerCallEnded)*
    RunCompleted | RunFailed                RunCompleted

`RunPrepared` means that the turn has everything it needs, such as its images, and waits only for the model.
Clients do not see it. `ServerCallStarted` and `ServerCallEnded` report calls of server tools.

Before `RunStarted`, a model and a run raise an APIError. After it, a model still raises, but the run
yields `RunFailed`, because the status has been sent.
"""

from typing import Any, Literal

import msgspec

from mavera.core.analysis import Analysis
from mavera.core.artifacts import Artifact
from mavera.core.prompt import Sampling
from mavera.core.server_calls import ServerCall, ServerOutcome
from mavera.core.usage import Usage
from mavera.errors import APIError

FinishReason = Literal["stop", "length", "tool_calls", "content_filter"]


class TokenLogprob(msgspec.Struct, frozen=True):
    """A token, the natural logarithm of its probability, and the likeliest alternatives in its place."""

    token: str
    logprob: float
    bytes: tuple[int, ...] | None = None
    top: tuple["TokenLogprob", ...] = ()


class TextDelta(msgspec.Struct, frozen=True):
    """A piece of text. `pieces` counts the chunks in which the model's server sent it."""

    text: str
    logprobs: tuple[TokenLogprob, ...] = ()
    pieces: int = 1


class ReasoningDelta(msgspec.Struct, frozen=True):
    """A piece of the model's reasoning, which is not part of its answer."""

    text: str
    pieces: int = 1


class TextWasReasoning(msgspec.Struct, frozen=True):
    """
    All text so far was reasoning, because the mark that ends reasoning came without one that begins it.

    Receivers drop the text that they have kept. `is_shown` says whether it is reported as reasoning.
    """

    is_shown: bool = True


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
    """The value of an answer in JSON. It is wrapped because null is a possible value."""

    value: Any


class Speaker(msgspec.Struct, frozen=True):
    """A persona that answers. A library persona has no `version`. `weight` is its share of a mosaic."""

    id: str
    name: str
    version: int | None = None
    weight: float = 1.0


class RunPrepared(msgspec.Struct, frozen=True):
    """`speakers` is empty if no persona answers. `sampling` is what the model is asked with."""

    speakers: tuple[Speaker, ...] = ()
    sampling: Sampling = Sampling()


class RunStarted(msgspec.Struct, frozen=True):
    """The model has accepted the prompt. From here on, a failure is an event."""


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
    """
    A view that some of several personas hold. `share` is the sum of their weights, 0 to 1.

    `stance` is set if the question asks for yes or no.
    """

    text: str
    share: float
    persona_ids: tuple[str, ...]
    stance: Literal["yes", "no", "depends"] | None = None


class PersonasAnswered(msgspec.Struct, frozen=True):
    """Each persona's answer and the positions they take. A mosaic yields it before its first delta."""

    answers: tuple[PersonaAnswer, ...]
    positions: tuple[Position, ...]


class RunCompleted(msgspec.Struct, frozen=True):
    """
    `parsed` is set if the answer is JSON that fits the requested format.

    `artifacts` and `analysis` are None if the caller requested none. A model gives an `analysis` only if
    it is another mavera server.
    """

    reason: FinishReason
    usage: Usage
    parsed: Parsed | None = None
    artifacts: tuple[Artifact, ...] | None = None
    analysis: Analysis | None = None

    def with_credits(self, credits: int) -> "RunCompleted":
        """Return a copy that cost `credits`."""
        usage = self.usage.with_credits(credits)
        return RunCompleted(self.reason, usage, self.parsed, self.artifacts, self.analysis)


class RunFailed(msgspec.Struct, frozen=True):
    error: APIError


Delta = TextDelta | ReasoningDelta | TextWasReasoning | RefusalDelta | ToolCallStarted | ToolCallDelta
ModelEvent = RunStarted | Delta | RunCompleted
ServerCallEvent = ServerCallStarted | ServerCallEnded
# These events follow `RunStarted` as long as nothing fails.
AnswerEvent = ModelEvent | PersonasAnswered | ServerCallEvent
Event = RunPrepared | AnswerEvent | RunFailed
