"""The OpenAI Agents SDK, with its responses model and its chat model."""

import os
from typing import Any

import pytest
from agents import (
    Agent,
    Model,
    ModelSettings,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    Runner,
    function_tool,
    set_tracing_disabled,
)
from openai import AsyncOpenAI
from openai.types.responses import ResponseTextDeltaEvent
from pydantic import BaseModel

set_tracing_disabled(True)


class Reason(BaseModel):
    text: str


class Opinion(BaseModel):
    score: int
    main: Reason


@pytest.fixture(params=[OpenAIResponsesModel, OpenAIChatCompletionsModel], ids=["responses", "chat"])
def model(request: pytest.FixtureRequest) -> Model:
    client = AsyncOpenAI(base_url=os.environ["MAVERA_BASE_URL"], api_key=os.environ["MAVERA_API_KEY"])
    return request.param("mavera-1", client)


@pytest.fixture
def cities() -> list[str]:
    return []


@pytest.fixture
def get_weather(cities: list[str]) -> Any:
    @function_tool
    def get_weather(city: str) -> str:
        """The weather in a city."""
        cities.append(city)
        return "3 degrees"

    return get_weather


async def test_an_agent_answers(model: Model) -> None:
    result = await Runner.run(Agent("a", instructions="Be brief.", model=model), "Hello?")

    assert result.final_output == "This is a scripted answer to: Hello?"
    assert result.raw_responses[0].usage.output_tokens > 0


async def test_an_agent_calls_a_function_and_says_what_it_gave(
    model: Model, get_weather: Any, cities: list[str]
) -> None:
    result = await Runner.run(Agent("a", model=model, tools=[get_weather]), "What is the weather in Oslo?")

    assert cities == ["Oslo"]
    assert result.final_output == "It gave 3 degrees"


async def test_a_forced_call_is_made(model: Model, get_weather: Any, cities: list[str]) -> None:
    settings = ModelSettings(tool_choice="get_weather", parallel_tool_calls=False)
    agent = Agent("a", model=model, tools=[get_weather], model_settings=settings)

    await Runner.run(agent, "Is Lima nice?")

    assert cities == ["Lima"]


async def test_a_streamed_run_streams_text_and_calls(
    model: Model, get_weather: Any, cities: list[str]
) -> None:
    run = Runner.run_streamed(Agent("a", model=model, tools=[get_weather]), "What is the weather in Oslo?")

    said = ""
    kinds = set()
    async for event in run.stream_events():
        kinds.add(getattr(event, "name", event.type))
        if event.type == "raw_response_event" and isinstance(event.data, ResponseTextDeltaEvent):
            said += event.data.delta

    assert said == run.final_output == "It gave 3 degrees"
    assert cities == ["Oslo"]
    assert {"tool_called", "tool_output", "message_output_created"} <= kinds


async def test_an_output_type_is_filled(model: Model) -> None:
    result = await Runner.run(Agent("a", model=model, output_type=Opinion), "Give it a 7, says Ann.")

    assert result.final_output == Opinion(score=7, main=Reason(text="Ann"))


async def test_a_conversation_goes_on_from_what_was_said(model: Model, get_weather: Any) -> None:
    agent = Agent("a", model=model, tools=[get_weather])
    first = await Runner.run(agent, "What is the weather in Oslo?")

    second = await Runner.run(agent, [*first.to_input_list(), {"role": "user", "content": "Thanks."}])

    assert second.final_output
