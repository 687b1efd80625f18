"""DSPy: signatures filled in by JSON, and a program that calls a tool."""

import os

import dspy
import pytest


@pytest.fixture(autouse=True)
def _model() -> None:
    model = dspy.LM(
        "openai/mavera-1",
        api_base=os.environ["MAVERA_BASE_URL"],
        api_key=os.environ["MAVERA_API_KEY"],
        cache=False,
        num_retries=0,
    )
    with dspy.context(lm=model, adapter=dspy.JSONAdapter()):
        yield


class Rate(dspy.Signature):
    """Rate a product as the person in the note does."""

    note: str = dspy.InputField()
    score: int = dspy.OutputField()
    why: str = dspy.OutputField()


def test_a_signature_is_filled_in() -> None:
    said = dspy.Predict(Rate)(note="Give it a 7, says Ann.")

    assert said.score == 7
    assert said.why


async def test_a_signature_is_filled_in_without_blocking() -> None:
    said = await dspy.Predict(Rate).acall(note="Give it a 7, says Ann.")

    assert said.score == 7


def test_the_model_answers_a_prompt_by_itself() -> None:
    (said, *_) = dspy.settings.lm("Hello?")

    assert "This is a scripted answer to: Hello?" in str(said)
