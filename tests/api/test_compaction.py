"""POST /responses/compact, and what becomes of its output as the input of the next request."""

import asyncio
from typing import Any

import msgspec
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mavera.api.responses.compaction import (
    MAX_KEPT_CHARACTERS,
    open_summary,
    seal_summary,
    select_kept_messages,
)
from mavera.core.items import make_message
from mavera.errors import InvalidRequest
from mavera.models.scripted import ScriptedModel
from tests.conftest import Serve
from tests.support.openai_schemas import assert_fits_openai

# The strict client knows only messages of the assistant here; OpenAI's own answers have the user's.
LAX = {"_strict_response_validation": False}
SUMMARY = 'Ada launches on Tuesday; "support" is told first.'
TALK: Any = [
    {"role": "user", "content": "We launch on Tuesday. I am Ada."},
    {"role": "assistant", "content": "Noted."},
    {"type": "function_call", "call_id": "c1", "name": "tell", "arguments": "{}"},
    {"type": "function_call_output", "call_id": "c1", "output": "told"},
    {"role": "user", "content": "Who is told first?"},
]


def test_a_conversation_is_compacted_and_goes_on_from_there(serve: Serve) -> None:
    model = ScriptedModel(SUMMARY.split(" "))
    client = serve(model).client(**LAX)

    compacted = client.responses.compact(model="mavera-1", input=TALK, instructions="Keep the dates.")
    output: Any = [item.to_dict(warnings=False) for item in compacted.output]
    client.responses.create(model="mavera-1", input=[*output, {"role": "user", "content": "And when?"}])

    assert compacted.object == "response.compaction"
    assert [item.type for item in compacted.output] == ["message", "message", "compaction"]
    assert [part["text"] for item in output[:2] for part in item["content"]] == [
        "We launch on Tuesday. I am Ada.",
        "Who is told first?",
    ]
    asked, went_on = model.prompts
    assert "Keep the dates." in asked.items[-1].text  # type: ignore[union-attr]
    assert asked.sampling.temperature == 0.2
    told = went_on.items[2]
    assert told.role == "system"  # type: ignore[union-attr]
    assert msgspec.json.encode("".join(SUMMARY.split(" "))).decode() in told.text  # type: ignore[union-attr]


def test_a_compaction_is_one_that_openai_describes_and_has_a_price(serve: Serve) -> None:
    compacted = serve().client(**LAX).responses.compact(model="mavera-1", input="We launch on Tuesday.")

    body = compacted.to_dict(warnings=False)
    assert_fits_openai("CompactResource", body)
    assert body["usage"]["credits_used"] > 0  # type: ignore[index]


def test_no_persona_is_demanded_for_a_summary(serve: Serve) -> None:
    client = serve(require_persona=True).client(**LAX)

    assert client.responses.compact(model="mavera-1", input="We launch on Tuesday.").output


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"input": "x"}, 400, "model"),
        ({"model": "mavera-1"}, 400, "input"),
        ({"model": "mavera-1", "input": []}, 422, "input"),
        ({"model": "mavera-1", "input": [{"type": "reasoning"}]}, 400, "input"),
        ({"model": "mavera-1", "input": "x", "stream": True}, 400, "stream"),
        ({"model": "mavera-1", "input": "x" * 100_001}, 422, "input"),
        ({"model": "mavera-1", "input": "x", "instructions": 5}, 422, "instructions"),
    ],
)
def test_what_cannot_be_compacted_is_refused(serve: Serve, body: Any, status: int, param: str) -> None:
    client = serve().client()

    with pytest.raises(openai.APIStatusError) as refused:
        client.post("/responses/compact", body=body, cast_to=object)

    assert (refused.value.status_code, refused.value.param) == (status, param)


def test_a_client_that_leaves_stops_the_summary(serve: Serve) -> None:
    model = ScriptedModel(["word "] * 1000, delay_seconds=0.05)
    served = serve(model)

    async def leave() -> None:
        async with served.async_client(timeout=0.5) as client:
            with pytest.raises(openai.APITimeoutError):
                await client.responses.compact(model="mavera-1", input="x")
        for _ in range(400):
            if not model.running:
                return
            await asyncio.sleep(0.01)

    asyncio.run(leave())

    assert model.running == 0


@given(st.text())
def test_a_summary_is_read_back_whole(summary: str) -> None:
    assert msgspec.json.encode(summary).decode() in open_summary(seal_summary(summary), "x").text


@given(st.text(min_size=1), st.data())
def test_damaged_content_is_refused(summary: str, data: st.DataObject) -> None:
    content = seal_summary(summary)
    place = data.draw(st.integers(0, len(content) - 1))
    damaged = content[:place] + content[place + 1 :]

    with pytest.raises(InvalidRequest) as refused:
        open_summary(damaged, "input[0].encrypted_content")

    assert refused.value.param == "input[0].encrypted_content"


@pytest.mark.parametrize(
    "content", ["", "gAAAAABo", "mvcmp1_", "mvcmp1_é", "mvcmp1_AAAA", "mvcmp1_====", "\x00" * 99]
)
def test_content_of_others_is_refused(content: str) -> None:
    with pytest.raises(InvalidRequest):
        open_summary(content, "x")


@given(st.lists(st.tuples(st.sampled_from(["user", "assistant"]), st.text(max_size=3_000)), max_size=8))
def test_the_latest_user_messages_are_kept_whole_and_in_order(talk: list[tuple[Any, str]]) -> None:
    told = select_kept_messages([make_message(role, text) for role, text in talk])

    spoken = [text for role, text in talk if role == "user" and text]
    assert told == spoken[len(spoken) - len(told) :]
    assert sum(map(len, told)) <= MAX_KEPT_CHARACTERS
