"""Answers in JSON through the official client, in both formats, streamed and not."""

import json
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal

import openai
import pytest
from pydantic import BaseModel, WithJsonSchema

from mavera.models.embedded.model import EmbeddedModel
from mavera.models.embedded.supervisor import EmbeddedEngine
from mavera.models.scripted import ScriptedModel
from mavera.settings import load_settings
from tests.conftest import Serve
from tests.support.obedient import ObedientModel


class Mood(Enum):
    GLAD = "glad"
    SAD = "sad"


class Reason(BaseModel):
    text: str
    weight: int


class Online(BaseModel):
    kind: Literal["online"]
    url: str


class Shop(BaseModel):
    kind: Literal["shop"]
    town: str | None


class Opinion(BaseModel):
    """Nested, with references, an enum, a union and a list."""

    mood: Mood
    score: float
    reasons: list[Reason]
    place: Online | Shop
    best: Reason | None


VALUE = {
    "mood": "glad",
    "score": 0.5,
    "reasons": [{"text": "cheap", "weight": 2}],
    "place": {"kind": "shop", "town": None},
    "best": None,
}
OPINION = Opinion.model_validate(VALUE)
SCHEMA: Any = {
    "type": "object",
    "properties": {"stars": {"type": "integer"}},
    "required": ["stars"],
    "additionalProperties": False,
}
FORMAT: Any = {"type": "json_schema", "name": "rating", "schema": SCHEMA, "strict": True}
NESTED: Any = {"type": "json_schema", "json_schema": {"name": "rating", "schema": SCHEMA, "strict": True}}
ASKED: list[Any] = [{"role": "user", "content": "How was it?"}]

each_model = pytest.mark.parametrize("kept", [True, False], ids=["kept", "checked"])


@each_model
def test_responses_parse_gives_a_nested_model(serve: Serve, kept: bool) -> None:
    client = serve(ObedientModel(replies=[VALUE], kept=kept)).client(_strict_response_validation=False)

    response = client.responses.parse(model="mavera-1", input="Hm?", text_format=Opinion)

    assert response.output_parsed == OPINION
    assert response.to_dict()["parsed"] == VALUE


@each_model
def test_chat_parse_gives_a_nested_model(serve: Serve, kept: bool) -> None:
    client = serve(ObedientModel(replies=[VALUE], kept=kept)).client(_strict_response_validation=False)

    completion = client.chat.completions.parse(model="mavera-1", messages=ASKED, response_format=Opinion)

    assert completion.choices[0].message.parsed == OPINION


@each_model
def test_the_stream_helpers_of_the_official_client_parse(serve: Serve, kept: bool) -> None:
    client = serve(ObedientModel(replies=[VALUE, VALUE], kept=kept)).client(_strict_response_validation=False)

    with client.responses.stream(model="mavera-1", input="Hm?", text_format=Opinion) as stream:
        assert stream.get_final_response().output_parsed == OPINION
    with client.chat.completions.stream(
        model="mavera-1", messages=ASKED, response_format=Opinion
    ) as chat_stream:
        chat_stream.until_done()
        assert chat_stream.get_final_completion().choices[0].message.parsed == OPINION


def test_a_test_key_answers_in_the_shape_asked_for(serve: Serve) -> None:
    served = serve(ObedientModel())
    client = openai.OpenAI(base_url=served.base_url, api_key=served.test_key, max_retries=0)

    response = client.responses.parse(model="mavera-1", input="Hm?", text_format=Opinion)
    completion = client.chat.completions.parse(model="mavera-1", messages=ASKED, response_format=Opinion)

    assert isinstance(response.output_parsed, Opinion)
    assert completion.choices[0].message.parsed == response.output_parsed


@each_model
def test_the_last_event_of_a_response_and_the_last_chunk_carry_the_value(serve: Serve, kept: bool) -> None:
    value = {"stars": 4}
    client = serve(ObedientModel(replies=[value] * 2, kept=kept)).client()

    events = list(
        client.responses.create(model="mavera-1", input="Hm?", text={"format": FORMAT}, stream=True)
    )
    chunks = list(
        client.chat.completions.create(model="mavera-1", messages=ASKED, response_format=NESTED, stream=True)
    )

    last = events[-1]
    assert last.type == "response.completed"
    assert last.response.to_dict()["parsed"] == value
    assert json.loads(last.response.output_text) == value
    assert chunks[-1].choices[0].delta.to_dict() == {"parsed": value}
    assert [chunk for chunk in chunks[:-1] if "parsed" in chunk.choices[0].delta.to_dict()] == []


def test_text_has_no_parsed_member(serve: Serve) -> None:
    client = serve(ScriptedModel(["Hi."])).client()

    assert "parsed" not in client.responses.create(model="mavera-1", input="Hm?").to_dict()


@each_model
@pytest.mark.parametrize("format_", [FORMAT, {"type": "json_object"}], ids=["schema", "object"])
def test_cut_off_json_is_incomplete_and_not_parsed(serve: Serve, kept: bool, format_: Any) -> None:
    client = serve(ObedientModel(replies=[{"stars": 4}], kept=kept)).client()

    response = client.responses.create(
        model="mavera-1", input="Hm?", text={"format": format_}, max_output_tokens=1
    )

    assert response.status == "incomplete"
    assert response.incomplete_details is not None
    assert response.incomplete_details.reason == "max_output_tokens"
    assert "parsed" not in response.to_dict()


def test_chat_parse_says_that_json_was_cut_off(serve: Serve) -> None:
    client = serve(ObedientModel(replies=[VALUE])).client(_strict_response_validation=False)

    with pytest.raises(openai.LengthFinishReasonError):
        client.chat.completions.parse(model="mavera-1", messages=ASKED, response_format=Opinion, max_tokens=1)


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_that_cannot_be_made_to_fit_is_a_refusal(serve: Serve, stream: bool) -> None:
    client = serve(ObedientModel(replies=["no", "never"] * 2, kept=False)).client()

    if stream:
        events = list(
            client.responses.create(model="mavera-1", input="Hm?", text={"format": FORMAT}, stream=True)
        )
        last = events[-1]
        assert last.type == "response.completed"
        response = last.response
        assert "response.output_text.delta" not in {event.type for event in events}
    else:
        response = client.responses.create(model="mavera-1", input="Hm?", text={"format": FORMAT})
    [message] = response.output
    assert message.type == "message"
    assert [part.type for part in message.content] == ["refusal"]

    choice = client.chat.completions.create(model="mavera-1", messages=ASKED, response_format=NESTED).choices[
        0
    ]
    assert choice.message.refusal
    assert choice.message.content is None


def test_a_model_that_leaves_its_format_is_never_a_200_with_broken_json(serve: Serve) -> None:
    client = serve(ObedientModel(replies=['{"stars": "four"}'] * 4)).client()

    with pytest.raises(openai.InternalServerError):
        client.responses.create(model="mavera-1", input="Hm?", text={"format": FORMAT})
    with pytest.raises(openai.InternalServerError):
        client.chat.completions.create(model="mavera-1", messages=ASKED, response_format=NESTED)
    events = list(
        client.responses.create(model="mavera-1", input="Hm?", text={"format": FORMAT}, stream=True)
    )
    assert events[-1].type == "response.failed"
    with pytest.raises(openai.APIError):
        list(
            client.chat.completions.create(
                model="mavera-1", messages=ASKED, response_format=NESTED, stream=True
            )
        )


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("schema", "named"),
    [
        ({"type": "strin"}, "type"),
        ({"anyOf": []}, "anyOf"),
        ({"$ref": "https://example.com/x"}, "example.com"),
    ],
)
def test_what_is_no_json_schema_is_a_400_that_says_why(
    serve: Serve, schema: Any, named: str, stream: bool
) -> None:
    client = serve(ObedientModel()).client()
    text: Any = {"format": {**FORMAT, "schema": schema}}

    with pytest.raises(openai.BadRequestError) as flat:
        client.responses.create(model="mavera-1", input="Hm?", text=text, stream=stream)
    with pytest.raises(openai.BadRequestError) as nested:
        client.chat.completions.create(
            model="mavera-1",
            messages=ASKED,
            response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": schema}},
            stream=stream,
        )

    assert flat.value.param == "text.format.schema"
    assert nested.value.param == "response_format.json_schema.schema"
    assert named in flat.value.message
    assert named in nested.value.message


@pytest.mark.parametrize("strict", [True, False])
def test_the_bundled_model_takes_schemas_that_decoding_cannot_enforce(serve: Serve, strict: bool) -> None:
    """Only the model itself is missing here."""
    settings = load_settings({}, model="no-such-model", embedded_start="demand")
    client = serve(EmbeddedModel(EmbeddedEngine(settings))).client()
    schema: Any = {"type": "object", "properties": {"a": {"type": "array", "uniqueItems": True}}}
    function: Any = {"type": "function", "name": "f", "parameters": schema, "strict": strict}
    text: Any = {"format": {**FORMAT, "schema": schema, "strict": strict}}

    with pytest.raises(openai.InternalServerError) as answer:
        client.responses.create(model="mavera-1", input="Hm?", text=text)
    with pytest.raises(openai.InternalServerError) as call:
        client.responses.create(model="mavera-1", input="Hm?", tools=[function])

    assert answer.value.status_code == call.value.status_code == 503


# As pydantic 2.12 and 2.13 write the schema of a Decimal.
PRICE: Any = {"anyOf": [{"type": "number"}, {"type": "string", "pattern": r"^(?!^[-+.]*$)[+-]?0*\d*\.?\d*$"}]}


class Offer(BaseModel):
    price: Annotated[Decimal, WithJsonSchema(PRICE)]
    stock: int


def test_a_model_with_a_decimal_is_parsed_in_both_formats_and_as_a_function(serve: Serve) -> None:
    value = {"price": "12.50", "stock": 3}
    client = serve(ObedientModel(replies=[value] * 3, kept=False)).client(_strict_response_validation=False)
    tool: Any = {
        "type": "function",
        "name": "offer",
        "parameters": Offer.model_json_schema(),
        "strict": False,
    }

    response = client.responses.parse(model="mavera-1", input="Hm?", text_format=Offer)
    completion = client.chat.completions.parse(model="mavera-1", messages=ASKED, response_format=Offer)
    said = client.responses.create(model="mavera-1", input="Hm?", tools=[tool])

    assert response.output_parsed == Offer(price=Decimal("12.50"), stock=3)
    assert completion.choices[0].message.parsed == response.output_parsed
    assert said.status == "completed"


@each_model
def test_streamed_json_in_a_fence_has_no_fence_in_its_deltas(serve: Serve, kept: bool) -> None:
    client = serve(ObedientModel(replies=['```json\n{"stars": 4}\n```'], kept=kept)).client()

    events = list(
        client.responses.create(model="mavera-1", input="Hm?", text={"format": FORMAT}, stream=True)
    )

    said = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    last = events[-1]
    assert last.type == "response.completed"
    assert said == last.response.output_text == '{"stars": 4}'


def test_a_fence_in_an_answer_in_words_stays(serve: Serve) -> None:
    client = serve(ObedientModel(text="```json\n{}\n```")).client()

    assert client.responses.create(model="mavera-1", input="Hm?").output_text == "```json\n{}\n```"
