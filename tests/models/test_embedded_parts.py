"""The embedded model over a stand-in for its engine: eyes and thoughts, which no small real model has."""

import asyncio

import pytest

from mavera.core.events import ModelEvent, ReasoningDelta, TextDelta
from mavera.core.items import Image, Message, Text
from mavera.core.prompt import OutputFormat, Prompt
from mavera.models.embedded.model import EmbeddedModel
from tests.support.stand_in_engine import StandInEngine
from tests.support.upstream_stub import DONE, FINISH, Upstream, chunk, running_upstream, sends, text

PICTURE = "data:image/png;base64,iVBORw0KGgo="


def ask(upstream: Upstream, prompt: Prompt, *, sees_images: bool = False) -> list[ModelEvent]:
    async def run() -> list[ModelEvent]:
        engine = StandInEngine(upstream.url.removesuffix("/v1"))
        model = EmbeddedModel(engine, sees_images=sees_images)
        await model.start()
        try:
            return [event async for event in model.stream(prompt)]
        finally:
            await model.close()

    return asyncio.run(run())


def test_a_model_with_its_projector_gets_images_as_they_are() -> None:
    prompt = Prompt((Message("user", (Text("What is this?"), Image(PICTURE))),))
    with running_upstream() as upstream:
        ask(upstream, prompt, sees_images=True)

    [message] = upstream.asked[0]["messages"][-1:]
    assert message["content"][1] == {"type": "image_url", "image_url": {"url": PICTURE, "detail": "auto"}}


@pytest.mark.parametrize("wanted", [OutputFormat(), OutputFormat("json_object")], ids=["text", "JSON"])
def test_thoughts_that_come_all_the_same_are_no_part_of_the_answer(wanted: OutputFormat) -> None:
    prompt = Prompt((Message("user", (Text("Would you pay?"),)),), format=wanted)
    said = '{"answer": 4}' if wanted.type == "json_object" else "Four euros."
    thoughts = [chunk({"reasoning_content": "Hm, "}), text("<think>{4 €}</think>")]
    with running_upstream() as upstream:
        upstream.script = [sends(*thoughts, text(said), FINISH, DONE)]
        events = ask(upstream, prompt)

    assert "".join(event.text for event in events if isinstance(event, TextDelta)) == said
    assert "Hm" in "".join(event.text for event in events if isinstance(event, ReasoningDelta))
