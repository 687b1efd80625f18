"""A stream that waits in the queue before the model opens, beats, and ends as any other stream does."""

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import httpx2 as httpx
import pytest
from websockets.sync.client import ClientConnection, connect

from mavera.core.events import ModelEvent
from mavera.core.prompt import Prompt
from mavera.errors import ServiceUnavailable
from mavera.models.scripted import ScriptedModel
from tests.conftest import Serve, Served
from tests.support.openai_schemas import assert_fits_openai
from tests.support.team import ASK, Team, team

CHAT: Any = {"model": "mavera-1", "messages": [{"role": "user", "content": "Would you pay?"}]}
BODIES: dict[str, Any] = {"/responses": ASK, "/chat/completions": CHAT}
HEARTBEAT = ": still here"

both_formats = pytest.mark.parametrize("path", list(BODIES))


class Gated(ScriptedModel):
    """Answers one turn after the other, each as soon as the test lets it; it may fail the second one."""

    def __init__(self, *, fails_second: bool = False) -> None:
        super().__init__(["I would pay."])
        self._fails_second = fails_second
        self._asked = 0

    async def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._opened = asyncio.Event()

    def open(self) -> None:
        """Let the turn that waits, and all after it, be answered."""
        self._loop.call_soon_threadsafe(self._opened.set)

    async def stream(self, prompt: Prompt) -> AsyncGenerator[ModelEvent, None]:
        self._asked += 1
        if self._asked == 2 and self._fails_second:
            raise ServiceUnavailable("The model is down.", retry_after=7)
        self.running += 1
        try:
            await self._opened.wait()
        finally:
            self.running -= 1
        async for event in super().stream(prompt):
            yield event


class Stage:
    """A server with one place at the model, which a first request has taken."""

    def __init__(self, serve: Serve, stack: ExitStack, **options: Any) -> None:
        waiting = options.pop("max_waiting", 4)
        self.model = Gated(**options)
        self.served: Served = serve(self.model, max_running=1, max_waiting=waiting, heartbeat_seconds=0.05)
        self.team: Team = team(self.served)
        self._stack = stack
        self.first = self.stream("/responses").iter_lines()  # kept: an iterator that is dropped disconnects
        assert next(self.first) == "event: response.created"

    def stream(self, path: str, **members: Any) -> httpx.Response:
        """Return a streamed answer, of which the head has come."""
        headers = {"Authorization": f"Bearer {self.team.key}"}
        url = self.served.base_url + path
        body = {**BODIES[path], "stream": True, **members}
        client = self._stack.enter_context(httpx.Client(timeout=10, verify=False))
        return self._stack.enter_context(client.stream("POST", url, json=body, headers=headers))

    def websocket(self) -> ClientConnection:
        """Return a connection over which a turn has been asked."""
        url = self.served.url.replace("http", "ws", 1) + "/api/v1/responses"
        headers = {"Authorization": f"Bearer {self.team.key}"}
        connection = self._stack.enter_context(connect(url, additional_headers=headers, max_size=None))
        connection.send(json.dumps({"type": "response.create", **ASK}))
        return connection

    def held(self) -> int:
        [row] = self.team.rows("SELECT COUNT(*) AS n FROM reservations")
        return int(row["n"])

    def is_first_going_on(self) -> bool:
        return self.model.running == 1


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def events_of(lines: Iterator[str]) -> list[dict[str, Any]]:
    data = [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]
    assert data[-1] == "[DONE]"
    return [json.loads(each) for each in data[:-1]]


@both_formats
def test_an_unknown_persona_is_a_status_though_the_queue_is_long(
    serve: Serve, stack: ExitStack, path: str
) -> None:
    stage = Stage(serve, stack)

    refused = stage.team.post(path, {**BODIES[path], "stream": True, "persona_id": "c" * 25})

    assert stage.is_first_going_on()
    assert (refused.status_code, refused.json()["error"]["code"]) == (404, "persona_not_found")
    assert stage.held() == 1


@both_formats
def test_a_refused_image_is_a_status_though_the_queue_is_long(
    serve: Serve, stack: ExitStack, path: str
) -> None:
    stage = Stage(serve, stack)
    url = "data:image/png;base64,bm8gaW1hZ2U="
    part: Any = {"type": "input_image", "image_url": url}
    body: dict[str, Any] = {"input": [{"role": "user", "content": [part]}]}
    if path != "/responses":
        part = {"type": "image_url", "image_url": {"url": url}}
        body = {"messages": [{"role": "user", "content": [part]}]}

    refused = stage.team.post(path, {"model": "mavera-1", "stream": True, **body})

    assert stage.is_first_going_on()
    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "validation_error")
    assert stage.held() == 1


@both_formats
def test_head_first_event_and_heartbeats_come_while_another_run_goes_on(
    serve: Serve, stack: ExitStack, path: str
) -> None:
    stage = Stage(serve, stack)

    queued = stage.stream(path)
    lines = queued.iter_lines()
    beats = 0
    while beats < 3:
        beats += next(lines) == HEARTBEAT

    assert queued.status_code == 200
    assert queued.headers["content-type"].startswith("text/event-stream")
    assert stage.is_first_going_on()
    assert stage.held() == 2


@both_formats
def test_a_stream_that_was_queued_is_answered_and_charged(serve: Serve, stack: ExitStack, path: str) -> None:
    stage = Stage(serve, stack)
    queued = stage.stream(path)

    stage.model.open()
    events = events_of(queued.iter_lines())

    if path == "/responses":
        assert [event["type"] for event in events[:3]] == [
            "response.created",
            "response.in_progress",
            "response.output_item.added",
        ]
        assert [event["sequence_number"] for event in events] == list(range(len(events)))
        assert events[-1]["response"]["output"][0]["content"][0]["text"] == "I would pay."
        for event in events:
            assert_fits_openai("ResponseStreamEvent", event)
    else:
        roles = [event["choices"][0]["delta"].get("role") for event in events]
        assert roles == ["assistant", *[None] * (len(events) - 1)]
        assert (
            "".join(event["choices"][0]["delta"].get("content") or "" for event in events) == "I would pay."
        )
    assert [row["credits"] for row in stage.team.settled(2)] == [1, 1]


@both_formats
def test_a_refusal_after_the_queue_is_the_last_event_and_costs_nothing(
    serve: Serve, stack: ExitStack, path: str
) -> None:
    stage = Stage(serve, stack, fails_second=True)
    queued = stage.stream(path)

    stage.model.open()
    last = events_of(queued.iter_lines())[-1]

    failure = last["response"]["error"] if path == "/responses" else last["error"]
    assert failure["message"] == "The model is down."
    assert sorted((row["status"], row["credits"]) for row in stage.team.settled(2)) == [
        ("completed", 1),
        ("failed", 0),
    ]


def test_a_full_queue_is_a_status_at_once(serve: Serve, stack: ExitStack) -> None:
    stage = Stage(serve, stack, max_waiting=1)
    queued = stage.stream("/responses")

    refused = stage.stream("/responses")

    assert (queued.status_code, refused.status_code) == (200, 503)
    assert "retry-after" in refused.headers
    assert stage.is_first_going_on()


@pytest.mark.parametrize("over", ["/responses", "/chat/completions", "websocket"])
def test_a_client_that_leaves_the_queue_frees_its_place_and_its_credits(
    serve: Serve, stack: ExitStack, over: str
) -> None:
    stage = Stage(serve, stack, max_waiting=1)
    if over == "websocket":
        connection = stage.websocket()
        connection.recv(timeout=10)
        assert stage.held() == 2
        connection.close()
    else:
        queued = stage.stream(over)
        assert stage.held() == 2
        queued.close()

    wait_until(lambda: stage.held() == 1)
    again = stage.stream("/responses")  # the place is free: this one is not refused

    assert again.status_code == 200
    assert stage.is_first_going_on()


def test_a_turn_over_a_websocket_begins_while_another_run_goes_on(serve: Serve, stack: ExitStack) -> None:
    stage = Stage(serve, stack)

    connection = stage.websocket()
    begun = [json.loads(connection.recv(timeout=10))["type"] for _ in range(2)]

    assert begun == ["response.created", "response.in_progress"]
    assert stage.is_first_going_on()

    stage.model.open()
    types = []
    while "response.completed" not in types:
        types.append(json.loads(connection.recv(timeout=10))["type"])
    assert "response.created" not in types
    stage.team.settled(2)


def test_an_answer_in_one_piece_stays_one_status(serve: Serve, stack: ExitStack) -> None:
    stage = Stage(serve, stack, fails_second=True)

    with ThreadPoolExecutor(1) as pool:
        queued = pool.submit(stage.team.post)
        wait_until(lambda: stage.held() == 2)
        stage.model.open()
        answer = queued.result()

    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "7"
