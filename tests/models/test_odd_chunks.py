"""One odd chunk never decides over a whole answer, and what is said twice is passed on once."""

from typing import Any

import pytest

from mavera.core.events import ModelEvent, RefusalDelta, RunCompleted, TextDelta, ToolCallStarted
from mavera.core.usage import Usage
from mavera.errors import ServiceUnavailable
from mavera.models.chunk_decoder import ChunkDecoder
from tests.models.test_chat_wire import (
    END,
    PROMPT,
    USAGE,
    Wire,
    body_of,
    call,
    calls_of,
    chunk,
    decoded,
    decoded_body,
    lines,
)
from tests.support.upstream_stage import CHAT, Stage
from tests.support.upstream_stub import sends

HELLO = chunk({"content": "Hello"})
CALLED = {"id": "a", "type": "function", "function": {"name": "pay", "arguments": '{"n": 1}'}}


def text_of(events: list[ModelEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def told(delta: Any, **members: Any) -> Wire:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": None, **members}]}


SAYS_HELLO: dict[str, list[Wire]] = {
    "parts": [chunk({"content": [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}]})],
    "texts in a list": [chunk({"content": ["Hel", "lo"]})],
    "one part without a list": [chunk({"content": {"type": "text", "text": "Hello"}})],
    "parts of another kind": [
        chunk({"content": [{"type": "reference", "reference_ids": [1]}, {"type": "text", "text": "Hello"}]})
    ],
    "a text that is an object": [chunk({"content": [{"type": "text", "text": {"value": "Hello"}}]})],
    "no content but an empty list": [chunk({"content": []}), HELLO],
    "usage in floats": [HELLO, {"choices": [], "usage": {"prompt_tokens": 7.0, "completion_tokens": 2.0}}],
    "usage in texts": [HELLO, {"choices": [], "usage": {"prompt_tokens": "7", "completion_tokens": "2.0"}}],
    "usage with others' names": [HELLO, {"choices": [], "usage": {"input_tokens": 7, "output_tokens": 2}}],
    "usage as a list, after usage": [HELLO, {"choices": [], "usage": USAGE}, {"choices": [], "usage": []}],
    "usage details of another type": [
        HELLO,
        {"choices": [], "usage": {**USAGE, "prompt_tokens_details": [], "completion_tokens_details": 3}},
    ],
    "logprobs 0": [told({"content": "Hello"}, logprobs=0)],
    "logprobs []": [told({"content": "Hello"}, logprobs=[])],
    "logprobs of texts": [told({"content": "Hello"}, logprobs={"content": ["H"]})],
    "tool_calls {}": [chunk({"content": "Hello", "tool_calls": {}})],
    "tool_calls a text": [chunk({"content": "Hello", "tool_calls": "none"})],
    "tool_calls of null": [chunk({"content": "Hello", "tool_calls": [None]})],
    "refusal false": [chunk({"content": "Hello", "refusal": False})],
    "index a text": [told({"content": "Hello"}, index="0")],
    "index a float": [told({"content": "Hello"}, index=0.0)],
    "index null": [told({"content": "Hello"}, index=None)],
    "no index": [{"choices": [{"delta": {"content": "Hello"}}]}],
    "another choice beside": [
        {"choices": [{"index": 1, "delta": {"content": "Bye"}}, {"index": 0, "delta": {"content": "Hello"}}]}
    ],
    "another choice alone": [HELLO, {"choices": [{"index": 1, "delta": {"content": "Bye"}}]}],
    "another choice as a text": [HELLO, told({"content": "Bye"}, index="1")],
    "another choice that ends": [{"choices": [{"index": 1, "delta": {}, "finish_reason": "error"}]}, HELLO],
    "choices as an object": [{"choices": {"index": 0, "delta": {"content": "Hello"}}}],
    "choices with null": [{"choices": [None, {"index": 0, "delta": {"content": "Hello"}}]}],
    "object a number": [{**HELLO, "object": 5}],
    "error false": [{**HELLO, "error": False}],
    "an error that is empty": [{**HELLO, "error": {"code": 0, "message": ""}}],
    "delta a list": [told([]), HELLO],
    "finish_reason 0": [told({"content": "Hello"}, finish_reason=0)],
    "finish_reason 'null'": [told({"content": "Hello"}, finish_reason="null")],
    "message beside the delta": [told({"content": "Hello"}, message={"content": "Hello"})],
    "message and an empty delta": [told({}, message={"content": "Hello"}), END],
    "streamed as messages": [
        {"choices": [{"index": 0, "message": {"content": "Hel"}, "finish_reason": None}]},
        {"choices": [{"index": 0, "message": {"content": "lo"}, "finish_reason": None}]},
    ],
    "streamed as messages, the last with the reason": [
        {"choices": [{"index": 0, "message": {"content": "Hel"}, "finish_reason": None}]},
        {"choices": [{"index": 0, "message": {"content": "lo"}, "finish_reason": "stop"}]},
    ],
    "members nobody knows": [{**HELLO, "x": [{"y": 1e5}], "id": 5, "created": "now", "model": None}],
}


@pytest.mark.parametrize("chunks", SAYS_HELLO.values(), ids=SAYS_HELLO.keys())
def test_text_is_found_whatever_stands_beside_it(chunks: list[Wire]) -> None:
    events = decoded(lines(*chunks, END))

    assert text_of(events) == "Hello"
    assert isinstance(events[-1], RunCompleted)
    assert events[-1].reason == "stop"
    if any(one.get("usage") for one in chunks):
        assert events[-1].usage == Usage(7, 2)


@pytest.mark.parametrize("usage", [[], {}, 0, "many", {"prompt_tokens": None}, {"total_tokens": 9}])
def test_usage_that_counts_nothing_is_estimated(usage: Any) -> None:
    finished = decoded(lines(HELLO, chunk(reason="stop", usage=usage)))[-1]
    assert isinstance(finished, RunCompleted)
    assert finished.usage == Usage(5, 1, estimated=True)


@pytest.mark.parametrize(
    "odd",
    [
        chunk({"content": 5}),
        chunk({"content": True}),
        chunk({"content": [5]}),
        chunk({"content": [{"type": "text", "text": 5}]}),
        told("Hello"),
        told(["Hello"]),
    ],
)
def test_a_text_that_cannot_be_read_is_a_failure_and_no_gap(odd: Wire) -> None:
    with pytest.raises(ServiceUnavailable):
        decoded(lines(HELLO, odd, END))


CALLS: dict[str, list[Wire]] = {
    "index a text": [call("pay", '{"n": ', index="0", id="a"), call(None, "1}", index="0")],
    "index a float": [call("pay", '{"n": ', index=0.0, id="a"), call(None, "1}", index=0.0)],
    "arguments an object": [call("pay", {"n": 1}, index="0", id="a")],
    "arguments null": [
        chunk({"tool_calls": [{"index": 0, "id": "a", "function": {"name": "pay", "arguments": None}}]}),
        call(None, '{"n": 1}', index=0),
    ],
    "an id that is a number": [call("pay", '{"n": 1}', index=0, id=7)],
    "one call without a list": [chunk({"tool_calls": CALLED})],
    "without the function's wrapper": [chunk({"tool_calls": [{"name": "pay", "arguments": '{"n": 1}'}]})],
    "the name null, then late": [
        chunk({"tool_calls": [{"index": 0, "id": "a", "function": {"name": None, "arguments": ""}}]}),
        call("pay", '{"n": ', index=0),
        call(None, "1}", index=0),
    ],
    "the name after the arguments": [
        call(None, '{"n": ', index=0, id="a"),
        call(None, "1}", index=0),
        call("pay", "", index=0),
    ],
    "the older function_call": [
        chunk({"function_call": {"name": "pay", "arguments": '{"n": '}}),
        chunk({"function_call": {"arguments": "1}"}}),
    ],
}


@pytest.mark.parametrize("chunks", CALLS.values(), ids=CALLS.keys())
def test_odd_calls_are_made_once(chunks: list[Wire]) -> None:
    events = decoded(lines(*chunks, chunk(reason="tool_calls")))
    assert [(name, arguments.replace(" ", "")) for name, arguments in calls_of(events)] == [
        ("pay", '{"n":1}')
    ]


def test_two_calls_whose_names_come_late_stay_apart_and_in_order() -> None:
    events = decoded(
        lines(
            call(None, "[", index=0, id="a"),
            call("g", "{", index=1, id="b"),
            call("f", "]", index=0, id="a"),
            call(None, "}", index=1),
            chunk(reason="tool_calls"),
        )
    )
    assert calls_of(events) == [("g", "{}"), ("f", "[]")]
    assert [event.index for event in events if isinstance(event, ToolCallStarted)] == [0, 1]


def last(message: Wire, reason: str = "stop", **members: Any) -> Wire:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": reason, **members}
    return {"object": "chat.completion", "choices": [choice], "usage": USAGE}


BEGUN = [chunk({"content": "Hel"}), chunk({"content": "lo"})]
REPEATED: dict[str, tuple[list[Wire], str]] = {
    "the same": ([*BEGUN, last({"content": "Hello"})], "Hello"),
    "the same, in parts": ([*BEGUN, last({"content": [{"type": "text", "text": "Hello"}]})], "Hello"),
    "after the end": ([*BEGUN, END, last({"content": "Hello"})], "Hello"),
    "more": ([*BEGUN, last({"content": "Hello there"})], "Hello there"),
    "less": ([*BEGUN, last({"content": "Hel"})], "Hello"),
    "nothing": ([*BEGUN, last({"content": None})], "Hello"),
    "another text": ([*BEGUN, last({"content": "Bye"})], "Hello"),
    "twice": ([*BEGUN, last({"content": "Hello"}), last({"content": "Hello"})], "Hello"),
    "beside an empty delta": ([*BEGUN, last({"content": "Hello"}, delta={"content": ""})], "Hello"),
    "beside the last delta": ([BEGUN[0], last({"content": "Hello"}, delta={"content": "lo"})], "Hello"),
    "alone": ([last({"content": "Hello"})], "Hello"),
    "marked reasoning and all": (
        [chunk({"content": "<think>hm</think>Hel"}), last({"content": "<think>hm</think>Hello"})],
        "Hello",
    ),
    "without the reasoning that was marked": (
        [chunk({"content": "<think>hm</think>Hello"}), last({"content": "Hello", "reasoning_content": "hm"})],
        "Hello",
    ),
}


@pytest.mark.parametrize(("chunks", "text"), REPEATED.values(), ids=REPEATED.keys())
def test_a_message_that_repeats_the_answer_doubles_nothing(chunks: list[Wire], text: str) -> None:
    events = decoded(lines(*chunks))
    assert text_of(events) == text
    assert isinstance(events[-1], RunCompleted)


ONCE = [("pay", '{"n": 1}')]
REPEATED_CALLS: dict[str, tuple[list[Wire], list[tuple[str, str]]]] = {
    "the same": (
        [call("pay", '{"n": 1}', index=0, id="a"), last({"tool_calls": [CALLED]}, "tool_calls")],
        ONCE,
    ),
    "without an id": (
        [
            call("pay", '{"n": 1}', index=0, id="a"),
            last({"tool_calls": [{"function": CALLED["function"]}]}, "tool_calls"),
        ],
        ONCE,
    ),
    "with another id": (
        [
            call("pay", '{"n": 1}', index=0, id="a"),
            last({"tool_calls": [{**CALLED, "id": "b"}]}, "tool_calls"),
        ],
        ONCE,
    ),
    "spaced differently": (
        [
            call("pay", '{"n": 1}', index=0, id="a"),
            last({"tool_calls": [{"id": "a", "function": {"name": "pay", "arguments": '{"n":1}'}}]}),
        ],
        ONCE,
    ),
    "the arguments as an object": (
        [
            call("pay", '{"n": 1}', index=0, id="a"),
            last({"tool_calls": [{"id": "a", "function": {"name": "pay", "arguments": {"n": 1}}}]}),
        ],
        ONCE,
    ),
    "begun before": ([call("pay", '{"n"', index=0, id="a"), last({"tool_calls": [CALLED]})], ONCE),
    "never before": ([last({"tool_calls": [CALLED]})], ONCE),
    "two, of which one was streamed": (
        [
            call("pay", '{"n": 1}', index=0, id="a"),
            last({"tool_calls": [CALLED, {"id": "b", "function": {"name": "pay", "arguments": "{}"}}]}),
        ],
        [*ONCE, ("pay", "{}")],
    ),
    "twice": ([last({"tool_calls": [CALLED]}), last({"tool_calls": [CALLED]})], ONCE),
}


@pytest.mark.parametrize(("chunks", "calls"), REPEATED_CALLS.values(), ids=REPEATED_CALLS.keys())
def test_a_message_that_repeats_a_call_makes_it_once(
    chunks: list[Wire], calls: list[tuple[str, str]]
) -> None:
    assert calls_of(decoded(lines(*chunks))) == calls


def test_a_refusal_that_is_repeated_is_one() -> None:
    events = decoded(lines(chunk({"refusal": "No."}), last({"content": None, "refusal": "No."})))
    assert [event for event in events if isinstance(event, RefusalDelta)] == [RefusalDelta("No.")]


@pytest.mark.parametrize(
    "message",
    [
        {"content": [{"type": "text", "text": "Hello"}], "tool_calls": {}},
        {"content": "Hello", "tool_calls": None, "refusal": [], "audio": {}},
    ],
)
def test_whole_answers_are_read_leniently(message: Wire) -> None:
    events = decoded_body(body_of(message, usage={"prompt_tokens": 7.0, "completion_tokens": "2"}))
    assert events == [TextDelta("Hello"), RunCompleted("stop", Usage(7, 2))]


STREAMED = lines(HELLO, END)
BODY = body_of({"content": "Hello"})


@pytest.mark.parametrize(
    ("data", "content_type"),
    [
        (STREAMED, "application/json"),
        (b"\n: begun\n\n" + STREAMED, "application/json; charset=utf-8"),
        (STREAMED, "text/plain"),
        (STREAMED, "application/octet-stream"),
        (BODY, "text/plain"),
        (b"\n\n " + BODY, "application/octet-stream"),
        (b"\n\n " + BODY, "application/json"),
    ],
)
def test_an_answer_is_known_by_how_it_begins(shared_stage: Stage, data: bytes, content_type: str) -> None:
    shared_stage.upstream.script = [sends(data[:9], data[9:], content_type=content_type)]
    answer = shared_stage.ask(CHAT, stream=False)
    assert answer.json()["choices"][0]["message"]["content"] == "Hello"


HALVES: dict[str, tuple[list[str], str]] = {
    "an emoji in two chunks": ([r"Hi \ud83d", r"\ude00!"], "Hi \U0001f600!"),
    "an emoji in two chunks, and text in a third": ([r"\ud83d", r"\ude00", "!"], "\U0001f600!"),
    "a first half alone": ([r"Hi \ud83d", "!"], "Hi \ufffd!"),
    "a second half alone": ([r"Hi \ude00", "!"], "Hi \ufffd!"),
    "a first half at the end": (["Hi", r" \ud83d"], "Hi \ufffd"),
    "two first halves": ([r"\ud83d\ud83d", r"\ude00"], "\ufffd\U0001f600"),
}


@pytest.mark.parametrize(("pieces", "text"), HALVES.values(), ids=HALVES.keys())
def test_halves_of_a_surrogate_pair_are_joined(pieces: list[str], text: str) -> None:
    chunks = ['{"choices": [{"index": 0, "delta": {"content": "' + piece + '"}}]}' for piece in pieces]
    assert text_of(decoded(lines(*chunks, END))) == text
    reads = [lines(chunk({"content": ""})), *map(lines, chunks), lines(END)]
    decoder = ChunkDecoder(PROMPT)
    events = [event for read in reads for event in decoder.feed(read)]
    assert text_of([*events, *decoder.close()]) == text


@pytest.mark.parametrize("name", ["reasoning_content", "refusal"])
def test_halves_elsewhere_cost_no_answer(name: str) -> None:
    odd = r'{"choices": [{"delta": {"%s": "\ud83d", "content": "Hello"}}], "x": "\udead"}'.replace("%s", name)
    assert text_of(decoded(lines(odd, END))) == "Hello"


def test_an_event_named_error_is_a_failure() -> None:
    for data in (
        b'{"message": "out of memory"}',
        b'{"error": {"message": "out of memory"}}',
        b"out of memory",
    ):
        with pytest.raises(ServiceUnavailable, match="out of memory"):
            list(ChunkDecoder(PROMPT).feed(b"event: error\ndata: " + data + b"\n\n"))


def test_pings_are_no_chunks() -> None:
    assert decoded(b"event: ping\ndata: x\n\n" + lines(HELLO) + b"event: ping\ndata: {}\n\n" + lines(END))[
        0
    ] == (TextDelta("Hello"))


def test_chunks_in_several_lines_of_data_are_one() -> None:
    pretty = b'data: {"choices": [{"delta":\ndata:   {"content": "Hello"}}]}\n\n'
    assert text_of(decoded(b"\xef\xbb\xbf" + pretty.replace(b"\n", b"\r") + lines(END))) == "Hello"
