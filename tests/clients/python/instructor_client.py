"""instructor, in each of its modes that goes through one of the two doors."""

import os
from decimal import Decimal

import instructor
import pytest
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel, field_validator

MODES = [
    instructor.Mode.TOOLS,
    instructor.Mode.JSON,
    instructor.Mode.JSON_SCHEMA,
    instructor.Mode.RESPONSES_TOOLS,
]
ASKED = [{"role": "user", "content": "Give it a 7, says Ann."}]
WHERE = {"base_url": os.environ["MAVERA_BASE_URL"], "api_key": os.environ["MAVERA_API_KEY"]}


class Reason(BaseModel):
    text: str


class Opinion(BaseModel):
    score: int
    main: Reason


EXPECTED = {"score": 7, "main": {"text": "Ann"}}


@pytest.fixture(params=MODES, ids=lambda mode: mode.name.lower())
def client(request: pytest.FixtureRequest) -> instructor.Instructor:
    return instructor.from_openai(OpenAI(**WHERE), mode=request.param, model="mavera-1")


def test_a_response_model_is_filled(client: instructor.Instructor) -> None:
    opinion = client.create(response_model=Opinion, messages=ASKED, max_retries=0)

    assert opinion.model_dump() == EXPECTED


class Offer(BaseModel):
    """pydantic writes a look-ahead into the pattern of a price."""

    price: Decimal
    named_by: str


def test_a_price_is_filled_in(client: instructor.Instructor) -> None:
    asked = [{"role": "user", "content": "It costs 7, says Ann."}]

    offer = client.create(response_model=Offer, messages=asked, max_retries=0)

    assert offer.model_dump() == {"price": Decimal(7), "named_by": "Ann"}


def test_the_completion_comes_with_it(client: instructor.Instructor) -> None:
    opinion, raw = client.create_with_completion(response_model=Opinion, messages=ASKED, max_retries=0)

    assert opinion.model_dump() == EXPECTED
    assert raw.usage.total_tokens > 0


async def test_the_async_client_works() -> None:
    client = instructor.from_openai(AsyncOpenAI(**WHERE), model="mavera-1")

    opinion = await client.create(response_model=Opinion, messages=ASKED, max_retries=0)

    assert opinion.model_dump() == EXPECTED


def test_partial_objects_stream_up_to_the_whole() -> None:
    client = instructor.from_openai(OpenAI(**WHERE), model="mavera-1")

    parts = list(client.create_partial(response_model=Opinion, messages=ASKED, max_retries=0))

    assert parts[-1].model_dump() == EXPECTED
    assert len(parts) > 1


def test_a_value_that_is_refused_is_asked_for_again_with_the_reason() -> None:
    seen = []

    class Picky(BaseModel):
        score: int

        @field_validator("score")
        @classmethod
        def _not_at_once(cls, score: int) -> int:
            seen.append(score)
            if len(seen) == 1:
                raise ValueError("not at once")
            return score

    client = instructor.from_openai(OpenAI(**WHERE), model="mavera-1")

    assert client.create(response_model=Picky, messages=ASKED, max_retries=2)
    assert len(seen) == 2
