"""curl: no client library at all, streamed and not, by both prefixes."""

import json
from typing import Any

import pytest

from tests.clients.conftest import PERSONA_ID, Run
from tests.conftest import Served
from tests.support.requirements import require_program

SAID = "This is a scripted answer to: Hello?"


@pytest.fixture
def curl(run: Run, served: Served) -> Any:
    require_program("curl")

    def curl(path: str, body: dict[str, Any], *options: str, prefix: str = "/api/v1") -> str:
        return run(
            "curl", "--silent", "--show-error", "--no-buffer", f"{served.url}{prefix}{path}", *options,
            "-H", f"Authorization: Bearer {served.key}", "-H", "Content-Type: application/json",
            "-d", json.dumps({"model": "mavera-1", "persona_id": PERSONA_ID, **body}),
        )  # fmt: skip

    return curl


@pytest.mark.parametrize("prefix", ["/api/v1", "/v1"])
def test_curl_gets_an_answer_from_both_doors(curl: Any, prefix: str) -> None:
    response = json.loads(curl("/responses", {"input": "Hello?"}, prefix=prefix))
    messages = [{"role": "user", "content": "Hello?"}]
    completion = json.loads(curl("/chat/completions", {"messages": messages}, prefix=prefix))

    assert response["output"][0]["content"][0]["text"] == SAID
    assert completion["choices"][0]["message"]["content"] == SAID


def test_curl_sees_named_events_then_done(curl: Any) -> None:
    lines = curl("/responses", {"input": "Hello?", "stream": True}).splitlines()

    names = [line.removeprefix("event: ") for line in lines if line.startswith("event: ")]
    data = [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]
    assert names[0] == "response.created"
    assert names[-1] == "response.completed"
    assert data[-1] == "[DONE]"
    assert [json.loads(text)["type"] for text in data[:-1]] == names


def test_curl_sees_unnamed_chunks_then_done(curl: Any) -> None:
    asked = {"messages": [{"role": "user", "content": "Hello?"}], "stream": True}

    lines = [line for line in curl("/chat/completions", asked).splitlines() if line]

    assert all(line.startswith("data: ") for line in lines)
    assert lines[-1] == "data: [DONE]"
    chunks = [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]
    assert "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks) == SAID


def test_curl_sees_the_status_and_the_headers(curl: Any) -> None:
    shown = curl("/responses", {"input": "Hello?", "temperatur": 1}, "--include")

    head, _, body = shown.partition("\n\n")
    assert head.startswith("HTTP/1.1 400")
    assert "x-request-id: req_" in head.lower()
    assert json.loads(body)["error"]["param"] == "temperatur"
