"""Whatever a run does, the chunks of a chat completion add up to its unstreamed body."""

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mavera.api.chat_completions.objects import ChatCompletionChunkObject, ChatCompletionObject
from mavera.api.chat_completions.stream import ChatCompletionEncoder
from mavera.api.wire.objects import ErrorBody
from mavera.core.events import (
    Event,
    RunCompleted,
    RunFailed,
    RunStarted,
    TextDelta,
    ToolCallStarted,
)
from mavera.core.usage import Usage
from mavera.errors import ServiceUnavailable
from tests.support.event_streams import CUSTOM_TOOLS, completed_runs, runs
from tests.support.openai_schemas import assert_fits_openai

Wire = dict[str, Any]
FINISHED = RunCompleted("stop", Usage(input_tokens=3, output_tokens=2))


def encoder(*, logprobs: bool = False, include_usage: bool = False) -> ChatCompletionEncoder:
    return ChatCompletionEncoder(
        "chatcmpl_1",
        1_700_000_000,
        "mavera-1",
        logprobs=logprobs,
        include_usage=include_usage,
        custom_tools=CUSTOM_TOOLS,
    )


def encode(encoding: ChatCompletionEncoder, events: Sequence[Event]) -> list[Wire]:
    """Return the chunks as they stood when they were sent."""
    return [
        msgspec.json.decode(msgspec.json.encode(wire)) for event in events for wire in encoding.feed(event)
    ]


def joined(chunks: list[Wire]) -> Wire:
    """Return the message that a client adds up from the chunks, as OpenAI's own libraries do."""
    message: Wire = {"content": None, "refusal": None, "reasoning_content": None, "tool_calls": {}}
    for chunk in chunks:
        for choice in chunk["choices"]:
            delta = choice["delta"]
            for name in ("content", "refusal", "reasoning_content"):
                if delta.get(name):
                    message[name] = (message[name] or "") + delta[name]
            for call in delta.get("tool_calls", ()):
                _join_call(message["tool_calls"], call)
    return message


def _join_call(calls: dict[int, Wire], delta: Wire) -> None:
    if "id" in delta:
        assert delta["index"] == len(calls), "a call is announced once, in order"
        kind = delta.get("type", "custom")
        calls[delta["index"]] = {**delta, "type": kind, kind: dict(delta[kind])}
    else:
        kind, member = ("custom", "input") if "custom" in delta else ("function", "arguments")
        calls[delta["index"]][kind][member] += delta[kind][member]


@given(completed_runs, st.booleans(), st.booleans())
def test_the_chunks_add_up_to_the_unstreamed_body(
    events: list[Event], logprobs: bool, include_usage: bool
) -> None:
    encoding = encoder(logprobs=logprobs, include_usage=include_usage)

    chunks = encode(encoding, events)

    body = msgspec.json.decode(msgspec.json.encode(encoding.build_body()))
    choice = body["choices"][0]
    said = joined(chunks)
    assert (said["content"] or "") == (choice["message"]["content"] or "")
    assert said["refusal"] == choice["message"]["refusal"]
    assert (said["reasoning_content"] or "") == choice["message"].get("reasoning_content", "")
    calls = [
        {name: value for name, value in call.items() if name != "index"}
        for call in said["tool_calls"].values()
    ]
    assert calls == choice["message"].get("tool_calls", [])
    assert {(chunk["id"], chunk["created"], chunk["model"]) for chunk in chunks} == {
        (body["id"], body["created"], body["model"])
    }
    with_usage = [chunk["usage"] for chunk in chunks if chunk.get("usage")]
    assert with_usage == [body["usage"]]
    told = [
        token
        for chunk in chunks
        for choice in chunk["choices"]
        for token in (choice["logprobs"] or {}).get("content", ())
    ]
    assert told == ((choice["logprobs"] or {}).get("content", []))


@given(completed_runs, st.booleans())
def test_the_reason_comes_once_and_last(events: list[Event], include_usage: bool) -> None:
    encoding = encoder(include_usage=include_usage)

    chunks = encode(encoding, events)

    last = [chunk for chunk in chunks if chunk["choices"]][-1]
    reasons = [choice["finish_reason"] for chunk in chunks for choice in chunk["choices"]]
    assert [reason for reason in reasons if reason] == [last["choices"][0]["finish_reason"]]
    assert encoding.build_body()["choices"][0]["finish_reason"] == reasons[-1]
    assert len(chunks[-1]["choices"]) == (0 if include_usage else 1)


@given(runs(), st.booleans(), st.booleans())
def test_every_chunk_is_one_that_openai_describes(
    events: list[Event], logprobs: bool, include_usage: bool
) -> None:
    for chunk in encode(encoder(logprobs=logprobs, include_usage=include_usage), events):
        if "error" not in chunk:
            assert_fits_openai("CreateChatCompletionStreamResponse", chunk)


@given(runs(), st.booleans(), st.booleans())
def test_the_short_way_of_a_delta_says_what_the_long_way_does(
    events: list[Event], logprobs: bool, include_usage: bool
) -> None:
    short = encoder(logprobs=logprobs, include_usage=include_usage)

    chunks: list[Wire] = []
    for event in events:
        delta = short.encode_delta(event)
        chunks += [msgspec.json.decode(delta)] if delta is not None else list(short.feed(event))

    long = encoder(logprobs=logprobs, include_usage=include_usage)
    assert msgspec.json.decode(msgspec.json.encode(chunks)) == encode(long, events)
    if isinstance(events[-1], RunCompleted):
        assert short.build_body() == long.build_body()


@given(runs(), st.booleans(), st.booleans())
def test_every_chunk_is_one_that_our_own_description_has(
    events: list[Event], logprobs: bool, include_usage: bool
) -> None:
    encoding = encoder(logprobs=logprobs, include_usage=include_usage)

    for chunk in encode(encoding, events):
        kind = ErrorBody if "error" in chunk else ChatCompletionChunkObject
        assert msgspec.to_builtins(msgspec.convert(chunk, kind)) == chunk
    if isinstance(events[-1], RunCompleted):
        body = msgspec.json.decode(msgspec.json.encode(encoding.build_body()))
        assert msgspec.to_builtins(msgspec.convert(body, ChatCompletionObject)) == body


@given(completed_runs, st.booleans())
def test_every_body_is_one_that_openai_describes(events: list[Event], logprobs: bool) -> None:
    encoding = encoder(logprobs=logprobs)
    encode(encoding, events)

    assert_fits_openai("CreateChatCompletionResponse", msgspec.to_builtins(encoding.build_body()))


@given(runs())
def test_the_role_comes_first_and_once(events: list[Event]) -> None:
    chunks = [chunk for chunk in encode(encoder(), events) if "error" not in chunk]

    roles = [choice["delta"].get("role") for chunk in chunks for choice in chunk["choices"]]
    assert roles == ["assistant"] + [None] * (len(roles) - 1)


@given(runs(st.just(RunFailed(ServiceUnavailable("The model stopped.")))))
def test_a_failure_is_the_last_chunk_and_never_a_normal_end(events: list[Event]) -> None:
    *chunks, last = encode(encoder(), events)

    assert last == {
        "error": {
            "message": "The model stopped.",
            "type": "server_error",
            "code": "service_unavailable",
            "param": None,
        }
    }
    assert not any(choice["finish_reason"] for chunk in chunks for choice in chunk["choices"])


def test_an_empty_answer_has_an_empty_content() -> None:
    encoding = encoder()
    encode(encoding, [RunStarted(), FINISHED])

    assert encoding.build_body()["choices"][0]["message"]["content"] == ""


def test_an_answer_of_calls_alone_has_no_content() -> None:
    encoding = encoder()
    events: list[Event] = [
        RunStarted(),
        ToolCallStarted(0, "call_1", "f"),
        RunCompleted("tool_calls", Usage()),
    ]
    encode(encoding, events)

    assert encoding.build_body()["choices"][0]["message"]["content"] is None


@pytest.mark.parametrize("fed", [[], [RunStarted()], [RunStarted(), TextDelta("Hello")]])
def test_a_run_that_has_not_ended_has_no_body(fed: list[Event]) -> None:
    encoding = encoder()
    encode(encoding, fed)

    with pytest.raises(RuntimeError):
        encoding.build_body()
