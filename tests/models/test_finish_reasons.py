"""Half an answer never counts as a whole one, whatever its server calls the reason."""

import asyncio
from contextlib import aclosing

import pytest
from structlog.testing import capture_logs

from mavera.core.events import RunCompleted
from mavera.errors import ServiceUnavailable
from mavera.models.chunk_decoder import ChunkDecoder
from mavera.models.endpoint import Endpoint
from mavera.models.finish_reasons import ENDINGS, ending_of
from mavera.models.upstream import UpstreamModel, UpstreamOptions
from tests.models.test_chat_wire import PROMPT, call, chunk, decoded, lines
from tests.support.upstream_stub import running_upstream, sends

GOOD = [(ending, name) for ending in ENDINGS if ending != "failed" for name in sorted(ENDINGS[ending])]


def test_no_reason_stands_in_two_lists() -> None:
    names = [name for names in ENDINGS.values() for name in names]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(("ending", "name"), GOOD)
def test_documented_reasons_are_told_as_one_of_four(ending: str, name: str) -> None:
    for told in (name, name.upper(), name.title().replace("_", "-"), name.replace("_", " ")):
        begun = [call("f", "{}", index=0)] if ending == "tool_calls" else [chunk({"content": "Half an ans"})]
        finished = decoded(lines(*begun, chunk(reason=told)))[-1]
        assert isinstance(finished, RunCompleted)
        assert finished.reason == ending


@pytest.mark.parametrize("name", sorted(ENDINGS["failed"]))
def test_documented_failures_are_failures(name: str) -> None:
    for told in (name, name.upper()):
        with pytest.raises(ServiceUnavailable, match="ended with"):
            decoded(lines(chunk({"content": "Half an ans"}), chunk(reason=told)))


def test_reasons_with_a_detail_are_known_by_their_first_word() -> None:
    assert ending_of("content_filter: RECITATION") == "content_filter"
    assert ending_of("function_call_filter: MALFORMED_FUNCTION_CALL") == "failed"


@pytest.mark.parametrize("reason", ["OTHER", "of_our_own", 7, True, ["x"], {"type": "odd"}])
def test_an_unknown_reason_is_incomplete_and_noted(reason: object) -> None:
    decoder = ChunkDecoder(PROMPT)
    list(decoder.feed(lines(chunk({"content": "Half an ans"}), chunk(reason=reason))))
    finished = list(decoder.close())[-1]
    assert isinstance(finished, RunCompleted)
    assert finished.reason == "length"
    assert decoder.unknown_reason


def test_a_reason_in_an_object_is_read() -> None:
    finished = decoded(lines(chunk({"content": "x"}), chunk(reason={"type": "stop", "matched": 2})))[-1]
    assert isinstance(finished, RunCompleted)
    assert finished.reason == "stop"


@pytest.mark.parametrize("reason", [None, "", 0, "null", "FINISH_REASON_UNSPECIFIED", {}, []])
def test_words_for_no_reason_yet_end_nothing(reason: object) -> None:
    with pytest.raises(ServiceUnavailable, match="before its answer was finished"):
        decoded(lines(chunk({"content": "x"}), chunk(reason=reason)))


def test_what_was_cut_stays_cut() -> None:
    finished = decoded(lines(chunk({"content": "x"}), chunk(reason="length"), chunk(reason="stop")))[-1]
    assert isinstance(finished, RunCompleted)
    assert finished.reason == "length"


def test_a_promise_of_calls_that_never_came_is_a_plain_end() -> None:
    finished = decoded(lines(chunk({"content": "x"}), chunk(reason="tool_calls")))[-1]
    assert isinstance(finished, RunCompleted)
    assert finished.reason == "stop"


async def ask_twice(url: str) -> None:
    async def endpoint() -> Endpoint:
        return Endpoint(url)

    model = UpstreamModel(endpoint, UpstreamOptions(model="stub"))
    for _ in range(2):
        async with aclosing(model.stream(PROMPT)) as events:
            assert [event async for event in events]
    await model.close()


def test_an_unknown_reason_is_logged_once() -> None:
    with running_upstream() as upstream, capture_logs() as logs:
        upstream.script = [sends(lines(chunk({"content": "x"}), chunk(reason="of_our_own")))]
        asyncio.run(ask_twice(upstream.url))

    found = [one["reason"] for one in logs if one["event"] == "unknown_finish_reason"]
    assert found == ["of_our_own"]
