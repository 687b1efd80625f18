"""Several personas, one answer: streamed and not, in both formats, paid by its parts, stopped as one."""

import asyncio
import json
import time
from collections.abc import AsyncGenerator
from typing import Any

import httpx2 as httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mavera.core.events import ModelEvent, PersonaAnswer, RunCompleted, RunStarted, Speaker, TextDelta
from mavera.core.items import Message
from mavera.core.prompt import Prompt
from mavera.core.usage import Usage
from mavera.errors import ServiceUnavailable
from mavera.models.scripted import ScriptedModel
from mavera.personas.builtin import PersonaLibrary
from mavera.runs.mosaic import count_shares
from tests.conftest import Serve
from tests.support.team import team

CAST = PersonaLibrary.load().list()[:3]
IDS = [persona.id for persona in CAST]
MOSAIC: Any = {"mosaic_mode": True, "persona_ids": IDS, "persona_weights": [0.5, 0.3, 0.2]}
ASK: Any = {"model": "mavera-1", "input": "Would you pay?", **MOSAIC}
CHAT: Any = {"model": "mavera-1", "messages": [{"role": "user", "content": "Would you pay?"}], **MOSAIC}
POSITIONS = {
    "positions": [{"position": "against it", "people": [2, 1]}, {"position": "for it", "people": [3]}]
}


class Audience(ScriptedModel):
    """Answers as whoever it is told to be, groups as it is told to, and blends in one fixed text."""

    def __init__(self, delay_seconds: float = 0.0, failing: str = "") -> None:
        super().__init__()
        self._wait = delay_seconds
        self._failing = failing
        self.most = 0

    async def stream(self, prompt: Prompt) -> AsyncGenerator[ModelEvent, None]:
        self.prompts.append(prompt)
        self.running += 1
        self.most = max(self.most, self.running)
        first = prompt.items[0]
        assert isinstance(first, Message)
        try:
            yield RunStarted()
            if prompt.format.type == "json_schema":
                words = [json.dumps(POSITIONS)]
            elif prompt.prefix_length:
                if self._failing and self._failing in first.text:
                    await asyncio.sleep(self._wait)
                    raise ServiceUnavailable("Gone.", retry_after=1)
                words = ["I am ", " ".join(first.text.split()[2:4])]
            else:
                words = ["Most ", "say ", "no."]
            for word in words:
                await asyncio.sleep(self._wait)
                yield TextDelta(word)
            yield RunCompleted("stop", Usage(100, 10))
        finally:
            self.running -= 1


def test_both_formats_blend_streamed_and_not(serve: Serve) -> None:
    t = team(serve(Audience()))
    client = t.client()

    response: Any = t.post(body=ASK).json()
    completion: Any = t.post("/chat/completions", CHAT).json()
    events: Any = list(
        client.responses.create(model="mavera-1", input="Would you pay?", stream=True, extra_body=MOSAIC)
    )
    chunks: Any = list(
        client.chat.completions.create(
            model="mavera-1", messages=CHAT["messages"], stream=True, extra_body=MOSAIC
        )
    )

    mosaics = [
        response["mosaic"],
        completion["mosaic"],
        events[-1].response.to_dict()["mosaic"],
        chunks[-1].to_dict()["mosaic"],
    ]
    assert all(mosaic == mosaics[0] for mosaic in mosaics)
    assert [answer["persona_id"] for answer in mosaics[0]["answers"]] == IDS
    assert [answer["weight"] for answer in mosaics[0]["answers"]] == [0.5, 0.3, 0.2]
    names = [persona.demographics.speaker.split()[0] for persona in CAST]
    assert all(name in answer["text"] for name, answer in zip(names, mosaics[0]["answers"], strict=True))
    assert mosaics[0]["positions"] == [
        {"position": "against it", "share": 0.8, "persona_ids": IDS[:2]},
        {"position": "for it", "share": 0.2, "persona_ids": IDS[2:]},
    ]
    assert response["output"][0]["content"][0]["text"] == "Most say no."
    assert "".join(e.delta for e in events if e.type == "response.output_text.delta") == "Most say no."
    assert completion["choices"][0]["message"]["content"] == "Most say no."
    # Five parts of 110 tokens: three answers, and what groups and blends them.
    assert response["usage"]["total_tokens"] == 5 * 110
    assert response["usage"]["credits_used"] == 4
    assert t.balance() == 100 - 4 * 4
    rows = t.settled(4)
    assert all(row["persona_id"] is None for row in rows)
    assert [one["id"] for one in json.loads(rows[0]["personas"])] == IDS


def test_the_personas_answer_side_by_side_and_the_blend_reads_the_shares(serve: Serve) -> None:
    model = Audience(delay_seconds=0.1)
    assert team(serve(model)).post(body=ASK).status_code == 200

    assert model.most == 3
    blend = model.prompts[-1].items[-1]
    assert isinstance(blend, Message)
    assert "most, 80%: against it" in blend.text
    assert "some, 20%: for it" in blend.text
    assert "Would you pay?" in blend.text
    assert "50%" not in blend.text.partition("Positions:")[0]


def test_half_of_an_audience_is_not_called_most_of_it(serve: Serve) -> None:
    model = Audience()
    body = {**ASK, "persona_weights": [0.25, 0.25, 0.5]}

    assert team(serve(model)).post(body=body).status_code == 200

    blend = model.prompts[-1].items[-1]
    assert isinstance(blend, Message)
    assert "half, 50%: against it" in blend.text
    assert "most" not in blend.text


def test_a_client_that_leaves_stops_every_persona_and_pays_for_what_was_sent(serve: Serve) -> None:
    model = Audience(delay_seconds=0.4)
    t = team(serve(model))

    with pytest.raises(httpx.TimeoutException):
        httpx.post(
            t.served.base_url + "/responses",
            json=ASK,
            headers={"Authorization": f"Bearer {t.key}"},
            timeout=0.5,
        )

    deadline = time.monotonic() + 5
    while model.running and time.monotonic() < deadline:
        time.sleep(0.02)
    assert model.running == 0
    assert [row["status"] for row in t.settled(1)] == ["failed"]
    assert t.balance() == 100


def test_one_that_fails_fails_the_whole_and_costs_nothing(serve: Serve) -> None:
    speaker = CAST[1].demographics.speaker
    model = Audience(delay_seconds=0.05, failing=f"You are {speaker}")
    t = team(serve(model))

    assert t.post(body=ASK).status_code == 503
    events: Any = list(
        t.client().responses.create(model="mavera-1", input="Hm?", stream=True, extra_body=MOSAIC)
    )

    assert events[-1].type == "response.failed"
    assert model.running == 0
    assert t.balance() == 100


def test_a_json_format_holds_for_the_blend(serve: Serve) -> None:
    schema = {"type": "object", "properties": {"yes": {"type": "boolean"}}, "required": ["yes"]}
    wanted = {"format": {"type": "json_schema", "name": "a", "schema": schema}}

    answer = team(serve()).post(body={**ASK, "text": wanted}).json()

    assert answer["parsed"] == {"yes": False}
    assert len(answer["mosaic"]["answers"]) == 3


@pytest.mark.parametrize(
    ("changed", "status", "param"),
    [
        ({"persona_ids": None}, 400, "persona_ids"),
        ({"persona_ids": IDS[:1], "persona_weights": None}, 422, "persona_ids"),
        ({"persona_ids": IDS * 4, "persona_weights": None}, 422, "persona_ids"),
        ({"persona_ids": [IDS[0], IDS[0]], "persona_weights": None}, 400, "persona_ids[1]"),
        ({"persona_ids": [*IDS[:2], "cnobody"]}, 404, "persona_ids"),
        ({"persona_weights": [0.5, 0.5]}, 422, "persona_weights"),
        ({"persona_weights": [0.5, 0.3, 0.1]}, 422, "persona_weights"),
        ({"persona_weights": [0.5, 0.5, 0]}, 422, "persona_weights[2]"),
        ({"persona_weights": [1.5, -0.3, -0.2]}, 422, "persona_weights[0]"),
        ({"persona_id": IDS[0]}, 400, "persona_id"),
        ({"mosaic_mode": False}, 400, "persona_ids"),
        ({"tools": [{"type": "function", "name": "f"}]}, 400, "tools"),
    ],
)
def test_a_mosaic_that_does_not_add_up_is_refused(
    serve: Serve, changed: dict[str, Any], status: int, param: str
) -> None:
    t = team(serve(ScriptedModel()))

    refused = t.post(body={**ASK, **changed})

    assert (refused.status_code, refused.json()["error"]["param"]) == (status, param), refused.text
    assert t.served.model.prompts == []


people = st.lists(st.integers(-1, 6), max_size=8)
one_group = st.fixed_dictionaries({"position": st.text("ab ", max_size=3), "people": people})
groups = st.lists(one_group, max_size=5)


@given(groups, st.lists(st.integers(1, 9), min_size=2, max_size=5))
def test_shares_add_up_whatever_the_model_says(found: list[Any], parts: list[int]) -> None:
    answers = [
        PersonaAnswer(Speaker(f"p{n}", "P", weight=part / sum(parts)), "x", Usage())
        for n, part in enumerate(parts)
    ]

    positions = count_shares({"positions": found}, answers)

    assert sum(position.share for position in positions) == pytest.approx(1, abs=0.001)
    named = [persona_id for position in positions for persona_id in position.persona_ids]
    assert sorted(named) == [f"p{n}" for n in range(len(parts))]
