"""pydantic-ai, with its chat model and its responses model."""

import os
from decimal import Decimal

import pytest
from pydantic import BaseModel
from pydantic_ai import Agent, NativeOutput, PromptedOutput, ToolOutput
from pydantic_ai.models import Model
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider


class Reason(BaseModel):
    text: str


class Opinion(BaseModel):
    score: int
    main: Reason
    reasons: list[Reason]


@pytest.fixture(params=[OpenAIResponsesModel, OpenAIChatModel], ids=["responses", "chat"])
def model(request: pytest.FixtureRequest) -> Model:
    provider = OpenAIProvider(base_url=os.environ["MAVERA_BASE_URL"], api_key=os.environ["MAVERA_API_KEY"])
    return request.param("mavera-1", provider=provider)


async def test_an_agent_answers_and_counts_tokens(model: Model) -> None:
    result = await Agent(model, instructions="Be brief.").run("Hello?")

    assert result.output == "This is a scripted answer to: Hello?"
    usage = result.usage() if callable(result.usage) else result.usage
    assert usage.output_tokens > 0


async def test_an_agent_streams(model: Model) -> None:
    async with Agent(model).run_stream("Hello?") as run:
        pieces = [piece async for piece in run.stream_text(delta=True, debounce_by=None)]

    assert "".join(pieces) == "This is a scripted answer to: Hello?"
    assert len(pieces) > 1


async def test_an_agent_calls_a_tool_and_says_what_it_gave(model: Model) -> None:
    cities = []
    agent = Agent(model)

    @agent.tool_plain
    def get_weather(city: str) -> str:
        """The weather in a city."""
        cities.append(city)
        return "3 degrees"

    result = await agent.run("What is the weather in Oslo?")

    assert cities == ["Oslo"]
    assert result.output == "It gave 3 degrees"


@pytest.mark.parametrize("way", [NativeOutput, PromptedOutput, ToolOutput])
async def test_an_output_type_is_filled_in_each_way(model: Model, way: type) -> None:
    result = await Agent(model, output_type=way(Opinion)).run("Give it a 7, says Ann.")

    assert result.output == Opinion(score=7, main=Reason(text="Ann"), reasons=[])


class Offer(BaseModel):
    """pydantic writes a look-ahead into the pattern of a price."""

    price: Decimal
    named_by: str


@pytest.mark.parametrize("way", [NativeOutput, PromptedOutput, ToolOutput])
async def test_a_price_is_filled_in_each_way(model: Model, way: type) -> None:
    result = await Agent(model, output_type=way(Offer)).run("It costs 7, says Ann.")

    assert result.output == Offer(price=Decimal(7), named_by="Ann")


async def test_a_tool_may_take_a_price(model: Model) -> None:
    prices = []
    agent = Agent(model)

    @agent.tool_plain
    def compare_price(price: Decimal) -> str:
        """Compare a price with those of others."""
        prices.append(price)
        return "dear"

    result = await agent.run("Is the price of 7 dear?")

    assert prices == [Decimal(7)]
    assert result.output == "It gave dear"


async def test_an_output_type_streams(model: Model) -> None:
    async with Agent(model, output_type=Opinion).run_stream("Give it a 7, says Ann.") as run:
        outputs = [output async for output in run.stream_output(debounce_by=None)]

    assert outputs[-1] == Opinion(score=7, main=Reason(text="Ann"), reasons=[])


async def test_a_conversation_goes_on_from_what_was_said(model: Model) -> None:
    first = await Agent(model).run("Hello?")

    second = await Agent(model).run("Thanks.", message_history=first.all_messages())

    assert second.output == "This is a scripted answer to: Thanks."
