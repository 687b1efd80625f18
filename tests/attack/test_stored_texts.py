"""
A caller's text is checked before it is compared, quoted, logged or stored.

    8 MB as a persona's id, a lane's name, a model's name …   a small 4xx, and nothing of it anywhere

A body for personas, keys and workspaces may have 256 KiB, so there a text of megabytes is a 413.
"""

import json
from typing import Any

import pytest
from websockets.sync.client import connect

from tests.attack.conftest import Attack
from tests.attack.serving import AttackedServer

MEGABYTES = "Q" * 8_000_000
KILOBYTES = "Q" * 200_000
MARK = "QQQQQQQQQQQQQQQQ"
ASK: dict[str, Any] = {"model": "mavera-1", "input": "Hm?"}
CHAT: dict[str, Any] = {"model": "mavera-1", "messages": [{"role": "user", "content": "Hm?"}]}
MOST_OF_AN_ERROR = 2_000

FLOODED: list[tuple[str, str, dict[str, Any], str]] = [
    ("responses", "persona_id", {**ASK, "persona_id": MEGABYTES}, "persona_id"),
    ("chat/completions", "persona_id", {**CHAT, "persona_id": MEGABYTES}, "persona_id"),
    (
        "responses",
        "persona_ids",
        {**ASK, "mosaic_mode": True, "persona_ids": ["a", MEGABYTES]},
        "persona_ids[1]",
    ),
    ("responses", "user", {**ASK, "user": MEGABYTES}, "user"),
    ("responses", "prompt_cache_key", {**ASK, "prompt_cache_key": MEGABYTES}, "prompt_cache_key"),
    ("responses", "previous", {**ASK, "previous_response_id": MEGABYTES}, "previous_response_id"),
    ("responses", "model", {**ASK, "model": MEGABYTES}, "model"),
    ("responses", "tag", {**ASK, "tools": [{"type": MEGABYTES}]}, "tools[0].type"),
    ("responses", "choice", {**ASK, "tool_choice": MEGABYTES}, "tool_choice"),
    ("chat/completions", "stop", {**CHAT, "stop": MEGABYTES}, "stop"),
    ("personas", "name", {"pipeline_type": "advanced", "name": KILOBYTES}, "name"),
    (
        "personas",
        "workspace",
        {"pipeline_type": "advanced", "name": "Ann", "workspace_id": KILOBYTES},
        "workspace_id",
    ),
    ("api-keys", "name", {"name": KILOBYTES}, "name"),
]


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [(path, body, param) for path, _, body, param in FLOODED],
    ids=[f"{path} {name}" for path, name, _, _ in FLOODED],
)
def test_a_vast_text_where_a_word_is_meant_is_refused_in_few_words(
    attacked: AttackedServer, path: str, body: dict[str, Any], param: str
) -> None:
    with attacked.client(attacked.keys.admin) as client:
        refused = client.post(f"/api/v1/{path}", json=body)
        assert (refused.status_code, refused.json()["error"]["code"]) == (422, "validation_error")
        assert refused.json()["error"]["param"] == param
        assert len(refused.content) < MOST_OF_AN_ERROR
        assert len(client.get("/api/v1/usage").content) < 10_000
        assert MARK not in client.get("/api/v1/usage").text
    assert MARK * 100 not in attacked.log()


@pytest.mark.parametrize("path", ["personas", "api-keys"])
def test_megabytes_where_a_short_body_is_meant_are_refused_unread(
    attacked: AttackedServer, path: str
) -> None:
    with attacked.client(attacked.keys.admin) as client:
        refused = client.post(f"/api/v1/{path}", json={"name": MEGABYTES})
    assert (refused.status_code, refused.json()["error"]["code"]) == (413, "request_too_large")
    assert len(refused.content) < MOST_OF_AN_ERROR
    assert MARK not in attacked.log()


def test_an_id_is_noted_only_of_a_persona_that_answered(attack: Attack) -> None:
    server = attack()
    with server.client() as client:
        known = client.get("/api/v1/personas?limit=1").json()["data"][0]["id"]
        for persona_id, status in ((MARK, 404), ("c" + "0" * 24, 404), (known, 200)):
            answer = client.post("/api/v1/responses", json={**ASK, "persona_id": persona_id})
            assert answer.status_code == status
        mosaic = {**ASK, "mosaic_mode": True, "persona_ids": [known, MARK]}
        assert client.post("/api/v1/responses", json=mosaic).status_code == 404
        used = client.get("/api/v1/usage").json()
    assert {row["persona_id"]: row["total_requests"] for row in used["by_persona"]} == {None: 3, known: 1}


def test_the_lane_of_a_message_is_not_believed_before_it_is_checked(attacked: AttackedServer) -> None:
    headers = {"Authorization": f"Bearer {attacked.keys.live}"}
    url = attacked.responses_url.replace("http", "ws", 1)
    with connect(url, additional_headers=headers, max_size=1_000_000) as connection:
        for members in ({"stream_id": MEGABYTES}, {"previous_response_id": MEGABYTES}):
            connection.send(json.dumps({"type": "response.create", **ASK, **members}))
            refused = connection.recv(timeout=20)
            assert len(refused) < MOST_OF_AN_ERROR
            assert json.loads(refused)["status"] == 422
            assert "stream_id" not in json.loads(refused)


def test_what_stands_beside_the_body_is_cut_before_it_is_logged_or_kept(attacked: AttackedServer) -> None:
    long = "Q" * 10_000
    with attacked.client(attacked.keys.admin) as client:
        for path, status in (
            (f"/api/v1/personas/{long}", 404),
            (f"/api/v1/media/{long}", 404),
            (f"/api/v1/workspaces/{long}", 404),
            (f"/{long}", 404),
            (f"/api/v1/usage?month={long}", 422),
            (f"/api/v1/personas?cursor={long}", 422),
            (f"/api/v1/personas?{long}=1", 400),
        ):
            refused = client.get(path)
            assert (refused.status_code, len(refused.content) < MOST_OF_AN_ERROR) == (status, True), path
        assert client.delete(f"/api/v1/api-keys/{long}").status_code == 404
        kept = client.post("/api/v1/responses", json=ASK, headers={"Idempotency-Key": long})
        assert kept.status_code == 400
    assert MARK * 100 not in attacked.log()


def test_an_answer_that_repeats_a_huge_request_is_not_kept(attacked: AttackedServer) -> None:
    """A test key costs nothing, and the events of a stream repeat the instructions three times."""
    body = {**ASK, "instructions": "I" * 4_000_000, "stream": True}
    with attacked.client(attacked.keys.test) as client:
        for _ in range(2):
            answer = client.post("/api/v1/responses", json=body, headers={"Idempotency-Key": "huge"})
            assert answer.status_code == 200
            assert "idempotent-replayed" not in answer.headers
        small = {**ASK, "instructions": "I" * 1_000_000}
        answers = [
            client.post("/api/v1/responses", json=small, headers={"Idempotency-Key": "small"})
            for _ in range(2)
        ]
    assert answers[1].headers["idempotent-replayed"] == "true"
    assert answers[0].content == answers[1].content
