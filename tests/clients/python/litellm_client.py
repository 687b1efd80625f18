"""LiteLLM's library: both endpoints, streams, tools and history, with a persona in the name of the model."""

import json
import os
from typing import Any

import litellm
import pytest
from pydantic import BaseModel

WHERE: dict[str, Any] = {
    "model": "openai/mavera-1",
    "api_base": os.environ["MAVERA_BASE_URL"],
    "api_key": os.environ["MAVERA_API_KEY"],
    "num_retries": 0,
}
ASKED = [{"role": "user", "content": "Hello?"}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}


class Opinion(BaseModel):
    score: int
    why: str


def test_a_completion_answers_and_counts_tokens() -> None:
    answer = litellm.completion(**WHERE, messages=ASKED)

    assert answer.choices[0].message.content == "This is a scripted answer to: Hello?"
    assert answer.usage.total_tokens > 0


def test_a_persona_stands_in_the_name_of_the_model() -> None:
    answer = litellm.completion(**{**WHERE, "model": "openai/mavera-1/gen-z-consumer"}, messages=ASKED)

    assert answer.choices[0].message.content
    with pytest.raises(litellm.NotFoundError, match="nobody"):
        litellm.completion(**{**WHERE, "model": "openai/mavera-1/nobody"}, messages=ASKED)


async def test_a_stream_adds_up() -> None:
    stream = await litellm.acompletion(
        **WHERE, messages=ASKED, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]

    whole = litellm.stream_chunk_builder(chunks, messages=ASKED)
    assert whole.choices[0].message.content == "This is a scripted answer to: Hello?"
    assert whole.usage.total_tokens > 0


def test_a_tool_is_called_and_its_answer_goes_back_as_it_came() -> None:
    messages: list[Any] = [{"role": "user", "content": "What is the weather in Oslo?"}]
    first = litellm.completion(**WHERE, messages=messages, tools=[WEATHER]).choices[0].message
    (call,) = first.tool_calls
    messages += [
        first.model_dump(),
        {"role": "tool", "tool_call_id": call.id, "name": "get_weather", "content": "3 degrees"},
    ]

    second = litellm.completion(**WHERE, messages=messages, tools=[WEATHER])

    assert json.loads(call.function.arguments) == {"city": "Oslo"}
    assert second.choices[0].message.content == "It gave 3 degrees"


def test_an_answer_in_a_schema() -> None:
    asked = [{"role": "user", "content": "Give it a 7, says Ann."}]

    answer = litellm.completion(**WHERE, messages=asked, response_format=Opinion)

    assert Opinion.model_validate_json(answer.choices[0].message.content) == Opinion(score=7, why="Ann")


def test_a_response_and_its_stream() -> None:
    whole = litellm.responses(**WHERE, input="Hello?")
    events = list(litellm.responses(**WHERE, input="Hello?", stream=True))

    assert whole.output[0].content[0].text == "This is a scripted answer to: Hello?"
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == (
        "This is a scripted answer to: Hello?"
    )
    assert events[-1].type == "response.completed"


def test_an_error_has_its_kind() -> None:
    with pytest.raises(litellm.AuthenticationError):
        litellm.completion(**{**WHERE, "api_key": "mvra_live_wrong"}, messages=ASKED)
    with pytest.raises(litellm.BadRequestError, match="Known models"):
        litellm.completion(**{**WHERE, "model": "openai/unknown"}, messages=ASKED)
