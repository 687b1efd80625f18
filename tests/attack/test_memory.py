"""Requests that are over: nothing of what a caller sent stays in memory."""

import json

import pytest

from tests.attack.serving import AttackedServer
from tests.attack.websockets import frame, open_websocket

MB = 1024 * 1024
TURNS = 150
# Four bytes each in memory, as many as a request may have.
INPUT = "\N{GRINNING FACE}" * 99_000


def long_turn(number: int) -> dict[str, str]:
    return {"model": "mavera-1", "input": f"{number} {INPUT}"}


@pytest.mark.parametrize("kind", ["test", "live"])
def test_the_requests_of_a_key_are_forgotten(attacked: AttackedServer, kind: str) -> None:
    key = getattr(attacked.keys, kind)
    with attacked.client(key) as client:
        assert client.post("/api/v1/responses", json=long_turn(0)).status_code == 200
        before = attacked.resources().rss_bytes
        for number in range(TURNS):
            assert client.post("/api/v1/responses", json=long_turn(number)).status_code == 200

    attacked.wait_for(lambda: attacked.resources().rss_bytes - before < 25 * MB)


def test_the_turns_of_a_closed_websocket_are_forgotten(attacked: AttackedServer) -> None:
    before = attacked.resources().rss_bytes
    for number in range(TURNS):
        with attacked.connect() as connection:
            open_websocket(connection, attacked.keys.test)
            connection.send(frame(json.dumps({"type": "response.create", **long_turn(number)}).encode()))
            connection.receive()

    attacked.wait_for(lambda: attacked.resources().rss_bytes - before < 25 * MB)
