"""Requests with a seed over a real server: the same request gives the same answer, and any other does not."""

import asyncio
import itertools
import re
from collections.abc import Iterator
from typing import Any

import httpx2 as httpx
import pytest
from aiohttp import web

from mavera.core.events import (
    ModelEvent,
    RunCompleted,
    RunStarted,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
    ToolCallStarted,
)
from mavera.core.usage import Usage
from mavera.personas.builtin import PersonaLibrary
from mavera.runs.repeating import decode_events, encode_events
from tests.conftest import Serve, Served
from tests.support.upstream_stub import DONE, FINISH, Upstream, refuses, running_upstream, sends, text

GEN_Z = PersonaLibrary.load().find("Gen Z Consumer").id


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    """A server that says something else each time."""
    numbers = itertools.count(1)

    async def say_next(request: web.Request) -> web.StreamResponse:
        return await sends(text("Answer "), text(f"{next(numbers)}."), FINISH, DONE)(request)

    with running_upstream() as running:
        running.script = [say_next]
        yield running


def serve_upstream(serve: Serve, upstream: Upstream, **more: Any) -> Served:
    return serve(model_backend="upstream", upstream_base_url=upstream.url, upstream_model="m", **more)


@pytest.fixture
def served(serve: Serve, upstream: Upstream) -> Served:
    return serve_upstream(serve, upstream, repeat_days=1)


def ask(served: Served, **body: Any) -> str:
    asked = {"model": "mavera-1", "input": "Would you pay?", "seed": 7, **body}
    answer = httpx.post(f"{served.base_url}/responses", json=asked, headers=served.headers, timeout=30)
    assert answer.status_code == 200, answer.text
    return answer.json()["output"][0]["content"][0]["text"]  # type: ignore[no-any-return]


def test_the_same_request_with_a_seed_is_answered_once(served: Served, upstream: Upstream) -> None:
    first = ask(served, persona_id=GEN_Z)

    assert [ask(served, persona_id=GEN_Z) for _ in range(3)] == [first] * 3
    assert len(upstream.asked) == 1


@pytest.mark.parametrize(
    "other",
    [
        {"seed": 8},
        {"temperature": 0.3},
        {"input": "Would you pay more?"},
        {"persona_id": GEN_Z},
        {"verbosity": "high"},
        {"max_output_tokens": 99},
    ],
    ids=lambda other: next(iter(other)),
)
def test_another_request_is_answered_anew(served: Served, other: dict[str, Any]) -> None:
    assert ask(served) != ask(served, **other)


def test_without_a_seed_nothing_is_repeated(served: Served) -> None:
    assert ask(served, seed=None) != ask(served, seed=None)


def test_nothing_is_kept_unless_the_operator_asks_for_it(serve: Serve, upstream: Upstream) -> None:
    served = serve_upstream(serve, upstream)

    assert ask(served) != ask(served)


def test_a_failure_is_not_kept(served: Served, upstream: Upstream) -> None:
    [say_next] = upstream.script
    upstream.script = [refuses(400), say_next]
    body = {"model": "mavera-1", "input": "Would you pay?", "seed": 7}
    failed = httpx.post(f"{served.base_url}/responses", json=body, headers=served.headers)

    assert failed.status_code != 200
    assert ask(served) == ask(served) == "Answer 1."


def test_requests_at_the_same_moment_are_answered_alike(served: Served, upstream: Upstream) -> None:
    async def ask_all() -> list[str]:
        return await asyncio.gather(*(asyncio.to_thread(ask, served) for _ in range(4)))

    assert len(set(asyncio.run(ask_all()))) == 1
    assert len(upstream.asked) == 1


def test_chat_repeats_too_and_a_stream_gives_the_same_text(served: Served, upstream: Upstream) -> None:
    body = {"model": "mavera-1", "seed": 3, "messages": [{"role": "user", "content": "Hm?"}]}
    url = f"{served.base_url}/chat/completions"
    whole = httpx.post(url, json=body, headers=served.headers, timeout=30).json()
    streamed = httpx.post(url, json={**body, "stream": True}, headers=served.headers, timeout=30).text

    assert whole["choices"][0]["message"]["content"] == "Answer 1."
    # Pieces that came in one read are one delta.
    assert "".join(re.findall(r'"content":"([^"]*)"', streamed)) == "Answer 1."
    assert len(upstream.asked) == 1


def test_every_event_of_a_model_survives_being_kept() -> None:
    answer: list[ModelEvent] = [
        RunStarted(),
        TextDelta("a", (TokenLogprob("a", -0.5, (97,), (TokenLogprob("b", -1.0),)),), 2),
        ToolCallStarted(0, "call_1", "find"),
        ToolCallDelta(0, "{}"),
        RunCompleted("stop", Usage(input_tokens=5, output_tokens=3)),
    ]

    assert decode_events(encode_events(answer)) == answer
