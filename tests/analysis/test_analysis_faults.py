"""Analyses beside calls, audiences, clients that leave, models that die: the answer stands, fairly priced."""

import json
import time
from collections.abc import AsyncGenerator, Callable
from typing import Any

import httpx2 as httpx
import pytest

from mavera.core.events import ModelEvent, RunCompleted, RunStarted, TextDelta, ToolCallDelta, ToolCallStarted
from mavera.core.items import Message
from mavera.core.prompt import Prompt
from mavera.core.usage import Usage
from mavera.errors import ServiceUnavailable
from mavera.models.scripted import ScriptedModel
from mavera.personas.builtin import PersonaLibrary
from tests.conftest import Serve
from tests.support.team import team

SAID = "We have already spent two years on it, so we cannot stop now."
ASK: Any = {"model": "mavera-1", "input": "And?", "analysis_mode": True}
CHAT: Any = {
    "model": "mavera-1",
    "messages": [{"role": "user", "content": "And?"}],
    "analysis_mode": True,
}
CAST = PersonaLibrary.load().list()[:2]
MOSAIC: Any = {"mosaic_mode": True, "persona_ids": [one.id for one in CAST], "persona_weights": [0.5, 0.5]}


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_probe(prompt: Prompt) -> bool:
    return prompt.max_output_tokens == 1


class SlowToJudge(ScriptedModel):
    """Answers at once, and says nothing for a minute when it is asked about its answer."""

    def __init__(self) -> None:
        super().__init__([SAID])
        self.judging = 0

    async def stream(self, prompt: Prompt) -> AsyncGenerator[ModelEvent, None]:
        if is_probe(prompt):
            self.judging += 1
            self._delay_seconds = 60
        async for event in super().stream(prompt):
            yield event


class DiesAfterwards(ScriptedModel):
    """Is gone when it is asked about what `gone_for` said: an engine that was killed."""

    def __init__(self, gone_for: str = "") -> None:
        super().__init__([SAID])
        self._gone_for = gone_for

    async def stream(self, prompt: Prompt) -> AsyncGenerator[ModelEvent, None]:
        first = prompt.items[0]
        if is_probe(prompt) and isinstance(first, Message) and self._gone_for in first.text:
            yield RunStarted()
            raise ServiceUnavailable("The embedded model was killed.", retry_after=1)
        async for event in super().stream(prompt):
            yield event


class Calls(ScriptedModel):
    """Calls the caller's function, with or without words before it."""

    def __init__(self, words: str = "") -> None:
        super().__init__()
        self._words = words

    async def stream(self, prompt: Prompt) -> AsyncGenerator[ModelEvent, None]:
        yield RunStarted()
        if self._words:
            yield TextDelta(self._words)
        if not is_probe(prompt):
            yield ToolCallStarted(0, "call_1", "weather")
            yield ToolCallDelta(0, "{}")
        yield RunCompleted("tool_calls", Usage(10, 5))


@pytest.mark.parametrize(("path", "body"), [("/responses", ASK), ("/chat/completions", CHAT)])
def test_a_client_that_leaves_while_the_answer_is_analysed_pays_for_the_answer(
    serve: Serve, path: str, body: dict[str, Any]
) -> None:
    model = SlowToJudge()
    t = team(serve(model))

    with httpx.stream(
        "POST",
        t.served.base_url + path,
        json={**body, "stream": True},
        headers={"Authorization": f"Bearer {t.key}"},
        timeout=20,
    ) as answer:
        for line in answer.iter_lines():
            if "cannot stop now" in line:
                wait_until(lambda: model.judging == 1)
                break

    wait_until(lambda: model.running == 0)
    assert [row["status"] for row in t.settled(1)] == ["cancelled"]
    assert t.balance() == 100 - 1


@pytest.mark.parametrize("stream", [False, True], ids=["unstreamed", "streamed"])
def test_a_model_that_dies_while_it_is_asked_leaves_the_answer_whole(serve: Serve, stream: bool) -> None:
    t = team(serve(DiesAfterwards()))

    if stream:
        events: Any = list(
            t.client().responses.create(
                model="mavera-1", input="And?", stream=True, extra_body={"analysis_mode": True}
            )
        )
        assert events[-1].type == "response.completed"
        body: Any = events[-1].response.to_dict()
    else:
        body = t.post(body=ASK).json()

    assert body["status"] == "completed"
    assert body["output"][0]["content"][0]["text"] == SAID
    assert body["analysis"]["error"]["code"] == "analysis_failed"
    assert body["analysis"]["emotion"] is None
    assert body["usage"]["credits_used"] == 1
    assert t.balance() == 100 - 1


def test_of_an_audience_everybody_is_analysed_and_the_blend_too(serve: Serve) -> None:
    t = team(serve(ScriptedModel([SAID])))

    body: Any = t.post(body={**ASK, **MOSAIC}).json()

    found = [body["analysis"], *(one["analysis"] for one in body["mosaic"]["answers"])]
    assert [one["error"] for one in found] == [None] * 3
    assert all([bias["evidence"] for bias in one["biases"]] == [[SAID]] for one in found)
    assert body["usage"]["credits_used"] == 3 * 3


def test_of_an_audience_only_the_analyses_that_were_made_are_charged(serve: Serve) -> None:
    t = team(serve(DiesAfterwards(gone_for=f"You are {CAST[0].demographics.speaker}")))

    body: Any = t.post(body={**ASK, **MOSAIC}).json()

    first, second = body["mosaic"]["answers"]
    assert first["analysis"]["error"]["code"] == "analysis_failed"
    assert second["analysis"]["error"] is None
    assert body["usage"]["credits_used"] == 1 + 3 + 3


WEATHER = {"type": "function", "name": "weather", "parameters": {"type": "object", "properties": {}}}


def test_a_turn_that_only_calls_has_nothing_to_analyse(serve: Serve) -> None:
    body: Any = team(serve(Calls())).post(body={**ASK, "tools": [WEATHER]}).json()

    assert [item["type"] for item in body["output"]] == ["function_call"]
    assert body["analysis"]["error"]["code"] == "nothing_to_analyse"
    assert body["usage"]["credits_used"] == 2


def test_what_is_said_beside_a_call_is_analysed(serve: Serve) -> None:
    body: Any = team(serve(Calls(SAID))).post(body={**ASK, "tools": [WEATHER]}).json()

    assert body["analysis"]["error"] is None
    assert body["analysis"]["key_insights"] == [SAID]


STRANGE = {
    "emoji": "I love it 😍🚲! We have already spent two years on it 👩‍👩‍👧, so we cannot stop now 🛑.",
    "code between": f"Look:\n\n```python\nprint('always')\n```\n\n{SAID}\n",
    "tables and lists": f"| a | b |\n|---|---|\n| 1 | 2 |\n\n- {SAID}\n- Fine.\n",
    "five thousand words": " ".join([SAID, "The table is made of wood.", "It costs $40 more."] * 220),
    "right to left": "لقد أنفقنا عامين على هذا المشروع. لا يمكننا التوقف الآن.",
    "lone marks": f"…?! {SAID} \u200b\ufeff  \u0301",
}


@pytest.mark.parametrize("text", STRANGE.values(), ids=STRANGE)
def test_strange_answers_are_quoted_exactly_and_twice_the_same(serve: Serve, text: str) -> None:
    t = team(serve(ScriptedModel([text[n : n + 7] for n in range(0, len(text), 7)])), credits=1000)

    one: Any = t.post(body=ASK).json()
    two: Any = t.post("/chat/completions", CHAT).json()

    assert json.dumps(one["analysis"]) == json.dumps(two["analysis"])
    analysis = one["analysis"]
    assert analysis["error"] is None
    said = one["output"][0]["content"][0]["text"]
    assert said == two["choices"][0]["message"]["content"] == text
    assert all(piece in said for bias in analysis["biases"] for piece in bias["evidence"])
    assert all(insight in said for insight in analysis["key_insights"])
    if SAID in text:
        assert "sunk cost fallacy" in [bias["name"] for bias in analysis["biases"]]
