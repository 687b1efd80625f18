"""What servers send as /chat/completions, with all their oddities, comes down to the same events."""

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from mavera.core.events import (
    ModelEvent,
    RefusalDelta,
    RunCompleted,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
    ToolCallStarted,
)
from mavera.core.items import make_message
from mavera.core.prompt import Prompt
from mavera.core.usage import Usage
from mavera.errors import ServiceUnavailable
from mavera.models.chunk_decoder import MAX_LINE_BYTES, MOST_NAME_CHARACTERS, ChunkDecoder, join_deltas

PROMPT = Prompt((make_message("user", "How much would you pay?"),))
Wire = dict[str, Any]


def chunk(delta: Wire | None = None, reason: Any = None, **members: Any) -> Wire:
    return {"choices": [{"index": 0, "delta": delta or {}, "finish_reason": reason}], **members}


def call(name: str | None = None, arguments: Any = None, **members: Any) -> Wire:
    """Return a chunk with one tool call delta."""
    function = {key: value for key, value in (("name", name), ("arguments", arguments)) if value is not None}
    return chunk({"tool_calls": [{**members, "function": function}]})


def lines(*chunks: Wire | str) -> bytes:
    texts = [text if isinstance(text, str) else json.dumps(text, ensure_ascii=False) for text in chunks]
    return "".join(f"data: {text}\n\n" for text in texts).encode()


def decoded(data: bytes, *cuts: int, top_logprobs: int | None = None) -> list[ModelEvent]:
    """Return the events of an answer that came in pieces cut at `cuts`."""
    decoder = ChunkDecoder(replace(PROMPT, top_logprobs=top_logprobs))
    places = [0, *sorted(cuts), len(data)]
    events = [event for start, end in pairwise(places) for event in decoder.feed(data[start:end])]
    return [*events, *decoder.close()]


def calls_of(events: list[ModelEvent]) -> list[tuple[str, str]]:
    """Return name and arguments of each call, as a client adds them up."""
    names = {event.index: event.name for event in events if isinstance(event, ToolCallStarted)}
    return [
        (
            name,
            "".join(e.arguments for e in events if isinstance(e, ToolCallDelta) and e.index == index),
        )
        for index, name in sorted(names.items())
    ]


def ids_of(events: list[ModelEvent]) -> list[str]:
    return [event.call_id for event in events if isinstance(event, ToolCallStarted)]


END = chunk(reason="stop")
USAGE = {"prompt_tokens": 7, "completion_tokens": 2}
ANSWER = (
    lines(
        chunk({"role": "assistant", "content": ""}),
        chunk({"content": "Ça va"}),
        chunk({"content": " \U0001f600\u2028"}),
    )
    + b": a comment\r\n\r\nevent: message\nid: 5\n"
    + lines(
        call("look_up", "", index=0, id="call_a", type="function"),
        call(None, '{"x": ', index=0),
        call(None, "1}", index=0),
        chunk(reason="tool_calls"),
        {"choices": [], "usage": USAGE},
        "[DONE]",
    ).replace(b"\n", b"\r\n")
)
EVENTS = [
    TextDelta("Ça va"),
    TextDelta(" \U0001f600\u2028"),
    ToolCallStarted(0, "call_a", "look_up"),
    ToolCallDelta(0, '{"x": '),
    ToolCallDelta(0, "1}"),
    RunCompleted("tool_calls", Usage(input_tokens=7, output_tokens=2)),
]


@given(st.lists(st.integers(0, len(ANSWER)), max_size=30))
def test_lines_cut_anywhere_give_the_same_events(cuts: list[int]) -> None:
    assert decoded(ANSWER, *cuts) == EVENTS


def test_an_answer_byte_by_byte_gives_the_same_events() -> None:
    assert decoded(ANSWER, *range(len(ANSWER))) == EVENTS


@pytest.mark.parametrize("missing", ["content", "refusal", "tool_calls", "role"])
def test_null_members_of_a_delta_say_nothing(missing: str) -> None:
    said_nothing = chunk({missing: None})

    assert decoded(lines(said_nothing, chunk({"content": "x"}), END)) == [
        TextDelta("x"),
        RunCompleted("stop", Usage(5, 1, estimated=True)),
    ]


@pytest.mark.parametrize(
    "odd",
    [
        {},
        {"choices": None},
        {"choices": []},
        {"choices": [{}]},
        {"choices": [{"delta": None}]},
        {"choices": [{"delta": {}, "finish_reason": ""}]},
        {"choices": [{"delta": {"tool_calls": []}}], "usage": None},
        {"choices": [], "error": None},
        {"prompt_filter_results": [{"prompt_index": 0}], "choices": []},
        {"choices": [{"delta": {"role": "assistant"}, "logprobs": {"content": None}}]},
    ],
)
def test_chunks_that_say_nothing_change_nothing(odd: Wire) -> None:
    assert decoded(lines(odd, chunk({"content": "x"}), odd, END, odd, "[DONE]"))[0] == TextDelta("x")


@given(st.lists(st.sampled_from([TextDelta("a"), TextDelta("b"), RefusalDelta("no")]), max_size=12))
def test_joined_pieces_say_the_same_in_as_few_events_as_may_be(events: list[ModelEvent]) -> None:
    together = list(join_deltas(events))

    texts = [event for event in events if isinstance(event, TextDelta)]
    pieces = [event for event in together if isinstance(event, TextDelta)]
    assert "".join(piece.text for piece in pieces) == "".join(text.text for text in texts)
    assert sum(piece.pieces for piece in pieces) == len(texts)
    assert {TextDelta} not in [{type(one), type(two)} for one, two in pairwise(together)]


def test_what_came_before_a_failure_is_joined_and_not_lost() -> None:
    data = lines(chunk({"content": "a"}), chunk({"content": "b"}), "{broken")
    told: list[ModelEvent] = []

    with pytest.raises(ServiceUnavailable):
        told.extend(join_deltas(ChunkDecoder(PROMPT).feed(data)))

    assert told == [TextDelta("ab", (), 2)]


def test_a_refusal_is_a_refusal() -> None:
    assert decoded(lines(chunk({"refusal": "No."}), END))[0] == RefusalDelta("No.")


def test_log_probabilities_come_with_their_text() -> None:
    token = {"token": "x", "logprob": -0.5, "bytes": [120], "top_logprobs": [{"token": "y", "logprob": -1.5}]}
    spoken = {
        "choices": [{"delta": {"content": "x"}, "logprobs": {"content": [token]}, "finish_reason": None}]
    }

    expected = TokenLogprob("x", -0.5, (120,), (TokenLogprob("y", -1.5),))
    assert decoded(lines(spoken, END), top_logprobs=1)[0] == TextDelta("x", (expected,))
    alone = TokenLogprob("x", -0.5, (120,))
    assert decoded(lines(spoken, END), top_logprobs=0)[0] == TextDelta("x", (alone,))
    assert decoded(lines(spoken, END))[0] == TextDelta("x")


def test_a_token_that_is_no_text_yet_keeps_its_log_probability() -> None:
    first = {"token": "\ufffd", "logprob": -0.5, "bytes": [240, 159]}
    begun = {"choices": [{"delta": {"content": ""}, "logprobs": {"content": [first]}}]}

    expected = TextDelta("", (TokenLogprob("\ufffd", -0.5, (240, 159)),))
    assert decoded(lines(begun, chunk({"content": "x"}), END), top_logprobs=0)[0] == expected


ODD_CALLS: dict[str, tuple[list[Wire], list[tuple[str, str]]]] = {
    "index missing": (
        [call("f", "{", id="a"), call(None, "}"), call("g", "{}", id="b")],
        [("f", "{}"), ("g", "{}")],
    ),
    "index missing in the first delta only": (
        [call("f", "{", id="a"), call(None, "}", index=0)],
        [("f", "{}")],
    ),
    "index missing, ids interleaved": (
        [call("f", "[", id="a"), call("g", "{", id="b"), call(None, "]", id="a"), call(None, "}", id="b")],
        [("f", "[]"), ("g", "{}")],
    ),
    "indices from 1": (
        [
            call("f", "[", index=1, id="a"),
            call("g", "{", index=2, id="b"),
            call(None, "]", index=1),
            call(None, "}", index=2),
        ],
        [("f", "[]"), ("g", "{}")],
    ),
    "ids empty": (
        [call("f", "{", index=0, id=""), call(None, "}", index=0, id=""), call("g", "{}", index=1, id="")],
        [("f", "{}"), ("g", "{}")],
    ),
    "id and name repeated with every delta": (
        [
            call("f", "{", index=0, id="a"),
            call("f", "}", index=0, id="a"),
            call("f", "", index=0, id="a"),
        ],
        [("f", "{}")],
    ),
    "name repeated with every delta, no ids": (
        [call("f", "{", index=0), call("f", '"x": 1', index=0), call("f", "}", index=0)],
        [("f", '{"x": 1}')],
    ),
    "several calls under one index, with ids": (
        [call("f", "{}", index=0, id="a"), call("f", "[]", index=0, id="b")],
        [("f", "{}"), ("f", "[]")],
    ),
    "several calls under one index, without ids": (
        [call("f", "{}", index=0), call("f", "[]", index=0), call("g", "{}", index=0)],
        [("f", "{}"), ("f", "[]"), ("g", "{}")],
    ),
    "calls without arguments under one index and no ids": (
        [call("f", "", index=0), call("g", "", index=0)],
        [("f", "{}"), ("g", "{}")],
    ),
    "several calls in one delta": (
        [
            chunk(
                {
                    "tool_calls": [
                        {"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}},
                        {"index": 1, "id": "b", "function": {"name": "f", "arguments": "[]"}},
                    ]
                }
            )
        ],
        [("f", "{}"), ("f", "[]")],
    ),
    "interleaved": (
        [
            call("f", "[", index=0, id="a"),
            call("g", "{", index=1, id="b"),
            call(None, "1", index=0),
            call(None, "}", index=1),
            call(None, "]", index=0),
        ],
        [("f", "[1]"), ("g", "{}")],
    ),
    "arguments missing": ([call("f", None, index=0, id="a")], [("f", "{}")]),
    "arguments empty": ([call("f", "", index=0, id="a")], [("f", "{}")]),
    "arguments blank": ([call("f", " ", index=0, id="a")], [("f", " {}")]),
    "arguments as an object": ([call("f", {"x": 1}, index=0, id="a")], [("f", '{"x":1}')]),
    "function null in a later delta": (
        [
            call("f", "{}", index=0, id="a"),
            chunk({"tool_calls": [{"index": 0, "function": None}]}),
        ],
        [("f", "{}")],
    ),
}


@pytest.mark.parametrize("reason", ["tool_calls", "stop", "function_call"])
@pytest.mark.parametrize(("chunks", "expected"), ODD_CALLS.values(), ids=ODD_CALLS.keys())
def test_odd_tool_calls_come_down_to_plain_ones(
    chunks: list[Wire], expected: list[tuple[str, str]], reason: str
) -> None:
    events = decoded(lines(*chunks, chunk(reason=reason)))

    assert calls_of(events) == expected
    ids = ids_of(events)
    assert all(ids)
    assert len(set(ids)) == len(ids)
    finished = events[-1]
    assert isinstance(finished, RunCompleted)
    assert finished.reason == "tool_calls"


def test_the_same_id_for_two_calls_becomes_two_ids() -> None:
    events = decoded(lines(call("f", "{}", index=0, id="a"), call("g", "{}", index=1, id="a"), END))

    first, second = ids_of(events)
    assert first == "a"
    assert second.startswith("call_")


def test_arguments_cut_off_are_left_as_they_are() -> None:
    events = decoded(lines(call("f", "", index=0, id="a"), chunk(reason="length")))

    assert calls_of(events) == [("f", "")]


def test_the_name_of_a_call_is_cut_where_no_function_has_so_long_a_name() -> None:
    events = decoded(lines(call("f" * 100_000, "{}", index=0), chunk(reason="tool_calls")))
    assert calls_of(events) == [("f" * MOST_NAME_CHARACTERS, "{}")]


def test_a_call_without_a_name_is_a_failure() -> None:
    with pytest.raises(ServiceUnavailable):
        decoded(lines(call(None, "{}", index=0, id="a"), END))


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("stop", "stop"),
        ("length", "length"),
        ("max_tokens", "length"),
        ("content_filter", "content_filter"),
        ("eos", "stop"),
        ("of_our_own", "length"),
        (1, "length"),
    ],
)
def test_every_reason_to_finish_comes_down_to_one_of_four(reason: Any, expected: str) -> None:
    finished = decoded(lines(chunk(reason=reason)))[-1]

    assert isinstance(finished, RunCompleted)
    assert finished.reason == expected


USAGES: dict[str, tuple[list[Wire | str], Usage]] = {
    "with the end": ([chunk(reason="stop", usage=USAGE)], Usage(7, 2)),
    "after the end": ([END, {"choices": [], "usage": USAGE}], Usage(7, 2)),
    "with every chunk": (
        [chunk({}, usage={"prompt_tokens": 7, "completion_tokens": 1}), chunk(reason="stop", usage=USAGE)],
        Usage(7, 2),
    ),
    "with details": (
        [
            chunk(
                reason="stop",
                usage={
                    **USAGE,
                    "prompt_tokens_details": {"cached_tokens": 4},
                    "completion_tokens_details": {"reasoning_tokens": 1},
                },
            )
        ],
        Usage(7, 2, cached_tokens=4, reasoning_tokens=1),
    ),
    "with null details": (
        [
            chunk(
                reason="stop",
                usage={
                    **USAGE,
                    "prompt_tokens_details": None,
                    "completion_tokens_details": {"reasoning_tokens": None},
                },
            )
        ],
        Usage(7, 2),
    ),
    "with null counts": (
        [chunk(reason="stop", usage={"prompt_tokens": 7, "completion_tokens": None})],
        Usage(7, 0),
    ),
    "never": ([END], Usage(5, 1, estimated=True)),
    "null": ([chunk(reason="stop", usage=None)], Usage(5, 1, estimated=True)),
}


@pytest.mark.parametrize(("chunks", "usage"), USAGES.values(), ids=USAGES.keys())
def test_the_usage_is_found_wherever_it_stands(chunks: list[Wire | str], usage: Usage) -> None:
    finished = decoded(lines(chunk({"content": "x"}), *chunks, "[DONE]"))[-1]

    assert finished == RunCompleted("stop", usage)


BEGUN = lines(chunk({"content": "Well,"}))
FAILURES: dict[str, bytes] = {
    "nothing at all": b"",
    "an end before the finish": BEGUN,
    "[DONE] before the finish": BEGUN + lines("[DONE]"),
    "[DONE] alone": lines("[DONE]"),
    "a finish after [DONE]": BEGUN + lines("[DONE]", END),
    "a line cut short": BEGUN + lines(END)[:-10],
    "an error object": BEGUN + lines({"error": {"message": "out of memory", "code": 500}}),
    "an error text": BEGUN + lines({"error": "out of memory"}),
    "an error with a finish": BEGUN + lines({**chunk(reason="stop"), "error": {"message": "out of memory"}}),
    "an error as vLLM sends it": BEGUN + lines({"object": "error", "message": "out of memory", "code": 400}),
    "an error as the reason": BEGUN + lines(chunk(reason="error")),
    "an abort as the reason": BEGUN + lines(chunk(reason="abort")),
    "empty reasons only": BEGUN + lines(chunk(reason=""), "[DONE]"),
    "no JSON": BEGUN + lines("hello"),
    "an array": BEGUN + lines("[]"),
    "null": BEGUN + lines("null"),
    "a wrong type": BEGUN + lines({"choices": "none"}),
    "no UTF-8": BEGUN + b'data: {"choices": [{"delta": {"content": "\xff"}}]}\n\n',
    "deep nesting": BEGUN + lines('{"error": ' + "[" * 100_000 + "]" * 100_000 + "}"),
    "a page of HTML": b"<html><body>Bad gateway</body></html>\n",
}


@pytest.mark.parametrize("data", FAILURES.values(), ids=FAILURES.keys())
def test_an_answer_that_does_not_finish_is_a_failure(data: bytes) -> None:
    with pytest.raises(ServiceUnavailable) as failed:
        decoded(data)

    assert len(failed.value.message) < 700
    if b"out of memory" in data:
        assert "out of memory" in failed.value.message


@given(st.binary(max_size=200), st.integers(0, 200))
def test_bytes_of_any_kind_finish_or_fail(data: bytes, cut: int) -> None:
    with pytest.raises(ServiceUnavailable):
        decoded(data, min(cut, len(data)))


def test_a_line_without_end_is_given_up_before_it_fills_the_memory() -> None:
    decoder = ChunkDecoder(PROMPT)
    piece = b"x" * (1024 * 1024)
    for _ in range(MAX_LINE_BYTES // len(piece)):
        assert list(decoder.feed(piece)) == []

    with pytest.raises(ServiceUnavailable, match="without end"):
        list(decoder.feed(piece))


def body_of(message: Wire, **members: Any) -> bytes:
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return json.dumps({"choices": [choice], "usage": USAGE, **members}).encode()


def decoded_body(body: bytes) -> list[ModelEvent]:
    decoder = ChunkDecoder(PROMPT)
    return [*decoder.feed_body(body), *decoder.close()]


def test_an_answer_that_was_not_streamed_gives_the_same_events() -> None:
    assert decoded_body(body_of({"role": "assistant", "content": "Hello"})) == [
        TextDelta("Hello"),
        RunCompleted("stop", Usage(7, 2)),
    ]


@pytest.mark.parametrize("ids", [("a", "b"), ("", ""), ("a", "a"), (None, None)])
def test_every_call_of_an_unstreamed_answer_is_one_of_its_own(ids: tuple[Any, Any]) -> None:
    entries = [{"id": given, "function": {"name": "f", "arguments": ""}} for given in ids]

    events = decoded_body(body_of({"content": None, "tool_calls": entries}))

    assert calls_of(events) == [("f", "{}"), ("f", "{}")]
    assert len(set(ids_of(events))) == 2


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b"oops",
        b"\xff",
        b'{"error": {"message": "out of memory"}}',
        b'{"choices": []}',
        b'{"choices": [{"message": {"content": "x"}, "finish_reason": null}]}',
    ],
)
def test_an_unstreamed_answer_that_is_none_is_a_failure(body: bytes) -> None:
    with pytest.raises(ServiceUnavailable):
        decoded_body(body)
