"""
Streams that are damaged at random: the text is that of the chunks which are whole, or the answer fails.

The reference reads by the letter: the HTML standard for the stream, JSON for its messages, and of these the
text of choice 0. It is written apart from the code it is held against.
"""

import json
from itertools import pairwise
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from mavera.core.events import RunCompleted, TextDelta
from mavera.errors import ServiceUnavailable
from mavera.models.chunk_decoder import ChunkDecoder
from tests.models.test_chat_wire import PROMPT, chunk, lines
from tests.support.upstream_stage import (
    CHAT,
    RESPONSES,
    Stage,
    events_of,
    said_in,
)
from tests.support.upstream_stub import sends

STREAM = (
    lines(
        chunk({"role": "assistant", "content": ""}, id="c1", object="chat.completion.chunk", model="m"),
        chunk({"content": "I would "}, id="c1", object="chat.completion.chunk"),
        chunk({"content": 'pay "4 €"'}, id="c1", usage=None),
    )
    + b": comment\r\n\r\nevent: message\nid: 5\n"
    + lines(
        chunk({"content": " \\ for\nthat."}, logprobs=None),
        chunk({}, "stop"),
        {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4}},
        "[DONE]",
    )
)
MUTATIONS = st.tuples(
    st.sampled_from(("flip", "drop", "insert", "swap", "double")),
    st.integers(0, len(STREAM) - 1),
    st.one_of(
        st.sampled_from([b'"', b"\n", b"\r", b"\\", b"{", b"}", b",", b"0", b"\xff"]),
        st.binary(min_size=1, max_size=2),
    ),
    st.integers(1, 60),
)


def damage(stream: bytes, mutations: list[tuple[str, int, bytes, int]]) -> bytes:
    for kind, at, data, length in mutations:
        piece = stream[at : at + length]
        match kind:
            case "flip":
                stream = stream[:at] + data + stream[at + len(data) :]
            case "drop":
                stream = stream[:at] + stream[at + length :]
            case "insert":
                stream = stream[:at] + data + stream[at:]
            case "swap":
                stream = stream[:at] + piece[::-1] + stream[at + length :]
            case "double":
                stream = stream[:at] + piece + stream[at:]
    return stream


def text_by_the_letter(stream: bytes) -> str:
    """Return the text of the messages that are chunks, up to [DONE]."""
    text = stream.decode("utf-8-sig", errors="replace").replace("\r\n", "\n").replace("\r", "\n")
    said: list[str] = []
    data: list[str] = []
    for line in text.split("\n")[:-1]:  # what follows the last end of line is no line
        name, _, value = line.partition(":")
        if name == "data":
            data.append(value.removeprefix(" "))
        if line or not data:
            continue
        message, data = "\n".join(data), []
        if message.strip() == "[DONE]":
            break
        said.append(_text_in(message))
    return "".join(said)


def _text_in(message: str) -> str:
    try:
        told = json.loads(message)
        delta = next(one for one in told["choices"] if not one.get("index"))["delta"]
        return delta.get("content") or ""
    except (ValueError, KeyError, TypeError, AttributeError, StopIteration):
        return ""


def read(stream: bytes, cuts: list[int]) -> str | None:
    """Return the text of an answer that ended in good order, None for a failure."""
    decoder = ChunkDecoder(PROMPT)
    places = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    try:
        events = [event for start, end in pairwise(places) for event in decoder.feed(stream[start:end])]
        events += decoder.close()
    except ServiceUnavailable:
        return None
    assert isinstance(events[-1], RunCompleted)
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def test_the_reference_reads_the_stream_as_it_is() -> None:
    assert text_by_the_letter(STREAM) == 'I would pay "4 €" \\ for\nthat.' == read(STREAM, [])


@settings(max_examples=1500)
@given(st.lists(MUTATIONS, min_size=1, max_size=3), st.lists(st.integers(0, len(STREAM)), max_size=20))
def test_a_damaged_stream_gives_the_text_of_its_whole_chunks_or_fails(
    mutations: list[tuple[str, int, bytes, int]], cuts: list[int]
) -> None:
    stream = damage(STREAM, mutations)
    text = read(stream, cuts)
    assert text is None or text == text_by_the_letter(stream)


ODD_VALUES: list[Any] = [None, True, 0, 1, -1.5, 2**63, "", "x", [], [1], {}, {"a": 1}, ["x"], [{}], [None]]
WHOLE = [
    chunk({"role": "assistant", "content": "I would "}, id="c1", object="chat.completion.chunk"),
    chunk({"content": "pay.", "tool_calls": None, "refusal": None}, logprobs=None),
    chunk({}, "stop", usage={"prompt_tokens": 3, "completion_tokens": 4, "prompt_tokens_details": None}),
]
SIDE = ["id", "object", "model", "usage", "logprobs", "created", "system_fingerprint", "service_tier", "x"]
IN_CHOICE = ["logprobs", "stop_reason", "token_ids", "matched_stop"]
IN_DELTA = ["role", "tool_calls", "refusal", "audio", "annotations", "function_call"]


@st.composite
def odd_streams(draw: st.DrawFn) -> list[Any]:
    """The same answer with members that nobody needs in types that nobody expects."""
    chunks = msgspec.json.decode(msgspec.json.encode(WHOLE))
    for one in chunks:
        for where, names in (
            (one, SIDE),
            (one["choices"][0], IN_CHOICE),
            (one["choices"][0]["delta"], IN_DELTA),
        ):
            for name in draw(st.lists(st.sampled_from(names), max_size=2)):
                where[name] = draw(st.sampled_from(ODD_VALUES))
    return list(chunks)


@settings(max_examples=500)
@given(odd_streams())
def test_members_that_nobody_needs_cost_no_text(chunks: list[Any]) -> None:
    text = read(lines(*chunks), [])
    assert text == "I would pay."


@settings(max_examples=40, deadline=None)
@given(
    st.lists(MUTATIONS, min_size=1, max_size=3),
    st.sampled_from([CHAT, RESPONSES]),
    st.booleans(),
)
def test_a_damaged_stream_through_a_server(
    shared_stage: Stage,
    mutations: list[tuple[str, int, bytes, int]],
    path: str,
    streamed: bool,
) -> None:
    stream = damage(STREAM, mutations)
    shared_stage.upstream.asked.clear()
    shared_stage.upstream.script = [sends(stream)]
    answer = shared_stage.ask(path, stream=streamed)

    expected = text_by_the_letter(stream)
    if answer.status_code != 200:
        assert answer.status_code == 503
    elif not streamed:
        assert expected == _text_of(path, answer.json())
    else:
        events = events_of(answer)
        if not _has_failed(events[-1]):
            assert said_in(events) == expected


def _has_failed(last: dict[str, Any]) -> bool:
    return "error" in last or last.get("type") == "response.failed"


def _text_of(path: str, body: dict[str, Any]) -> str:
    if path == CHAT:
        return body["choices"][0]["message"]["content"] or ""
    parts = [part for item in body["output"] if item["type"] == "message" for part in item["content"]]
    return "".join(part.get("text", "") for part in parts)
