"""Haystack's generators for both endpoints: answers, streams, tools there and back, schemas."""

import os
from typing import Any

import pytest
from haystack.components.generators.chat import OpenAIChatGenerator, OpenAIResponsesChatGenerator
from haystack.dataclasses import ChatMessage
from haystack.tools import create_tool_from_function
from haystack.utils import Secret
from pydantic import BaseModel


class Opinion(BaseModel):
    score: int
    why: str


@pytest.fixture(params=[OpenAIChatGenerator, OpenAIResponsesChatGenerator], ids=["chat", "responses"])
def make(request: pytest.FixtureRequest) -> Any:
    def make(**options: Any) -> Any:
        return request.param(
            api_key=Secret.from_token(os.environ["MAVERA_API_KEY"]),
            api_base_url=os.environ["MAVERA_BASE_URL"],
            model="mavera-1/gen-z-consumer",
            max_retries=0,
            **options,
        )

    return make


def test_a_generator_answers(make: Any) -> None:
    (reply,) = make().run([ChatMessage.from_user("Hello?")])["replies"]

    assert reply.text == "This is a scripted answer to: Hello?"
    assert reply.meta["model"] == "mavera-1/gen-z-consumer"


def test_a_generator_streams(make: Any) -> None:
    pieces: list[str] = []
    generator = make(streaming_callback=lambda chunk: pieces.append(chunk.content))

    (reply,) = generator.run([ChatMessage.from_user("Hello?")])["replies"]

    assert "".join(pieces) == reply.text == "This is a scripted answer to: Hello?"


def test_a_tool_is_called_and_says_what_it_gave(make: Any) -> None:
    def get_weather(city: str) -> str:
        """The weather in a city."""
        return f"3 degrees in {city}"

    tool = create_tool_from_function(get_weather)
    generator = make(tools=[tool])
    messages = [ChatMessage.from_user("What is the weather in Oslo?")]
    (called,) = generator.run(messages)["replies"]
    (call,) = called.tool_calls
    result = ChatMessage.from_tool(tool.invoke(**call.arguments), origin=call)

    (reply,) = generator.run([*messages, called, result])["replies"]

    assert call.arguments == {"city": "Oslo"}
    assert reply.text == "It gave 3 degrees in Oslo"


def test_an_answer_in_a_schema(make: Any) -> None:
    chat = make().__class__ is OpenAIChatGenerator
    options = {"response_format": Opinion} if chat else {"text_format": Opinion}
    generator = make(generation_kwargs=options)

    (reply,) = generator.run([ChatMessage.from_user("Give it a 7, says Ann.")])["replies"]

    assert Opinion.model_validate_json(reply.text) == Opinion(score=7, why="Ann")
