"""A server and, behind it, an upstream whose answers go wrong."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx2 as httpx
import pytest

from tests.conftest import Served, running_server
from tests.support.upstream_stub import (
    SAID,
    Upstream,
    running_upstream,
)

SECRET = "sk-upstream-secret-7d1f"
RESPONSES, CHAT = "/responses", "/chat/completions"
BODIES: dict[str, dict[str, Any]] = {
    RESPONSES: {"model": "mavera-1", "input": "Would you pay?"},
    CHAT: {"model": "mavera-1", "messages": [{"role": "user", "content": "Would you pay?"}]},
}
WHOLE = {"choices": [{"message": {"content": SAID}, "finish_reason": "stop"}]}


@dataclass(frozen=True)
class Stage:
    """A server and, behind it, the upstream whose answers go wrong."""

    served: Served
    upstream: Upstream

    def ask(self, path: str, *, stream: bool) -> httpx.Response:
        body = {**BODIES[path], "stream": stream}
        return httpx.post(self.served.base_url + path, json=body, headers=self.served.headers, timeout=30)


@pytest.fixture(scope="module")
def shared_stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with (
        running_upstream() as upstream,
        running_server(
            tmp_path_factory.mktemp("data"),
            model_backend="upstream",
            upstream_base_url=upstream.url,
            upstream_api_key=SECRET,
            upstream_model="stub",
            upstream_first_byte_timeout_seconds=0.5,
            upstream_idle_timeout_seconds=0.5,
        ) as served,
    ):
        yield Stage(served, upstream)


@pytest.fixture
def stage(
    shared_stage: Stage, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> Iterator[Stage]:
    """The shared stage, cleared; the upstream's key must not be in any log when the test is over."""
    shared_stage.upstream.asked.clear()
    shared_stage.upstream.keys.clear()
    yield shared_stage
    out, err = capfd.readouterr()
    assert SECRET not in out + err + caplog.text
    assert set(shared_stage.upstream.keys) <= {f"Bearer {SECRET}"}


def events_of(answer: httpx.Response) -> list[dict[str, Any]]:
    """Return what a stream said; it has to end with `data: [DONE]` and nothing after it."""
    assert answer.headers["content-type"].startswith("text/event-stream")
    data = [line[6:] for line in answer.text.splitlines() if line.startswith("data: ")]
    assert data[-1] == "[DONE]"
    assert answer.text.endswith("data: [DONE]\n\n")
    return [json.loads(text) for text in data[:-1]]


def said_in(events: list[dict[str, Any]]) -> str:
    chat = [choice["delta"].get("content") for event in events for choice in event.get("choices", ())]
    deltas = [event["delta"] for event in events if event.get("type") == "response.output_text.delta"]
    return "".join([*(text or "" for text in chat), *deltas])


def text_of(path: str, answer: httpx.Response) -> str:
    body = answer.json()
    if path == CHAT:
        return str(body["choices"][0]["message"]["content"])
    return str(body["output"][0]["content"][0]["text"])


def assert_failed(events: list[dict[str, Any]]) -> str:
    """Fail unless the last event is a failure and none is a normal end; return its message."""
    last = events[-1]
    types = [event.get("type") for event in events]
    assert "response.completed" not in types
    assert "response.incomplete" not in types
    assert not any(choice["finish_reason"] for event in events for choice in event.get("choices", ()))
    if "error" in last:
        assert last["error"]["code"] == "service_unavailable"
        return str(last["error"]["message"])
    assert last["type"] == "response.failed"
    assert last["response"]["status"] == "failed"
    assert last["response"]["error"]["type"] == "service_unavailable"
    return str(last["response"]["error"]["message"])
