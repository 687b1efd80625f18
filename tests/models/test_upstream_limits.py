"""
An upstream's answer has limits, whatever it is made of: bytes, characters, calls, seconds, and silence.

Before the first event a limit is a 503; after it the stream ends with a failure, and its credits come back.
"""

import asyncio
import json
from collections.abc import Iterator

import httpx2 as httpx
import pytest
from aiohttp import web
from websockets.sync.client import connect

from tests.conftest import running_server
from tests.support.upstream_stage import CHAT, RESPONSES, Stage, assert_failed, events_of, said_in
from tests.support.upstream_stub import (
    DONE,
    FINISH,
    Behaviour,
    chunk,
    opened,
    running_upstream,
    sends,
    text,
)

MOST_BYTES, MOST_CHARACTERS = 2_000_000, 300_000
WORDS = "words " * 1000


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with (
        running_upstream() as upstream,
        running_server(
            tmp_path_factory.mktemp("data"),
            model_backend="upstream",
            upstream_base_url=upstream.url,
            upstream_model="stub",
            upstream_first_byte_timeout_seconds=1.0,
            upstream_idle_timeout_seconds=0.5,
            upstream_total_seconds=3.0,
            upstream_max_bytes=MOST_BYTES,
            upstream_max_characters=MOST_CHARACTERS,
            upstream_retries=0,
        ) as served,
    ):
        yield Stage(served, upstream)


def endless(piece: bytes, *, first: bytes = b"", pause_seconds: float = 0.0) -> Behaviour:
    async def behave(request: web.Request) -> web.StreamResponse:
        response = await opened(request)
        if first:
            await response.write(first)
        while True:
            await response.write(piece)
            if pause_seconds:
                await asyncio.sleep(pause_seconds)

    return behave


def call(index: int, **function: str) -> bytes:
    return chunk({"tool_calls": [{"index": index, "id": f"call_{index}", "function": function}]})


STARTED = text("It began. ")
ENDLESS: dict[str, tuple[Behaviour, str]] = {
    "text": (endless(text(WORDS)), "longer than"),
    "text in one line": (endless(b"x" * 300_000, first=STARTED + b"data: "), "more than this server reads"),
    "empty lines": (endless(b"\n" * 300_000, first=STARTED), "more than this server reads"),
    "large comments": (endless(b": " + b"x" * 300_000 + b"\n", first=STARTED), "more than this server"),
    "comments now and then": (endless(b": alive\n\n", first=STARTED, pause_seconds=0.1), "in time"),
    "comments and nothing else": (endless(b": alive\n\n", pause_seconds=0.1), "in time"),
    "other fields now and then": (endless(b"event: ping\n\n", first=STARTED, pause_seconds=0.1), "in time"),
    "empty chunks now and then": (endless(b'data: {"choices":[]}\n\n', pause_seconds=0.1), "in time"),
    "words now and then": (endless(text("on and "), first=STARTED, pause_seconds=0.1), "in time"),
    "arguments": (endless(call(0, arguments="x" * 5000), first=call(0, name="f")), "longer than"),
    "refusals": (endless(chunk({"refusal": WORDS})), "longer than"),
    "calls": (sends(*(call(n, name="f", arguments="{}") for n in range(1000))), "too many tool calls"),
}


@pytest.mark.parametrize("path", [RESPONSES, CHAT])
@pytest.mark.parametrize("kind", ENDLESS)
def test_an_endless_answer_fails_after_its_stream_began(stage: Stage, path: str, kind: str) -> None:
    behaviour, words = ENDLESS[kind]
    stage.upstream.script = [behaviour]
    stage.upstream.asked.clear()

    answer = stage.ask(path, stream=True)

    assert answer.status_code == 200
    events = events_of(answer)
    assert words in assert_failed(events)
    assert len(said_in(events)) <= MOST_CHARACTERS
    stage.upstream.wait_until_busy(0)


@pytest.mark.parametrize("path", [RESPONSES, CHAT])
@pytest.mark.parametrize("kind", ["text", "large comments", "comments and nothing else", "arguments"])
def test_an_endless_answer_that_is_not_streamed_is_a_503(stage: Stage, path: str, kind: str) -> None:
    behaviour, words = ENDLESS[kind]
    stage.upstream.script = [behaviour]
    stage.upstream.asked.clear()

    answer = stage.ask(path, stream=False)

    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "service_unavailable"
    assert words in answer.json()["error"]["message"]
    assert answer.headers["retry-after"]


@pytest.mark.parametrize(
    "kind", ["text", "text in one line", "large comments", "comments and nothing else", "arguments"]
)
def test_an_endless_answer_fails_over_a_websocket_and_the_next_turn_is_answered(
    stage: Stage, kind: str
) -> None:
    behaviour, words = ENDLESS[kind]
    stage.upstream.script = [behaviour, sends(text("It is over."), FINISH, DONE)]
    stage.upstream.asked.clear()
    turn = json.dumps({"type": "response.create", "model": "mavera-1", "input": "Would you pay?"})
    url = stage.served.base_url.replace("http", "ws", 1) + RESPONSES

    with connect(url, additional_headers=stage.served.headers, max_size=None) as connection:
        connection.send(turn)
        events = [json.loads(connection.recv(timeout=20))]
        while not events[-1]["type"].startswith(("response.failed", "response.completed", "error")):
            events.append(json.loads(connection.recv(timeout=20)))
        stage.upstream.wait_until_busy(0)
        connection.send(turn)
        after = ""
        while not after.startswith(("response.failed", "response.completed", "error")):
            after = json.loads(connection.recv(timeout=20))["type"]

    assert events[-1]["type"] == "response.failed"
    assert words in events[-1]["response"]["error"]["message"]
    assert (
        sum(len(e["delta"]) for e in events if e["type"] == "response.output_text.delta") <= MOST_CHARACTERS
    )
    assert after == "response.completed"


def test_a_whole_answer_beyond_the_limit_is_a_503(stage: Stage) -> None:
    body = b'{"choices":[{"message":{"content":"%b"},"finish_reason":"stop"}]}' % (b"x" * 3_000_000)
    stage.upstream.script = [sends(body, content_type="application/json")]
    assert stage.ask(CHAT, stream=False).status_code == 503


def test_a_long_answer_within_the_limits_comes_whole(stage: Stage) -> None:
    stage.upstream.script = [sends(*[text(WORDS)] * 40, b": alive\n" * 1000, FINISH, DONE)]
    answer = stage.ask(RESPONSES, stream=True)
    assert said_in(events_of(answer)) == WORDS * 40


def test_failed_answers_cost_nothing(stage: Stage) -> None:
    def used() -> int:
        usage = httpx.get(f"{stage.served.base_url}/usage", headers=stage.served.headers).json()
        return int(usage["credits"]["used"])

    before = used()
    stage.upstream.script = [ENDLESS["text"][0]]
    stage.ask(CHAT, stream=False)
    assert used() == before
