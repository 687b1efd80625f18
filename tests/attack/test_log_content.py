"""
Nothing that is asked or answered is in what the server writes, at any level and in any form.

A server runs at `debug`, with its libraries told to say all they can, and is given texts with a mark in them
wherever a request takes one. Then its standard output and error are searched.
"""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect

from tests.attack.conftest import Attack
from tests.support.images import data_url, png
from tests.support.upstream_stub import DONE, FINISH, Upstream, sends, text

MARK = "XYZZY-7141"
TALKATIVE = {"PYTHONASYNCIODEBUG": "1", "OPENAI_LOG": "debug", "PYTHONDEVMODE": "1"}


def image() -> str:
    return data_url(png(8, 8))


def bodies() -> list[tuple[str, dict[str, Any]]]:
    question = f"{MARK} question"
    call = {
        "id": f"call_{MARK}",
        "type": "function",
        "function": {"name": "f", "arguments": json.dumps({"a": MARK})},
    }
    parts = [{"type": "input_text", "text": question}, {"type": "input_image", "image_url": image()}]
    tool = {"type": "function", "name": "f", "description": MARK, "parameters": {"type": "object"}}
    return [
        ("responses", {"model": "mavera-1", "input": question, "instructions": f"{MARK} rules"}),
        ("responses", {"model": "mavera-1", "input": question, "stream": True, "metadata": {"k": MARK}}),
        ("responses", {"model": "mavera-1", "input": [{"role": "user", "content": parts}], "user": MARK}),
        ("responses", {"model": "mavera-1", "input": question, "tools": [tool]}),
        ("responses", {"model": "mavera-1", "input": question, "temperature": MARK}),
        ("responses", {"model": "mavera-1", "input": question, "persona_id": MARK}),
        (
            "chat/completions",
            {
                "model": "mavera-1",
                "messages": [
                    {"role": "system", "content": MARK},
                    {"role": "user", "content": question},
                    {"role": "assistant", "content": None, "tool_calls": [call]},
                    {"role": "tool", "tool_call_id": f"call_{MARK}", "content": f"{MARK} result"},
                ],
            },
        ),
        ("responses/compact", {"model": "mavera-1", "input": question}),
        ("analyses", {"text": f"{MARK} is good.", "question": MARK, "id": MARK}),
        (
            "personas",
            {"pipeline_type": "advanced", "name": MARK, "description": f"{MARK} people", "goals": [MARK]},
        ),
    ]


@pytest.mark.parametrize("form", ["json", "text"])
@pytest.mark.parametrize("workers", [1, 2])
def test_no_text_of_a_caller_or_of_a_model_is_logged(
    attack: Attack, upstream: Upstream, monkeypatch: pytest.MonkeyPatch, form: str, workers: int
) -> None:
    for name, value in TALKATIVE.items():
        monkeypatch.setenv(name, value)
    upstream.script = [sends(text(f"{MARK} "), text("answer"), FINISH, DONE)]
    server = attack(
        log_level="debug",
        log_format=form,
        workers=workers,
        model_backend="upstream",
        upstream_base_url=upstream.url,
        upstream_model="stub",
        upstream_vision=True,
    )
    with server.client(server.keys.admin) as client:
        for path, body in bodies():
            headers = {"Idempotency-Key": f"{path}-{MARK}"}
            for key in (server.keys.admin, server.keys.test):
                authorization = {"Authorization": f"Bearer {key}"}
                answered = client.post(f"/api/v1/{path}", json=body, headers={**headers, **authorization})
                assert answered.status_code < 500, answered.text
        client.get("/api/v1/personas", params={"search": MARK})
    assert any(MARK in json.dumps(asked) for asked in upstream.asked)
    url = server.responses_url.replace("http", "ws", 1)
    with connect(url, additional_headers=server.headers) as connection:
        connection.send(json.dumps({"type": "response.create", "model": "mavera-1", "input": MARK}))
        while json.loads(connection.recv(timeout=20))["type"] != "response.completed":
            pass
    log = server.log()
    assert log.count("/api/v1/responses") >= 8, "the server logs its requests"
    assert [line[:200] for line in log.splitlines() if MARK in line] == []
    assert image()[30:60] not in log
    assert server.keys.admin not in log
    assert server.keys.test not in log


def test_the_files_of_a_server_are_its_owners_alone(attack: Attack) -> None:
    before = os.umask(0o022)
    try:
        server = attack()
    finally:
        os.umask(before)
    with server.client() as client:
        assert client.post("/api/v1/responses", json={"model": "mavera-1", "input": "Hm?"}).status_code == 200
    written = [
        path for path in Path(server.settings.data_dir).rglob("*") if path.name.startswith("mavera.db")
    ]
    assert written
    assert [path for path in written if path.stat().st_mode & 0o077] == []
