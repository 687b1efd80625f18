"""Both wire formats through the official client, streamed and not, against a real server."""

import asyncio
from typing import Any

import openai
import pytest

from mavera.errors import ServiceUnavailable
from mavera.models.scripted import ScriptedModel
from mavera.personas.builtin import PersonaLibrary
from tests.conftest import Serve

GEN_Z = PersonaLibrary.load().find("Gen Z Consumer")
WORDS = ["I would ", "pay ", "for that."]
SAID = "I would pay for that."


def test_a_chat_completion_carries_the_answer_and_the_usage(serve: Serve) -> None:
    client = serve(ScriptedModel(WORDS)).client()

    completion = client.chat.completions.create(
        model="mavera-1",
        messages=[{"role": "user", "content": "Would you pay?"}],
        extra_body={"persona_id": GEN_Z.id},
    )

    assert completion.choices[0].message.content == SAID
    assert completion.choices[0].finish_reason == "stop"
    assert completion.usage is not None
    assert completion.usage.total_tokens == completion.usage.prompt_tokens + 3
    assert "credits_used" in completion.usage.to_dict()
    assert completion.id.startswith("chatcmpl_")


def test_chat_deltas_add_up_to_the_unstreamed_answer(serve: Serve) -> None:
    client = serve(ScriptedModel(WORDS)).client()

    chunks = list(
        client.chat.completions.create(
            model="mavera-1", messages=[{"role": "user", "content": "Would you pay?"}], stream=True
        )
    )

    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == SAID
    assert {chunk.id for chunk in chunks} == {chunks[0].id}
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert chunks[-1].usage is not None
    assert [chunk.usage for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)


def test_include_usage_sends_the_extra_chunk_without_choices(serve: Serve) -> None:
    client = serve(ScriptedModel(WORDS)).client()

    chunks = list(
        client.chat.completions.create(
            model="mavera-1",
            messages=[{"role": "user", "content": "Would you pay?"}],
            stream=True,
            stream_options={"include_usage": True},
        )
    )

    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-2].choices[0].finish_reason == "stop"


def test_a_response_carries_the_answer_and_echoes_the_settings(serve: Serve) -> None:
    client = serve(ScriptedModel(WORDS)).client()

    response = client.responses.create(
        model="mavera-1",
        input="Would you pay?",
        instructions="Be honest.",
        temperature=0.3,
        metadata={"study": "7"},
        extra_body={"persona_id": GEN_Z.id},
    )

    assert response.output_text == SAID
    assert response.status == "completed"
    assert response.temperature == 0.3
    assert response.metadata == {"study": "7"}
    assert response.instructions == "Be honest."
    assert response.usage is not None
    assert response.usage.total_tokens == response.usage.input_tokens + 3


def test_response_events_are_numbered_and_add_up(serve: Serve) -> None:
    client = serve(ScriptedModel(WORDS)).client()

    events = list(client.responses.create(model="mavera-1", input="Would you pay?", stream=True))

    assert [event.type for event in events] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        *["response.output_text.delta"] * 3,
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    last = events[-1]
    assert last.type == "response.completed"
    assert last.response.output_text == SAID


def test_the_stream_helper_of_the_official_client_works(serve: Serve) -> None:
    client = serve(ScriptedModel(WORDS)).client()

    with client.responses.stream(model="mavera-1", input="Would you pay?") as stream:
        said = "".join(event.delta for event in stream if event.type == "response.output_text.delta")

    assert said == SAID
    assert stream.get_final_response().output_text == SAID


def test_the_async_client_works(serve: Serve) -> None:
    served = serve(ScriptedModel(WORDS))

    async def ask() -> str:
        async with served.async_client() as client:
            stream = await client.chat.completions.create(
                model="mavera-1", messages=[{"role": "user", "content": "Hm?"}], stream=True
            )
            return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    assert asyncio.run(ask()) == SAID


def test_both_prefixes_serve_the_same_routes(serve: Serve) -> None:
    served = serve()

    for prefix in ("/api/v1", "/v1"):
        client = openai.OpenAI(base_url=served.url + prefix, api_key=served.key, max_retries=0)
        assert [model.id for model in client.models.list()] == ["mavera-1"]
        assert client.responses.create(model="mavera-1", input="Hm?").output_text


def test_an_answer_cut_by_the_token_limit_says_so_in_both_formats(serve: Serve) -> None:
    client = serve(ScriptedModel(WORDS)).client()

    response = client.responses.create(model="mavera-1", input="Hm?", max_output_tokens=2)
    completion = client.chat.completions.create(
        model="mavera-1", messages=[{"role": "user", "content": "Hm?"}], max_tokens=2
    )

    assert response.status == "incomplete"
    assert response.incomplete_details is not None
    assert response.incomplete_details.reason == "max_output_tokens"
    assert completion.choices[0].finish_reason == "length"
    assert response.output_text == completion.choices[0].message.content == "I would pay "


def test_the_persona_comes_first_and_is_the_same_bytes_every_time(serve: Serve) -> None:
    served = serve(ScriptedModel(WORDS))
    client = served.client()

    for question in ("One?", "Two?"):
        client.responses.create(
            model="mavera-1", input=question, instructions=question, extra_body={"persona_id": GEN_Z.id}
        )

    first, second = (turn.items for turn in served.model.prompts)
    assert first[0].role == "system"
    assert GEN_Z.demographics.speaker in first[0].text
    assert first[:-2] == second[:-2]
    assert [item.text for item in first[-2:]] == ["One?", "One?"]


def test_test_keys_get_the_scripted_model_and_its_fixed_answer(serve: Serve) -> None:
    served = serve(ScriptedModel(["live"]))
    client = openai.OpenAI(base_url=served.base_url, api_key=served.test_key, max_retries=0)

    response = client.responses.create(model="mavera-1", input="How much?")

    assert response.output_text == "This is a scripted answer to: How much?"
    assert served.model.prompts == []


def test_messages_of_every_role_reach_the_model(serve: Serve) -> None:
    served = serve(ScriptedModel(WORDS))

    served.client().chat.completions.create(
        model="mavera-1",
        messages=[
            {"role": "system", "content": "S"},
            {"role": "developer", "content": [{"type": "text", "text": "D"}]},
            {"role": "user", "content": "U", "name": "ann"},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
                ],
            },
            {"role": "tool", "tool_call_id": "call_1", "content": "T"},
        ],
    )

    items = served.model.prompts[0].items
    assert [type(item).__name__ for item in items] == [
        "Message",
        "Message",
        "Message",
        "FunctionCall",
        "FunctionOutput",
    ]
    assert [item.text for item in items[:3]] == ["S", "D", "U"]


def test_an_answer_can_be_fed_back_as_it_came(serve: Serve) -> None:
    served = serve(ScriptedModel(WORDS))
    client = served.client()
    first = client.responses.create(model="mavera-1", input="One?")

    history: list[Any] = [{"role": "user", "content": "One?"}, *[item.to_dict() for item in first.output]]
    second = client.responses.create(model="mavera-1", input=[*history, {"role": "user", "content": "Two?"}])

    assert second.output_text == SAID
    assert [item.text for item in served.model.prompts[-1].items] == ["One?", SAID, "Two?"]


@pytest.mark.parametrize("stream", [False, True])
def test_a_failure_before_the_first_event_is_a_status(serve: Serve, stream: bool) -> None:
    failing = ScriptedModel(WORDS, fail_after=-1, failure=ServiceUnavailable("Down.", retry_after=7))
    client = serve(failing).client()

    with pytest.raises(openai.InternalServerError) as refused:
        client.responses.create(model="mavera-1", input="Hm?", stream=stream)

    assert refused.value.status_code == 503
    assert refused.value.response.headers["retry-after"] == "7"
    assert refused.value.code == "service_unavailable"
