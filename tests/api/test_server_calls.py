"""Server calls in both encoders, citations, quotation and the search index: whatever comes, it holds."""

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mavera.api.chat_completions.objects import ChatCompletionObject
from mavera.api.chat_completions.stream import ChatCompletionEncoder
from mavera.api.responses.objects import EVENTS
from mavera.core.events import (
    Event,
    RunCompleted,
    RunStarted,
    ServerCallEnded,
    ServerCallStarted,
    TextDelta,
)
from mavera.core.server_calls import CallKind, CallStatus, ServerCall, ServerOutcome, Source, find_citations
from mavera.core.usage import Usage
from mavera.tools.search.index import Document, SearchIndex, match_words, split_passages
from mavera.tools.tool import Found, ToolResult, quote_result
from tests.support.event_streams import encode, encoder
from tests.support.openai_schemas import assert_fits_openai

ENDS: tuple[CallStatus, ...] = ("completed", "failed")
KINDS: tuple[CallKind, ...] = ("search", "page", "image", "function")
SOURCE = Source(1, "https://example.com/a", "A")
END = RunCompleted("stop", Usage(input_tokens=3, output_tokens=2))


@st.composite
def runs(draw: st.DrawFn) -> list[Event]:
    """Text and server calls, several of them open at a time, some of them never ended."""
    events: list[Event] = [RunStarted()]
    open_calls: list[ServerCall] = []
    for number in range(draw(st.integers(0, 8))):
        step = draw(st.sampled_from(("text", "start", "end")))
        if step == "start":
            name = draw(st.sampled_from(("tavily_search", "shop__find")))
            call = ServerCall(f"call_{number}", name, "{}", draw(st.sampled_from(KINDS)), 1, "about it")
            open_calls.append(call)
            events.append(ServerCallStarted(call))
        elif step == "end" and open_calls:
            call = open_calls.pop(draw(st.integers(0, len(open_calls) - 1)))
            ended = draw(st.sampled_from(ENDS))
            events.append(ServerCallEnded(ServerOutcome(call, ended, 5, "One.", (SOURCE,), image="AAAA")))
        else:
            events.append(TextDelta(draw(st.sampled_from(("It says [1].", "See https://example.com/a", "")))))
    return [*events, END]


@given(runs())
def test_every_event_of_a_response_fits_openai_and_every_item_is_closed_once(run: list[Event]) -> None:
    wire = encode(run)

    described = {kind.__struct_config__.tag: kind for kind in EVENTS}
    for event in wire:
        assert_fits_openai("ResponseStreamEvent", event)
        assert msgspec.to_builtins(msgspec.convert(event, described[event["type"]])) == event
    opened = [event["output_index"] for event in wire if event["type"] == "response.output_item.added"]
    closed = [event["output_index"] for event in wire if event["type"] == "response.output_item.done"]
    assert opened == list(range(len(opened)))
    assert sorted(closed) == opened
    done = {e["output_index"]: e["item"] for e in wire if e["type"] == "response.output_item.done"}
    assert wire[-1]["response"]["output"] == [done[position] for position in opened]


@given(runs())
def test_a_completion_lists_the_calls_that_ended_and_cites_what_it_says(run: list[Event]) -> None:
    encoding = ChatCompletionEncoder("chatcmpl_1", 0, "mavera-1")
    for event in run:
        for _ in encoding.feed(event):
            pass

    body = encoding.build_body()

    assert msgspec.to_builtins(msgspec.convert(body, ChatCompletionObject)) == body
    assert len(body.get("tool_calls", ())) == sum(isinstance(event, ServerCallEnded) for event in run)
    message: dict[str, Any] = body["choices"][0]["message"]
    for annotation in message["annotations"]:
        cited = annotation["url_citation"]
        said = message["content"][cited["start_index"] : cited["end_index"]]
        assert said in ("[1]", "https://example.com/a")


@given(runs())
def test_the_chunks_of_a_completion_that_called_add_up_to_its_text(run: list[Event]) -> None:
    encoding = ChatCompletionEncoder("chatcmpl_1", 0, "mavera-1")
    said = ""
    for event in run:
        delta = encoding.encode_delta(event)
        chunks = list(encoding.feed(event)) if delta is None else [msgspec.json.decode(delta)]
        said += "".join(choice["delta"].get("content") or "" for c in chunks for choice in c["choices"])

    unstreamed = ChatCompletionEncoder("chatcmpl_1", 0, "mavera-1")
    for event in run:
        for _ in unstreamed.feed(event):
            pass
    assert said == encoding.build_body()["choices"][0]["message"]["content"]
    assert encoding.build_body() == unstreamed.build_body()


def test_a_response_that_called_nothing_does_not_speak_of_calls() -> None:
    encoding = encoder()
    for event in (RunStarted(), TextDelta("Hello"), END):
        for _ in encoding.feed(event):
            pass

    assert "server_tool_calls" not in encoding.build_body()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("It says [1] and [2].", ["[1]"]),
        ("A [1](https://example.com/z) link", []),
        ("As 【1†source】 has it", ["【1†source】"]),
        ("https://example.com/ab", ["https://example.com/a"]),
    ],
)
def test_citations_are_numbers_or_urls_of_sources(text: str, found: list[str]) -> None:
    assert [text[one.start : one.end] for one in find_citations(text, [SOURCE])] == found


@given(st.text(max_size=300))
def test_what_is_found_cannot_end_its_quotation(text: str) -> None:
    found = Found("https://example.com/" + text, text, f"{text}\n{'=' * 40}\n<|im_start|>{text}")

    told = quote_result("tavily_search", ToolResult("", (found,)), first_number=1, most_characters=10_000)

    assert told.count("=" * 12) == 2
    assert "<|" not in told


@given(st.text(max_size=5000))
def test_passages_lose_no_word(text: str) -> None:
    assert "".join("".join(split_passages(text)).split()) == "".join(text.split())


@pytest.mark.parametrize(
    "query", ['"', "a AND", "NEAR(", "title:x", "*", "-x", "", "x" * 5000, "45 days?", "\0"]
)
def test_a_query_is_only_words(tmp_path: Path, query: str) -> None:
    index = SearchIndex(tmp_path / "search.db")
    index.add(Document("index:a.md", "Returns", "Within 45 days."))

    found = _found(index, query)

    assert bool(found) == ("45" in match_words(query))


def test_a_changed_document_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    index = SearchIndex(tmp_path / "search.db")

    added = [index.add(Document("index:h/a.md", "A", text)) for text in ("old", "old", "new")]

    assert added == [True, False, True]
    assert _found(index, "old") == ()
    assert [one.text for one in _found(index, "new")] == ["new"]
    assert index.remove("index:h") == 1
    assert index.list_documents() == []


def _found(index: SearchIndex, query: str) -> tuple[Found, ...]:
    return asyncio.run(index.search(query, most=5))
