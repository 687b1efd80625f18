"""OpenAI's client for Python, beyond tests/api: async, stream helpers, parse, tools."""

import asyncio
import json
from collections.abc import Coroutine
from typing import Any

import openai
import pytest
from pydantic import BaseModel

from tests.conftest import Served

SAID = "This is a scripted answer to: Hello?"
ASKED = "What is the weather in Oslo?"
RATED = "Give it a 7, says Ann."


class Reason(BaseModel):
    text: str


class Opinion(BaseModel):
    score: int
    main: Reason
    reasons: list[Reason]


class GetWeather(BaseModel):
    """The weather in a city."""

    city: str


EXPECTED = Opinion(score=7, main=Reason(text="Ann"), reasons=[])
FLAT: Any = openai.pydantic_function_tool(GetWeather)["function"] | {"type": "function"}
NESTED: Any = openai.pydantic_function_tool(GetWeather)


def messages(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


def in_async(served: Served, body: Any) -> Any:
    async def run() -> Any:
        async with served.async_client() as client:
            return await body(client)

    coroutine: Coroutine[Any, Any, Any] = run()
    return asyncio.run(coroutine)


def test_the_async_client_gets_an_answer_from_both_doors(served: Served) -> None:
    async def ask(client: openai.AsyncOpenAI) -> tuple[str, str | None]:
        response = await client.responses.create(model="mavera-1", input="Hello?")
        completion = await client.chat.completions.create(model="mavera-1", messages=messages("Hello?"))
        return response.output_text, completion.choices[0].message.content

    assert in_async(served, ask) == (SAID, SAID)


def test_the_async_stream_helper_of_responses_ends_with_the_response(served: Served) -> None:
    async def ask(client: openai.AsyncOpenAI) -> tuple[str, str]:
        async with client.responses.stream(model="mavera-1", input="Hello?") as stream:
            deltas = [event.delta async for event in stream if event.type == "response.output_text.delta"]
            return "".join(deltas), (await stream.get_final_response()).output_text

    assert in_async(served, ask) == (SAID, SAID)


def test_the_stream_helpers_of_chat_add_up(served: Served) -> None:
    async def ask(client: openai.AsyncOpenAI) -> str | None:
        async with client.chat.completions.stream(model="mavera-1", messages=messages("Hello?")) as stream:
            return (await stream.get_final_completion()).choices[0].message.content

    with served.client().chat.completions.stream(model="mavera-1", messages=messages("Hello?")) as stream:
        deltas = [event.delta for event in stream if event.type == "content.delta"]

    assert "".join(deltas) == in_async(served, ask) == SAID


def test_the_async_client_parses_in_both_formats(served: Served) -> None:
    async def ask(client: openai.AsyncOpenAI) -> tuple[Opinion | None, Opinion | None]:
        response = await client.responses.parse(model="mavera-1", input=RATED, text_format=Opinion)
        completion = await client.chat.completions.parse(
            model="mavera-1", messages=messages(RATED), response_format=Opinion
        )
        return response.output_parsed, completion.choices[0].message.parsed

    assert in_async(served, ask) == (EXPECTED, EXPECTED)


def test_a_call_of_responses_goes_round_and_its_arguments_are_parsed(served: Served) -> None:
    client = served.client()

    first = client.responses.parse(model="mavera-1", input=ASKED, tools=[FLAT])
    [call] = first.output
    assert call.type == "function_call"
    assert call.parsed_arguments == {"city": "Oslo"}
    output = {"type": "function_call_output", "call_id": call.call_id, "output": "3 degrees"}
    for fed_back in (call, call.to_dict()):
        history: list[Any] = [*messages(ASKED), fed_back, output]
        second = client.responses.create(model="mavera-1", input=history, tools=[FLAT])
        assert second.output_text == "It gave 3 degrees"


def test_a_call_of_chat_goes_round_and_its_arguments_are_parsed(served: Served) -> None:
    client = served.client()

    first = client.chat.completions.parse(model="mavera-1", messages=messages(ASKED), tools=[NESTED])
    message = first.choices[0].message
    [call] = message.tool_calls or []
    assert call.function.parsed_arguments == GetWeather(city="Oslo")
    answer = {"role": "tool", "tool_call_id": call.id, "content": "3 degrees"}
    for fed_back in (message, message.to_dict()):
        history: list[Any] = [*messages(ASKED), fed_back, answer]
        second = client.chat.completions.create(model="mavera-1", messages=history, tools=[NESTED])
        assert second.choices[0].message.content == "It gave 3 degrees"


def test_streamed_calls_are_put_together_by_both_helpers(served: Served) -> None:
    client = served.client()

    with client.responses.stream(model="mavera-1", input=ASKED, tools=[FLAT]) as stream:
        [call] = stream.get_final_response().output
    with client.chat.completions.stream(
        model="mavera-1", messages=messages(ASKED), tools=[NESTED]
    ) as chat_stream:
        choice = chat_stream.get_final_completion().choices[0]

    assert call.type == "function_call"
    assert json.loads(call.arguments) == {"city": "Oslo"}
    assert choice.finish_reason == "tool_calls"
    [chat_call] = choice.message.tool_calls or []
    assert json.loads(chat_call.function.arguments) == {"city": "Oslo"}


# The client's own, of the members it added to the answer.
@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
def test_what_parse_and_the_stream_helpers_gave_can_be_fed_back(served: Served) -> None:
    client = served.client()
    parsed = client.chat.completions.parse(
        model="mavera-1", messages=messages(RATED), response_format=Opinion
    )
    with client.chat.completions.stream(model="mavera-1", messages=messages(ASKED), tools=[NESTED]) as stream:
        streamed = stream.get_final_completion().choices[0].message
    [call] = streamed.tool_calls or []
    answer = {"role": "tool", "tool_call_id": call.id, "content": "3 degrees"}
    response = client.responses.parse(model="mavera-1", input=RATED, text_format=Opinion)

    history: list[Any] = [parsed.choices[0].message, *messages(ASKED), streamed, answer]
    told = client.chat.completions.create(model="mavera-1", messages=history, tools=[NESTED])
    after: list[Any] = [*messages(RATED), *response.output, *messages("Hello?")]
    said = client.responses.create(model="mavera-1", input=after)

    assert told.choices[0].message.content == "It gave 3 degrees"
    assert said.output_text == SAID


def test_the_raw_and_the_streaming_response_are_there(served: Served) -> None:
    client = served.client()

    raw = client.responses.with_raw_response.create(model="mavera-1", input="Hello?")
    with client.chat.completions.with_streaming_response.create(
        model="mavera-1", messages=messages("Hello?"), stream=True
    ) as streaming:
        lines = [line for line in streaming.iter_lines() if line]

    assert raw.headers["x-request-id"] == raw.parse()._request_id
    assert lines[-1] == "data: [DONE]"


@pytest.mark.parametrize(
    ("status", "kind", "changed"),
    [
        (400, openai.BadRequestError, {"extra_body": {"temperatur": 1}}),
        (404, openai.NotFoundError, {"extra_body": {"persona_id": "c" * 25}}),
        (422, openai.UnprocessableEntityError, {"temperature": 9}),
    ],
)
def test_an_error_is_the_clients_class_for_its_status(
    served: Served, status: int, kind: type[openai.APIStatusError], changed: dict[str, Any]
) -> None:
    client = served.client()

    with pytest.raises(kind) as flat:
        client.responses.create(model="mavera-1", input="Hm?", **changed)
    with pytest.raises(kind) as nested:
        client.chat.completions.create(model="mavera-1", messages=messages("Hm?"), **changed)

    assert flat.value.status_code == nested.value.status_code == status
    assert flat.value.code == nested.value.code is not None
