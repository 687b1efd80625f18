"""A model that breaks its own promises still never looks as if it had answered."""

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

import httpx2 as httpx
import pytest

from mavera.api.http.dispatch import ACCEPT_SECONDS
from mavera.core.events import ModelEvent, RunStarted, TextDelta
from mavera.core.prompt import Prompt
from mavera.models.scripted import ScriptedModel
from tests.conftest import Serve, Served

BODIES: dict[str, dict[str, Any]] = {
    "/responses": {"model": "mavera-1", "input": "Hm?"},
    "/chat/completions": {"model": "mavera-1", "messages": [{"role": "user", "content": "Hm?"}]},
}


class Forgetful(ScriptedModel):
    """Stops without a word on how it finished."""

    async def stream(self, prompt: Prompt) -> AsyncGenerator[ModelEvent, None]:
        yield RunStarted()
        yield TextDelta("Well,")


class SlowToFail(ScriptedModel):
    """Fails as nobody foresaw, after a stream has had to begin and before it took the turn."""

    async def stream(self, prompt: Prompt) -> AsyncGenerator[ModelEvent, None]:
        await asyncio.sleep(ACCEPT_SECONDS + 0.2)
        if prompt.items:
            raise ValueError("the secret plan")
        yield RunStarted()


def ask(served: Served, path: str, *, stream: bool) -> httpx.Response:
    body = {**BODIES[path], "stream": stream}
    return httpx.post(served.base_url + path, json=body, headers=served.headers, timeout=30)


def failure_in(answer: httpx.Response) -> dict[str, Any]:
    """Return the error with which a stream ended."""
    data = [line[6:] for line in answer.text.splitlines() if line.startswith("data: ")]
    assert data[-1] == "[DONE]"
    last = json.loads(data[-2])
    error: dict[str, Any] = last["error"] if "error" in last else last["response"]["error"]
    return error


@pytest.mark.parametrize("path", BODIES)
def test_a_model_that_stops_without_a_word_has_failed(serve: Serve, path: str) -> None:
    served = serve(Forgetful())

    whole, streamed = (ask(served, path, stream=stream) for stream in (False, True))

    assert whole.status_code == 503
    assert whole.json()["error"]["code"] == "service_unavailable"
    assert failure_in(streamed)["message"] == whole.json()["error"]["message"]


@pytest.mark.parametrize("path", BODIES)
def test_what_nobody_foresaw_is_told_within_the_stream_once_it_has_begun(serve: Serve, path: str) -> None:
    served = serve(SlowToFail())

    whole, streamed = (ask(served, path, stream=stream) for stream in (False, True))

    assert (whole.status_code, streamed.status_code) == (500, 200)
    assert "internal_error" in streamed.text
    assert "went wrong" in failure_in(streamed)["message"]
    assert "secret" not in whole.text + streamed.text
