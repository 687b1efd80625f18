"""A draft that copies its example is made once more, without the example."""

import asyncio
from collections.abc import AsyncGenerator

import msgspec
import pytest

from mavera.core.events import ModelEvent, RunCompleted, RunStarted, TextDelta
from mavera.core.prompt import Prompt
from mavera.core.usage import Usage
from mavera.errors import ServiceUnavailable
from mavera.models.scripted import ScriptedModel
from mavera.personas.builtin import PersonaLibrary
from mavera.runs.persona_draft import EXAMPLE, draft, find_copies, to_draft

LIBRARY = PersonaLibrary.load()


class Drafter(ScriptedModel):
    """Drafts these personas of the library, one after the other."""

    def __init__(self, *names: str) -> None:
        super().__init__(keeps_prompts=False)
        self.asked: list[Prompt] = []
        self._names = list(names)

    async def stream(self, prompt: Prompt) -> AsyncGenerator[ModelEvent, None]:
        self.asked.append(prompt)
        yield RunStarted()
        drafted = to_draft(LIBRARY.find(self._names.pop(0)))
        yield TextDelta(msgspec.json.encode(drafted).decode())
        yield RunCompleted("stop", Usage(output_tokens=700))


def test_a_draft_of_somebody_else_is_taken_at_once() -> None:
    model = Drafter("Healthcare")

    profile, usage = asyncio.run(draft(model, "Night nurse", "Works nights.", None))

    assert profile.demographics.speaker == LIBRARY.find("Healthcare").demographics.speaker
    assert (len(model.asked), usage.output_tokens) == (1, 700)


def test_a_copy_of_the_example_is_drafted_again_without_it() -> None:
    model = Drafter(EXAMPLE, "Healthcare")

    profile, usage = asyncio.run(draft(model, "Night nurse", "Works nights.", None))

    assert find_copies(profile) == []
    assert usage.output_tokens == 1400
    assert [len(prompt.items) for prompt in model.asked] == [4, 2]


def test_a_model_that_only_copies_is_refused() -> None:
    with pytest.raises(ServiceUnavailable, match="usable"):
        asyncio.run(draft(Drafter(EXAMPLE, EXAMPLE), "Night nurse", "Works nights.", None))


def test_copies_are_named() -> None:
    assert find_copies(LIBRARY.find(EXAMPLE)) == ["speaker", "place", "household", "phrases", "turns"]
