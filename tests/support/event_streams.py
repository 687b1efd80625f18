"""Random runs for the encoders' tests."""

from collections.abc import Sequence
from itertools import count
from typing import Any

import msgspec
from hypothesis import strategies as st

from mavera.api.http.decoding import decode_at_once
from mavera.api.responses.schemas import CreateResponse
from mavera.api.responses.stream import ResponseEncoder
from mavera.core.events import (
    Event,
    ReasoningDelta,
    RefusalDelta,
    RunCompleted,
    RunFailed,
    RunStarted,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
    ToolCallStarted,
)
from mavera.core.usage import Usage
from mavera.errors import APIError, ServiceUnavailable, ValidationFailed

_tokens = st.builds(
    TokenLogprob,
    token=st.text(max_size=4),
    logprob=st.floats(-50, 0),
    bytes=st.none() | st.lists(st.integers(0, 255), max_size=4).map(tuple),
)
_logprobs = st.lists(
    st.builds(
        TokenLogprob,
        token=st.text(max_size=4),
        logprob=st.floats(-50, 0),
        bytes=st.none(),
        top=st.lists(_tokens, max_size=2).map(tuple),
    ),
    max_size=2,
).map(tuple)
_texts = st.builds(TextDelta, st.text(max_size=12), _logprobs)
_refusals = st.builds(RefusalDelta, st.text(max_size=12))
_thoughts = st.builds(ReasoningDelta, st.text(max_size=12))
_usage = st.builds(Usage, *(st.integers(0, 10**6) for _ in range(5)), estimated=st.booleans())
_completed = st.builds(
    RunCompleted, st.sampled_from(("stop", "length", "tool_calls", "content_filter")), _usage
)
_failed = st.sampled_from(
    (
        RunFailed(ServiceUnavailable("The model stopped.", retry_after=1)),
        RunFailed(APIError("Something went wrong while answering.")),
        RunFailed(ValidationFailed("Not like this.", param="input")),
    )
)
endings = _completed | _failed

# The second is that of a tool which takes a text.
NAMES = ("f", "shell")
CUSTOM_TOOLS = frozenset({"shell"})


@st.composite
def deltas(draw: st.DrawFn) -> list[Event]:
    """Text, reasoning, refusals and calls in any order, the arguments interleaved, some calls without any."""
    events: list[Event] = []
    calls = 0
    for _ in range(draw(st.integers(0, 12))):
        kind = draw(st.sampled_from(("text", "thought", "refusal", "call", "arguments", "arguments")))
        if kind == "text":
            events.append(draw(_texts))
        elif kind == "thought":
            events.append(draw(_thoughts))
        elif kind == "refusal":
            events.append(draw(_refusals))
        elif kind == "call" or not calls:
            events.append(ToolCallStarted(calls, f"call_{calls}", draw(st.sampled_from(NAMES))))
            calls += 1
        else:
            events.append(ToolCallDelta(draw(st.integers(0, calls - 1)), draw(st.text(max_size=8))))
    return events


@st.composite
def runs(draw: st.DrawFn, ends: st.SearchStrategy[Event] = endings) -> list[Event]:
    """A whole run as an encoder is fed it."""
    return [RunStarted(), *draw(deltas()), draw(ends)]


completed_runs = runs(_completed)

Wire = dict[str, Any]


def encoder(body: bytes = b'{"model": "mavera-1", "input": "Hm?"}') -> ResponseEncoder:
    numbers = count(1)
    request = decode_at_once(body, CreateResponse)
    head = {
        "id": "resp_1",
        "created_at": 1_700_000_000,
        "model": request.model,
        "persona_id": request.persona_id,
        **request.echo(),
    }
    return ResponseEncoder(
        head,
        new_id=lambda prefix: f"{prefix}_{next(numbers)}",
        clock=lambda: 1_700_000_005,
        custom_tools=CUSTOM_TOOLS,
    )


def encode(events: Sequence[Event]) -> list[Wire]:
    """Return the wire events as they stood when they were sent."""
    encoding = encoder()
    return [
        msgspec.json.decode(msgspec.json.encode(wire)) for event in events for wire in encoding.feed(event)
    ]
