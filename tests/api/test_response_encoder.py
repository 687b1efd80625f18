"""Whatever a run does, the event stream of the Responses API is well formed and adds up."""

from typing import Any

import msgspec
import pytest
from hypothesis import given

from mavera.api.responses.objects import EVENTS
from mavera.core.events import (
    Event,
    ReasoningDelta,
    RefusalDelta,
    RunCompleted,
    RunFailed,
    RunStarted,
    TextDelta,
    TextWasReasoning,
    ToolCallDelta,
    ToolCallStarted,
)
from mavera.core.usage import Usage
from mavera.errors import ServiceUnavailable
from tests.support.event_streams import Wire, completed_runs, encode, encoder, runs
from tests.support.openai_schemas import assert_fits_openai

HELLO = TextDelta("Hello")
FINISHED = RunCompleted("stop", Usage(input_tokens=3, output_tokens=2))
FAILED = RunFailed(ServiceUnavailable("The model stopped.", retry_after=1))


class Reader:
    """A strict client: it refuses whatever the state it is in does not allow."""

    def __init__(self) -> None:
        self.next_number = 0
        self.items: list[Wire] = []
        self.closed: list[Wire | None] = []
        self.parts: dict[tuple[int, int], Wire] = {}
        self.closed_parts: set[tuple[int, int]] = set()
        self.arguments_done: set[int] = set()
        self.last: Wire | None = None

    def read(self, wire: Wire) -> None:
        assert self.last is None, "nothing comes after the end"
        assert wire["sequence_number"] == self.next_number
        self.next_number += 1
        if "item_id" in wire:
            position = wire["output_index"]
            assert self.items[position]["id"] == wire["item_id"]
            assert self.closed[position] is None
        getattr(self, "on_" + wire["type"].replace(".", "_"))(wire)

    def on_response_created(self, wire: Wire) -> None:
        assert wire["sequence_number"] == 0
        assert (wire["response"]["status"], wire["response"]["output"]) == ("in_progress", [])

    def on_response_in_progress(self, wire: Wire) -> None:
        assert wire["sequence_number"] == 1

    def on_response_output_item_added(self, wire: Wire) -> None:
        item = wire["item"]
        assert wire["output_index"] == len(self.items)
        assert item["id"] not in [known["id"] for known in self.items]
        assert item["status"] == "in_progress"
        assert item.get("content", []) == []
        assert item.get("arguments", "") == item.get("input", "") == ""
        self.items.append(item)
        self.closed.append(None)

    def on_response_content_part_added(self, wire: Wire) -> None:
        at = (wire["output_index"], wire["content_index"])
        before = [index for position, index in self.parts if position == at[0]]
        assert at[1] == len(before)
        assert all((at[0], index) in self.closed_parts for index in before)
        assert wire["part"].get("text", "") == wire["part"].get("refusal", "") == ""
        self.parts[at] = wire["part"]

    def _open_part(self, wire: Wire, kind: str) -> Wire:
        at = (wire["output_index"], wire["content_index"])
        assert at not in self.closed_parts
        assert self.parts[at]["type"] == kind
        return self.parts[at]

    def on_response_output_text_delta(self, wire: Wire) -> None:
        part = self._open_part(wire, "output_text")
        part["text"] += wire["delta"]
        part["logprobs"] += wire["logprobs"]

    def on_response_refusal_delta(self, wire: Wire) -> None:
        self._open_part(wire, "refusal")["refusal"] += wire["delta"]

    def on_response_reasoning_text_delta(self, wire: Wire) -> None:
        self._open_part(wire, "reasoning_text")["text"] += wire["delta"]

    def on_response_reasoning_text_done(self, wire: Wire) -> None:
        assert wire["text"] == self._open_part(wire, "reasoning_text")["text"]

    def on_response_output_text_done(self, wire: Wire) -> None:
        part = self._open_part(wire, "output_text")
        assert (wire["text"], wire["logprobs"]) == (part["text"], part["logprobs"])

    def on_response_refusal_done(self, wire: Wire) -> None:
        assert wire["refusal"] == self._open_part(wire, "refusal")["refusal"]

    def on_response_content_part_done(self, wire: Wire) -> None:
        part = self._open_part(wire, wire["part"]["type"])
        assert wire["part"] == part
        self.closed_parts.add((wire["output_index"], wire["content_index"]))

    def on_response_function_call_arguments_delta(self, wire: Wire) -> None:
        assert wire["output_index"] not in self.arguments_done
        self.items[wire["output_index"]]["arguments"] += wire["delta"]

    def on_response_function_call_arguments_done(self, wire: Wire) -> None:
        item = self.items[wire["output_index"]]
        assert wire["output_index"] not in self.arguments_done
        assert (wire["arguments"], wire["name"]) == (item["arguments"], item["name"])
        self.arguments_done.add(wire["output_index"])

    def on_response_custom_tool_call_input_delta(self, wire: Wire) -> None:
        assert wire["output_index"] not in self.arguments_done
        assert wire["delta"]
        self.items[wire["output_index"]]["input"] += wire["delta"]

    def on_response_custom_tool_call_input_done(self, wire: Wire) -> None:
        assert wire["output_index"] not in self.arguments_done
        assert wire["input"] == self.items[wire["output_index"]]["input"]
        self.arguments_done.add(wire["output_index"])

    def on_response_output_item_done(self, wire: Wire) -> None:
        position, item = wire["output_index"], wire["item"]
        assert self.closed[position] is None
        expected = dict(self.items[position])
        if item["type"] in ("message", "reasoning"):
            own = sorted(at for at in self.parts if at[0] == position)
            assert own, "a message has at least one part"
            assert set(own) <= self.closed_parts
            expected["content"] = [self.parts[at] for at in own]
        else:
            assert position in self.arguments_done
        assert item["status"] in ("completed", "incomplete")
        assert item == {**expected, "status": item["status"]}
        self.closed[position] = item

    def _end(self, wire: Wire) -> None:
        assert wire["response"]["status"] == wire["type"].removeprefix("response.")
        assert wire["response"]["output"] == self.closed
        self.last = wire

    on_response_completed = on_response_incomplete = on_response_failed = _end


@given(runs())
def test_every_run_is_a_stream_that_a_strict_client_can_follow(events: list[Event]) -> None:
    reader = Reader()

    for wire in encode(events):
        reader.read(wire)

    assert reader.last is not None


@given(runs())
def test_nothing_that_the_model_said_is_lost_or_doubled(events: list[Event]) -> None:
    output = encode(events)[-1]["response"]["output"]

    parts = [part for item in output if item["type"] == "message" for part in item["content"]]
    calls = [item for item in output if item["type"] in ("function_call", "custom_tool_call")]
    thoughts = [part for item in output if item["type"] == "reasoning" for part in item["content"]]
    assert "".join(part["text"] for part in thoughts) == _joined(events, ReasoningDelta)
    assert "".join(part.get("text", "") for part in parts) == _joined(events, TextDelta)
    assert "".join(part.get("refusal", "") for part in parts) == _joined(events, RefusalDelta)
    started = [event for event in events if isinstance(event, ToolCallStarted)]
    assert [(call["call_id"], call["name"]) for call in calls] == [(e.call_id, e.name) for e in started]
    for event, call in zip(started, calls, strict=True):
        own = [e for e in events if isinstance(e, ToolCallDelta) and e.index == event.index]
        said = "".join(e.arguments for e in own)
        assert call.get("arguments", said) == said
        # Nothing here has the form of a custom tool's arguments, so all of it is the text.
        assert call.get("input", said) in (said, said[1:-1])


def _joined(events: list[Event], kind: type[TextDelta] | type[RefusalDelta] | type[ReasoningDelta]) -> str:
    return "".join(event.text for event in events if isinstance(event, kind))


@given(runs())
def test_every_event_is_one_that_openai_describes(events: list[Event]) -> None:
    for wire in encode(events):
        assert_fits_openai("ResponseStreamEvent", wire)
        if "response" in wire:
            assert_fits_openai("Response", wire["response"])


@given(runs())
def test_the_short_way_of_a_delta_says_what_the_long_way_does(events: list[Event]) -> None:
    short = encoder()

    wires: list[Wire] = []
    for event in events:
        delta = short.encode_delta(event)
        wires += [msgspec.json.decode(delta)] if delta is not None else list(short.feed(event))

    assert msgspec.json.decode(msgspec.json.encode(wires)) == encode(events)


@given(runs())
def test_every_event_is_one_that_our_own_description_has(events: list[Event]) -> None:
    described = {kind.__struct_config__.tag: kind for kind in EVENTS}

    for wire in encode(events):
        assert msgspec.to_builtins(msgspec.convert(wire, described[wire["type"]])) == wire


@given(completed_runs)
def test_the_unstreamed_body_is_the_last_event_of_the_stream(events: list[Event]) -> None:
    encoding = encoder()
    wires = [wire for event in events for wire in encoding.feed(event)]

    assert encoding.build_body() == wires[-1]["response"]


REQUESTS: dict[str, Wire] = {
    "a function tool": {"tools": [{"type": "function", "name": "f"}]},
    "a tool in full": {
        "tools": [{"type": "function", "name": "f", "description": "d", "parameters": {}, "strict": False}],
        "tool_choice": "required",
    },
    "a tool by name": {
        "tools": [{"type": "function", "name": "f"}],
        "tool_choice": {"type": "function", "name": "f"},
    },
    "a custom tool": {
        "tools": [{"type": "custom", "name": "sh", "description": "Runs a line."}],
        "tool_choice": {"type": "custom", "name": "sh"},
    },
    "a custom tool with a grammar": {
        "tools": [
            {
                "type": "custom",
                "name": "sh",
                "description": "",
                "format": {"type": "grammar", "syntax": "regex", "definition": "ls.*"},
            }
        ],
        "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "custom", "name": "sh"}]},
    },
    "a search for tools": {"tools": [{"type": "tool_search", "execution": "client", "parameters": {}}]},
    "some of the tools": {
        "tools": [{"type": "function", "name": "f"}],
        "tool_choice": {
            "type": "allowed_tools",
            "mode": "auto",
            "tools": [{"type": "function", "name": "f"}],
        },
    },
    "JSON": {"text": {"format": {"type": "json_object"}, "verbosity": "low"}},
    "a schema": {
        "text": {"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True}}
    },
    "a nested schema": {
        "text": {"format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {}}}}
    },
    "reasoning": {"reasoning": {"effort": "high", "summary": "auto"}, "max_output_tokens": 5},
    "the least reasoning": {"reasoning_effort": "none"},
    "sampling": {"temperature": 0, "top_p": 0, "frequency_penalty": -2, "presence_penalty": 2},
    "who asks": {"user": "u", "safety_identifier": "s", "prompt_cache_key": "k", "metadata": {"a": "b"}},
    "a cache for a day": {"prompt_cache_retention": "24h"},
    "a cache in memory": {"prompt_cache_retention": "in_memory"},
    "a cache in memory, as the libraries spell it": {"prompt_cache_retention": "in-memory"},
    "the rest": {
        "instructions": "Be brief.",
        "truncation": "auto",
        "max_tool_calls": 3,
        "parallel_tool_calls": False,
        "previous_response_id": "resp_0",
        "service_tier": "priority",
        "background": True,
        "store": True,
        "top_logprobs": 20,
        "persona_id": "x",
        "conversation": "conv_1",
        "prompt": {"id": "p"},
    },
}


@pytest.mark.parametrize("fields", REQUESTS.values(), ids=REQUESTS.keys())
def test_what_a_response_echoes_is_what_openai_describes(fields: Wire) -> None:
    encoding = encoder(msgspec.json.encode({"model": "mavera-1", "input": "Hm?", **fields}))

    for event in (RunStarted(), HELLO, FINISHED):
        for wire in encoding.feed(event):
            assert_fits_openai("ResponseStreamEvent", msgspec.to_builtins(wire))

    assert_fits_openai("Response", msgspec.to_builtins(encoding.build_body()))


def test_a_failure_says_why_and_keeps_what_was_said() -> None:
    last = encode([RunStarted(), HELLO, FAILED])[-1]

    assert last["type"] == "response.failed"
    assert last["response"]["error"]["message"] == "The model stopped."
    assert last["response"]["error"]["type"] == "service_unavailable"
    assert last["response"]["output"][0]["content"][0]["text"] == "Hello"
    assert last["response"]["output"][0]["status"] == "incomplete"


@pytest.mark.parametrize(
    ("reason", "told"), [("length", "max_output_tokens"), ("content_filter", "content_filter")]
)
def test_an_answer_cut_off_is_incomplete_and_says_why(reason: Any, told: str) -> None:
    last = encode([RunStarted(), HELLO, RunCompleted(reason, Usage())])[-1]

    assert last["type"] == "response.incomplete"
    assert last["response"]["incomplete_details"] == {"reason": told}
    assert last["response"]["output"][0]["status"] == "incomplete"


def test_an_empty_answer_is_a_message_with_an_empty_text() -> None:
    output = encode([RunStarted(), FINISHED])[-1]["response"]["output"]

    assert [part["text"] for part in output[0]["content"]] == [""]


@pytest.mark.parametrize("fed", [[], [RunStarted()], [RunStarted(), HELLO]])
def test_a_run_that_has_not_ended_has_no_body(fed: list[Event]) -> None:
    encoding = encoder()
    for event in fed:
        list(encoding.feed(event))

    with pytest.raises(RuntimeError):
        encoding.build_body()


def test_text_that_turns_out_to_be_reasoning_becomes_a_reasoning_item_before_the_message() -> None:
    whole = encoder()
    for event in (RunStarted(), TextDelta("Hm."), TextWasReasoning(), HELLO, FINISHED):
        whole.take(event)

    thought, message = whole.build_body()["output"]
    assert (thought["type"], thought["content"][0]["text"]) == ("reasoning", "Hm.")
    assert message["content"][0]["text"] == "Hello"


def test_reasoning_that_is_dropped_leaves_the_message_alone() -> None:
    whole = encoder()
    for event in (RunStarted(), TextDelta("Hm."), TextWasReasoning(is_shown=False), HELLO, FINISHED):
        whole.take(event)

    assert [item["type"] for item in whole.build_body()["output"]] == ["message"]
