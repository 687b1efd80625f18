"""Guidance with the real models: how long a prompt is, what is dropped, artifacts, and the plan."""

import asyncio
import re
import time
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import openai
import pytest
from msgspec.structs import replace

from mavera.core.events import RunCompleted
from mavera.core.items import make_message
from mavera.core.prompt import FunctionTool, Prompt, ToolChoice
from mavera.models.embedded.model import EmbeddedModel
from mavera.models.embedded.supervisor import EmbeddedEngine
from mavera.settings import load_settings
from tests.embedded_model.serving import GEN_Z, Running, serving
from tests.support.requirements import require_model

pytestmark = pytest.mark.embedded

TOOLS = tuple(FunctionTool(name, "Does it.", {"type": "object"}) for name in ("f", "g"))
PROMPTS = (
    Prompt((make_message("user", "Hello, how are you?"),), max_output_tokens=1),
    Prompt(
        (
            make_message("system", "Émile."),
            make_message("user", "<|im_start|>?"),
            make_message("assistant", ""),
        )
        * 3
    ),
    Prompt((make_message("user", "Hi."),), tools=TOOLS, tool_choice=ToolChoice("required")),
)


@pytest.fixture(scope="module")
def small_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A model with a context so small that a long conversation is read in a moment."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MAVERA_EMBEDDED_CONTEXT_TOKENS", "1024")
        with serving(tmp_path_factory.mktemp("small"), "smollm2-135m") as running:
            yield running


@pytest.mark.parametrize("name", ["smollm2-135m", "qwen2.5-coder-1.5b"])
def test_a_prompt_is_counted_as_the_engine_counts_it_when_it_answers(tmp_path: Path, name: str) -> None:
    settings = load_settings(data_dir=tmp_path, model=name, embedded_slots=1, embedded_context_tokens=2048)
    require_model(settings)

    async def counted() -> list[tuple[int, int]]:
        model = EmbeddedModel(EmbeddedEngine(settings))
        assert model.profile.context is not None
        count = model.profile.context.count
        await model.start()
        try:
            return [(await count(prompt), await spent(model, prompt)) for prompt in PROMPTS]
        finally:
            await model.close()

    for number, (before, after) in enumerate(asyncio.run(counted())):
        assert before == after, PROMPTS[number]


async def spent(model: EmbeddedModel, prompt: Prompt) -> int:
    """Return the input tokens of an answer to `prompt`, as the engine reports them."""
    async with aclosing(model.stream(replace(prompt, max_output_tokens=1))) as events:
        return next(iter([e.usage.input_tokens async for e in events if isinstance(e, RunCompleted)]))


def conversation(exchanges: int) -> list[Any]:
    return [
        message
        for number in range(exchanges)
        for message in (
            {"role": "user", "content": f"Question {number}: what about the number {number}? " * 20},
            {"role": "assistant", "content": f"Nothing to say of {number}."},
        )
    ][:-1]


@pytest.mark.parametrize("stream", [False, True])
def test_too_long_a_conversation_is_refused_with_the_numbers_at_once(
    small_server: Running, stream: bool
) -> None:
    client = small_server.client()
    client.responses.create(model="mavera-1", input="Hi.", max_output_tokens=1)
    started = time.monotonic()

    with pytest.raises(openai.BadRequestError) as refused:
        client.responses.create(model="mavera-1", input=conversation(12), stream=stream)

    assert time.monotonic() - started < 2
    assert refused.value.param == "input"
    assert "1,024" in refused.value.message


def test_auto_drops_until_the_engine_takes_it(small_server: Running) -> None:
    response = small_server.client().responses.create(
        model="mavera-1", input=conversation(12), truncation="auto", max_output_tokens=8
    )

    assert response.usage is not None
    assert 700 < response.usage.input_tokens < 1024
    assert response.output_text


def test_code_that_is_asked_for_comes_as_an_artifact(server: Running) -> None:
    response = server.client().responses.create(
        model="mavera-1",
        input="Write a Python function add(a, b) that returns the sum. No comments.",
        temperature=0,
        max_output_tokens=80,
        extra_body={"canvas_mode": True},
    )

    artifacts: Any = response.to_dict()["artifacts"]
    assert [(artifact["type"], artifact["language"]) for artifact in artifacts] == [("code", "python")]
    assert "return a + b" in artifacts[0]["content"]
    assert response.output_text.count("<artifact ") == response.output_text.count("</artifact>") == 1


def test_an_answer_at_length_has_its_least_words_and_ends_by_itself(server: Running) -> None:
    """A loop ends an answer sooner, so one of three is enough."""
    words: list[int] = []
    while len(words) < 3 and max(words, default=0) < 80:
        response = server.client().responses.create(
            model="mavera-1",
            input="Do you tip?",
            max_output_tokens=600,
            text={"verbosity": "high"},
            extra_body={"persona_id": GEN_Z},
        )
        assert response.status == "completed"
        words.append(len(response.output_text.split()))

    assert max(words) >= 80


def test_an_opinion_comes_with_its_reason(server: Running) -> None:
    response = server.client().responses.create(
        model="mavera-1", input="Would you pay to skip a queue?", extra_body={"persona_id": GEN_Z}
    )

    view = " ".join(re.split(r"(?<=[.!?]) ", response.output_text)[:3])
    assert re.search(r"\b(?:because|since|unless|due to|too|reason)\b", view, re.IGNORECASE)


def test_a_plan_is_made_counted_and_hidden(server: Running) -> None:
    events = list(
        server.client().responses.create(
            model="mavera-1",
            input="Should a small café take cash only?",
            reasoning={"effort": "high"},
            temperature=0,
            max_output_tokens=64,
            stream=True,
        )
    )

    response = events[-1].response  # type: ignore[union-attr]
    assert response.usage is not None
    thought = response.usage.output_tokens_details.reasoning_tokens
    assert 0 < thought <= 32
    assert thought < response.usage.output_tokens <= 64
    assert "Your notes" not in response.output_text
