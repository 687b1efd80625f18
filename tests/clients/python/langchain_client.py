"""LangChain's ChatOpenAI against LangChain's own standard tests, through both doors."""

import os
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import HumanMessage
from langchain_openai import ChatOpenAI
from langchain_tests.integration_tests import ChatModelIntegrationTests
from pydantic import BaseModel, SecretStr


class Reason(BaseModel):
    text: str


class Opinion(BaseModel):
    score: int
    main: Reason


class _Standard(ChatModelIntegrationTests):
    """What mavera can: everything but PDF, audio, and messages in another vendor's form."""

    responses = False

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatOpenAI

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {
            "model": "mavera-1",
            "base_url": os.environ["MAVERA_BASE_URL"],
            "api_key": SecretStr(os.environ["MAVERA_API_KEY"]),
            "use_responses_api": self.responses,
            "stream_usage": True,
        }

    @property
    def supports_json_mode(self) -> bool:
        return True

    @property
    def supports_image_inputs(self) -> bool:
        return True

    @property
    def model_override_value(self) -> str:
        return "mavera-1"

    @pytest.mark.xfail(reason="the test itself fetches its image from the internet")
    def test_image_inputs(self, model: BaseChatModel) -> None:
        super().test_image_inputs(model)


class TestChat(_Standard):
    pass


class TestResponses(_Standard):
    responses = True

    @property
    def standard_chat_model_params(self) -> dict[str, Any]:
        return {"temperature": 0, "max_tokens": 100, "timeout": 60, "max_retries": 2}


@pytest.fixture(params=[False, True], ids=["chat", "responses"])
def chat(request: pytest.FixtureRequest) -> ChatOpenAI:
    where = {"base_url": os.environ["MAVERA_BASE_URL"], "api_key": SecretStr(os.environ["MAVERA_API_KEY"])}
    return ChatOpenAI(model="mavera-1", use_responses_api=request.param, max_retries=0, **where)


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_structured_output_is_filled(chat: ChatOpenAI, method: Any) -> None:
    asked = chat.with_structured_output(Opinion, method=method)

    assert asked.invoke("Give it a 7, says Ann.") == Opinion(score=7, main=Reason(text="Ann"))


PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGA"
    "hKmMIQAAAABJRU5ErkJggg=="
)


def test_an_image_goes_through_both_doors(chat: ChatOpenAI) -> None:
    parts = [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": PIXEL}}]

    assert chat.invoke([HumanMessage(parts)]).text == "This is a scripted answer to: What is it?"


def test_a_persona_goes_in_the_extra_body() -> None:
    persona = {"persona_id": os.environ["MAVERA_PERSONA_ID"]}
    where = {"base_url": os.environ["MAVERA_BASE_URL"], "api_key": SecretStr(os.environ["MAVERA_API_KEY"])}

    answer = ChatOpenAI(model="mavera-1", extra_body=persona, **where).invoke("Hello?")

    assert answer.text == "This is a scripted answer to: Hello?"
