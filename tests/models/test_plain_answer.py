"""A plain whole answer is read in one step, and comes to the same events as in the decoder of chunks."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mavera.core.events import ModelEvent, RunCompleted, TextDelta
from mavera.core.items import make_message
from mavera.core.prompt import Prompt
from mavera.core.usage import Usage
from mavera.models.chunk_decoder import ChunkDecoder, join_deltas
from mavera.models.plain_answer import read_plain_answer

PROMPT = Prompt((make_message("user", "Hm?"),))
COUNTS = {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}


def body_of(message: Any, *, choice: Any = None, **members: Any) -> bytes:
    whole = {"index": 0, "message": message, "finish_reason": "stop", **(choice or {})}
    return json.dumps({"id": "chatcmpl-1", "choices": [whole], "usage": COUNTS, **members}).encode()


def decode(body: bytes) -> list[ModelEvent]:
    decoder = ChunkDecoder(PROMPT)
    return [*join_deltas((*decoder.feed_body(body), *decoder.close()))]


@pytest.mark.parametrize(
    "body",
    [
        body_of({"role": "assistant", "content": "Hello"}),
        body_of({"content": "Hello", "refusal": None, "annotations": [], "tool_calls": []}),
        body_of({"content": "Hello", "reasoning_content": ""}, object="chat.completion"),
        body_of({"content": "Hello"}, choice={"finish_reason": "length", "logprobs": None}),
        body_of({"content": " \n[a list] ◁ and more"}),
        body_of(
            {"content": "Hello"},
            usage={
                **COUNTS,
                "prompt_tokens_details": {"cached_tokens": 5, "audio_tokens": 0},
                "completion_tokens_details": {"reasoning_tokens": 1},
            },
        ),
    ],
)
def test_a_plain_answer_is_read_in_one_step(body: bytes) -> None:
    plain = read_plain_answer(body, splits_thoughts=False)

    assert plain is not None
    assert list(plain) == decode(body)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"oops",
        body_of({"content": None}),
        body_of({"content": ""}),
        body_of({"content": [{"type": "text", "text": "Hello"}]}),
        body_of({"content": "Hello", "reasoning": "Hm."}),
        body_of({"content": "Hello", "thinking_blocks": [{"thinking": "Hm."}]}),
        body_of({"content": "Hello", "refusal": "No."}),
        body_of({"content": "Hello", "tool_calls": [{"id": "a", "function": {"name": "f"}}]}),
        body_of({"content": "Hello", "function_call": {"name": "f", "arguments": ""}}),
        body_of({"content": "Hello"}, choice={"finish_reason": "error"}),
        body_of({"content": "Hello"}, choice={"finish_reason": None}),
        body_of({"content": "Hello"}, choice={"index": 1}),
        body_of({"content": "Hello"}, choice={"logprobs": {"content": []}}),
        body_of({"content": "Hello"}, choice={"delta": {"content": "Hi"}}),
        body_of({"content": "Hello"}, error={"message": "out of memory"}),
        body_of({"content": "Hello"}, object="error"),
        body_of({"content": "Hello"}, analysis={"method": "x"}),
        body_of({"content": "Hello"}, usage=None),
        body_of({"content": "Hello"}, usage={"input_tokens": 7, "output_tokens": 2}),
        body_of({"content": "Hello"}, usage={**COUNTS, "prompt_tokens": -1}),
        body_of({"content": "Hello"}, usage={**COUNTS, "prompt_cache_hit_tokens": 5}),
    ],
)
def test_an_answer_with_anything_more_is_left_to_the_decoder(body: bytes) -> None:
    assert read_plain_answer(body, splits_thoughts=False) is None


@pytest.mark.parametrize("mark", ["<think>", "Hm.</think>Hello", "[THINK]Hm.", " ◁think▷Hm.", "<|channel|>"])
def test_marks_of_reasoning_are_left_to_the_decoder(mark: str) -> None:
    body = body_of({"content": mark})

    assert read_plain_answer(body, splits_thoughts=True) is None
    assert read_plain_answer(body, splits_thoughts=False) == (
        TextDelta(mark),
        RunCompleted("stop", Usage(7, 2)),
    )


texts = st.text() | st.lists(
    st.sampled_from(["<think>", "</think>", "</thinking>", "[THINK]", "<|end|>", " ", "\n", "[", "a", "<"])
).map("".join)
counts = st.none() | st.integers(-1, 9) | st.just(10**30) | st.just("7") | st.floats(allow_nan=False)
details = st.none() | st.dictionaries(st.sampled_from(["cached_tokens", "reasoning_tokens"]), counts)


@given(
    st.fixed_dictionaries(
        {"content": texts},
        optional={
            "refusal": st.sampled_from([None, "", "No."]),
            "reasoning": st.sampled_from([None, "", "Hm."]),
            "tool_calls": st.sampled_from([None, []]),
        },
    ),
    st.fixed_dictionaries(
        {},
        optional={
            "prompt_tokens": counts,
            "completion_tokens": counts,
            "input_tokens": counts,
            "reasoning_tokens": counts,
            "prompt_tokens_details": details,
            "completion_tokens_details": details,
        },
    ),
    st.sampled_from(["stop", "length", "content_filter"]),
)
def test_both_ways_lead_to_the_same_events(message: Any, usage: Any, reason: str) -> None:
    body = body_of(message, choice={"finish_reason": reason}, usage={**COUNTS, **usage})

    plain = read_plain_answer(body, splits_thoughts=True)

    assert plain is None or list(plain) == decode(body)
