"""WebSocket mode of /responses, by the official client and by hand."""

import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from mavera.errors import ServiceUnavailable
from mavera.models.scripted import ScriptedModel
from tests.conftest import Serve, Served
from tests.support.openai_schemas import assert_fits_openai

# The official client calls `connect` of the newest websockets in a way that one has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:connect\\(\\) must be used:DeprecationWarning")

ENDS = ("response.completed", "response.incomplete", "response.failed", "error")
TURN: dict[str, Any] = {"type": "response.create", "model": "mavera-1", "input": "Would you pay?"}
CALL: dict[str, Any] = {"type": "function", "name": "look_up", "parameters": {"type": "object"}}


@contextmanager
def connected(served: Served, key: str | None = None, prefix: str = "/api/v1") -> Iterator[ClientConnection]:
    url = served.url.replace("http", "ws", 1) + prefix + "/responses"
    headers = {"Authorization": f"Bearer {served.key if key is None else key}"}
    with connect(url, additional_headers=headers, max_size=None) as connection:
        yield connection


def events_of(connection: ClientConnection) -> list[dict[str, Any]]:
    """Return the events up to one that ends a turn."""
    events: list[dict[str, Any]] = []
    while not events or events[-1]["type"] not in ENDS:
        events.append(json.loads(connection.recv(timeout=10)))
    return events


def ask(connection: ClientConnection, **members: Any) -> list[dict[str, Any]]:
    connection.send(json.dumps({**TURN, **members}))
    return events_of(connection)


def test_the_official_client_gets_the_events_of_a_stream(serve: Serve) -> None:
    served = serve()
    client = served.client()

    with client.responses.connect() as connection:
        connection.response.create(model="mavera-1", input="Would you pay?")
        over_websocket = []
        for event in connection:
            over_websocket.append(event)
            if event.type in ENDS:
                break
    over_http = list(client.responses.create(model="mavera-1", input="Would you pay?", stream=True))

    assert [event.type for event in over_websocket] == [event.type for event in over_http]
    assert [event.sequence_number for event in over_websocket] == list(range(len(over_websocket)))
    assert over_websocket[-1].response.output_text == over_http[-1].response.output_text  # type: ignore[union-attr]


def test_every_event_is_one_that_openai_describes(serve: Serve) -> None:
    with connected(serve(), prefix="/v1") as connection:
        for event in ask(connection, tools=[CALL], tool_choice="required"):
            assert_fits_openai("ResponseStreamEvent", event)


def test_a_turn_goes_on_from_a_response_of_its_connection(serve: Serve) -> None:
    model = ScriptedModel()
    with connected(serve(model)) as connection:
        first = ask(connection, input="My name is Ada.")[-1]["response"]
        second = ask(connection, input="Who am I?", previous_response_id=first["id"])[-1]["response"]
        ask(connection, input="And now?", previous_response_id=second["id"])

    said = [item.text for item in model.prompts[-1].items]  # type: ignore[union-attr]
    assert said == [
        "My name is Ada.",
        "This is a scripted answer to: My name is Ada.",
        "Who am I?",
        "This is a scripted answer to: Who am I?",
        "And now?",
    ]
    assert second["previous_response_id"] == first["id"]


def test_a_call_is_answered_with_its_output_alone(serve: Serve) -> None:
    with connected(serve()) as connection:
        first = ask(connection, tools=[CALL], tool_choice="required")[-1]["response"]
        call_id = first["output"][0]["call_id"]
        output = {"type": "function_call_output", "call_id": call_id, "output": "12 degrees"}
        second = ask(connection, input=[output], previous_response_id=first["id"])[-1]

    assert second["type"] == "response.completed"


def test_a_warm_up_is_remembered_and_says_nothing(serve: Serve) -> None:
    model = ScriptedModel()
    with connected(serve(model)) as connection:
        warm = ask(connection, input="My name is Ada.", generate=False)
        assert model.prompts == []
        ask(connection, input="Who am I?", previous_response_id=warm[-1]["response"]["id"])
        empty = ask(connection, input=[], generate=False)

    assert [event["type"] for event in warm] == [
        "response.created",
        "response.in_progress",
        "response.completed",
    ]
    assert warm[-1]["response"]["output"] == []
    assert [item.text for item in model.prompts[0].items] == ["My name is Ada.", "Who am I?"]  # type: ignore[union-attr]
    assert empty[-1]["type"] == "response.completed"


def test_a_response_of_another_connection_is_not_found_unless_it_is_kept(serve: Serve) -> None:
    served = serve()
    with connected(served) as connection:
        first = ask(connection, store=False)[-1]["response"]
    with connected(served) as connection:
        [refusal] = ask(connection, previous_response_id=first["id"], stream_id="a")
        recovered = ask(connection)[-1]
    with connected(served) as connection:
        kept = recovered["response"]["id"]
        found = ask(connection, previous_response_id=kept)[-1]["response"]

    assert found["previous_response_id"] == kept
    assert (refusal["status"], refusal["stream_id"]) == (400, "a")
    assert refusal["error"]["code"] == "previous_response_not_found"
    assert refusal["error"]["param"] == "previous_response_id"
    assert recovered["type"] == "response.completed"


@pytest.mark.parametrize(
    "fault",
    [
        {"input": [{"type": "function_call_output", "call_id": "call_missing", "output": "?"}]},
        {"temperature": 9},
        {"temprature": 1},
        {"input": "x" * 100_001},
    ],
)
def test_a_turn_that_fails_takes_what_it_continued_with_it(serve: Serve, fault: dict[str, Any]) -> None:
    with connected(serve()) as connection:
        first = ask(connection)[-1]["response"]
        failed = ask(connection, previous_response_id=first["id"], **fault)[-1]
        again = ask(connection, previous_response_id=first["id"])[-1]

    assert failed["type"] == "error"
    assert failed["status"] in (400, 422)
    assert again["error"]["code"] == "previous_response_not_found"


def test_a_model_that_fails_on_the_way_ends_the_response_and_not_the_connection(serve: Serve) -> None:
    model = ScriptedModel(["One ", "two."], fail_after=1, failure=ServiceUnavailable("It broke."))
    with connected(serve(model)) as connection:
        failed = ask(connection)[-1]
        again = ask(connection, previous_response_id=failed["response"]["id"])[-1]

    assert failed["type"] == "response.failed"
    assert again["error"]["code"] == "previous_response_not_found"


def test_a_refusal_of_the_model_is_an_error_with_the_status_of_http(serve: Serve) -> None:
    model = ScriptedModel(fail_after=-1, failure=ServiceUnavailable("It is away.", retry_after=7))
    with connected(serve(model)) as connection:
        [refusal] = ask(connection)

    assert (refusal["status"], refusal["error"]["code"]) == (503, "service_unavailable")
    assert refusal["headers"] == {"Retry-After": "7"}


@pytest.mark.parametrize(
    ("message", "status", "param"),
    [
        ("hello", 400, None),
        ("[]", 400, None),
        ("{}", 400, "model"),
        ('{"type": "response.cancel", "model": "mavera-1", "input": "x"}', 422, "type"),
        ('{"type": "response.create", "input": "x"}', 400, "model"),
        ('{"type": "response.create", "model": "mavera-1"}', 400, "input"),
        ('{"type": "response.create", "model": "gpt-5", "input": "x"}', 422, "model"),
        (b"\x00\x01", 400, None),
        (json.dumps(TURN)[:-1] + ', "moderation": {"a": ' + "[" * 200 + "]" * 200 + "}}", 400, None),
        (json.dumps(TURN)[:-1] + ', "moderation": {"a": [' + "1," * 50_000 + "1]}}", 413, None),
    ],
)
def test_what_is_no_turn_is_an_error_and_the_next_one_is_answered(
    serve: Serve, message: str | bytes, status: int, param: str | None
) -> None:
    with connected(serve()) as connection:
        connection.send(message)
        [refusal] = events_of(connection)
        answered = ask(connection)[-1]

    assert (refusal["status"], refusal["error"]["param"]) == (status, param)
    assert answered["type"] == "response.completed"


@pytest.mark.parametrize("key", ["", "mvra_live_wrong"])
def test_a_key_that_is_not_good_is_refused_before_the_connection_opens(serve: Serve, key: str) -> None:
    with pytest.raises(InvalidStatus) as refused, connected(serve(), key):
        pass

    assert refused.value.response.status_code == 401
    assert json.loads(refused.value.response.body)["error"]["code"] == "unauthorized"


def test_turns_are_answered_one_after_the_other(serve: Serve) -> None:
    model = ScriptedModel(delay_seconds=0.01)
    with connected(serve(model)) as connection:
        for number in range(3):
            connection.send(json.dumps({**TURN, "input": f"Question {number}"}))
        turns = [events_of(connection) for _ in range(3)]

    ids = [{event["response"]["id"] for event in turn if "response" in event} for turn in turns]
    assert [len(found) for found in ids] == [1, 1, 1]
    answers = [turn[-1]["response"]["output"][0]["content"][0]["text"] for turn in turns]
    assert [answer[-10:] for answer in answers] == ["Question 0", "Question 1", "Question 2"]


def test_more_turns_than_may_wait_are_refused(serve: Serve) -> None:
    model = ScriptedModel(delay_seconds=0.1)
    with connected(serve(model)) as connection:
        for _ in range(12):
            connection.send(json.dumps(TURN))
        ended = [events_of(connection)[-1] for _ in range(4)]

    refused = [event for event in ended if event["type"] == "error"]
    assert refused
    assert {event["error"]["code"] for event in refused} == {"rate_limit_exceeded"}


def test_a_client_that_leaves_stops_the_run(serve: Serve) -> None:
    model = ScriptedModel(["word "] * 1000, delay_seconds=0.05)
    with connected(serve(model)) as connection:
        connection.send(json.dumps(TURN))
        while json.loads(connection.recv(timeout=10))["type"] != "response.output_text.delta":
            pass
        assert model.running == 1

    deadline = time.monotonic() + 4
    while model.running:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_turn_is_counted_and_charged_as_over_http(serve: Serve) -> None:
    served = serve()
    with connected(served) as connection:
        usage = ask(connection)[-1]["response"]["usage"]
    over_http = served.client().responses.create(model="mavera-1", input="Would you pay?")

    assert over_http.usage is not None
    assert usage == over_http.usage.to_dict()
    assert usage["credits_used"] > 0


def test_a_connection_ends_when_it_has_lasted_long_enough(serve: Serve) -> None:
    with connected(serve(websocket_seconds=0.2)) as connection:
        limit = json.loads(connection.recv(timeout=10))
        with pytest.raises(ConnectionClosed):
            connection.recv(timeout=10)

    assert limit["error"]["code"] == "websocket_connection_limit_reached"


def test_many_connections_are_answered_at_once(serve: Serve) -> None:
    served = serve(ScriptedModel(delay_seconds=0.02))

    async def one(number: int) -> str:
        async with served.async_client() as client, client.responses.connect() as connection:
            await connection.response.create(model="mavera-1", input=f"Question {number}")
            async for event in connection:
                if event.type == "response.completed":
                    return event.response.output_text
        raise AssertionError("no answer")

    async def all_of_them() -> list[str]:
        return await asyncio.gather(*(one(number) for number in range(10)))

    answers = asyncio.run(all_of_them())

    assert [answer.split()[-1] for answer in answers] == [str(number) for number in range(10)]


def lanes_of(connection: ClientConnection, turns: int) -> list[tuple[str, str]]:
    """Return lane and type of all events, until so many turns have ended."""
    seen: list[tuple[str, str]] = []
    while sum(kind in ENDS for _, kind in seen) < turns:
        event = json.loads(connection.recv(timeout=10))
        seen.append((event["stream_id"], event["type"]))
    return seen


def test_lanes_are_answered_side_by_side_and_each_in_order(serve: Serve) -> None:
    with connected(serve(ScriptedModel(["word "] * 20, delay_seconds=0.01))) as connection:
        for lane in ("a", "a", "b"):
            connection.send(json.dumps({**TURN, "stream_id": lane}))
        seen = lanes_of(connection, turns=3)

    ended = [lane for lane, kind in seen if kind == "response.completed"]
    began = [number for number, event in enumerate(seen) if event == ("a", "response.created")]
    assert sorted(ended) == ["a", "a", "b"]
    assert seen.index(("b", "response.created")) < seen.index(("a", "response.completed")) < began[1]


def test_a_lane_goes_on_from_a_response_of_another(serve: Serve) -> None:
    model = ScriptedModel()
    with connected(serve(model)) as connection:
        first = ask(connection, input="My name is Ada.", stream_id="a")[-1]["response"]
        second = ask(connection, input="Who am I?", stream_id="b", previous_response_id=first["id"])

    assert {event["stream_id"] for event in second} == {"b"}
    assert model.prompts[-1].items[0].text == "My name is Ada."  # type: ignore[union-attr]


def test_more_lanes_than_are_answered_at_once_are_refused(serve: Serve) -> None:
    with connected(serve(ScriptedModel(["word "] * 50, delay_seconds=0.02))) as connection:
        for number in range(9):
            connection.send(json.dumps({**TURN, "stream_id": f"lane.{number}"}))
        refused = next(
            event for event in iter(lambda: json.loads(connection.recv(timeout=10)), None) if "error" in event
        )

    assert refused["status"] == 400
    assert refused["stream_id"] == "lane.8"
    assert refused["error"]["code"] == "websocket_stream_limit_reached"


@pytest.mark.parametrize("stream_id", ["", "a b", "é", "x" * 257, 7])
def test_a_lane_has_a_name_that_openai_would_take(serve: Serve, stream_id: object) -> None:
    with connected(serve()) as connection:
        refused = ask(connection, stream_id=stream_id)[-1]

    assert (refused["status"], refused["error"]["param"]) == (422, "stream_id")


def test_the_end_of_the_server_lets_an_answer_end_first(serve: Serve) -> None:
    served = serve(ScriptedModel(["word "] * 30, delay_seconds=0.02))
    with connected(served) as connection, connected(served) as idle:
        connection.send(json.dumps(TURN))
        assert json.loads(connection.recv(timeout=10))["type"] == "response.created"
        served.stop()
        ended = events_of(connection)[-1]
        for each in (idle, connection):
            with pytest.raises(ConnectionClosed) as closed:
                each.recv(timeout=10)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1012

    assert ended["type"] == "response.completed"
    assert ended["response"]["output"][0]["content"][0]["text"] == "word " * 30


def test_an_answer_longer_than_the_grace_fails_and_costs_nothing(serve: Serve) -> None:
    model = ScriptedModel(["word "] * 1000, delay_seconds=0.05)
    served = serve(model, shutdown_grace_seconds=1)
    with connected(served) as connection:
        connection.send(json.dumps(TURN))
        assert json.loads(connection.recv(timeout=10))["type"] == "response.created"
        served.stop()
        ended = events_of(connection)[-1]
        with pytest.raises(ConnectionClosed):
            connection.recv(timeout=10)

    assert ended["type"] == "response.failed"
    assert model.running == 0


def test_a_client_that_leaves_stops_the_runs_of_all_lanes(serve: Serve) -> None:
    model = ScriptedModel(["word "] * 1000, delay_seconds=0.05)
    with connected(serve(model)) as connection:
        for lane in ("a", "a", "b", "c"):
            connection.send(json.dumps({**TURN, "stream_id": lane}))
        while model.running < 3:
            connection.recv(timeout=10)

    deadline = time.monotonic() + 4
    while model.running:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert len(model.prompts) == 3
