"""Prefixes on disk, with a real, small model: written while idle, found after a restart, never in the way."""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from mavera.core.events import RunCompleted
from mavera.core.items import Item, make_message
from mavera.core.prompt import Prompt, Sampling
from mavera.core.usage import Usage
from mavera.models.embedded import prefixes
from mavera.models.embedded.model import EmbeddedModel
from mavera.models.embedded.prefixes import PrefixStates
from mavera.models.embedded.supervisor import EmbeddedEngine
from mavera.settings import Settings, load_settings
from tests.support.requirements import require_model

pytestmark = [pytest.mark.embedded, pytest.mark.proof]

PREFIX: tuple[Item, ...] = (
    make_message(
        "system", "You are Maya Torres, 22, a student in Portland who makes coffee on weekends. " * 3
    ),
    make_message("user", "Do thrift stores beat new?"),
    make_message("assistant", "yeah, easily."),
)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    settings = load_settings(
        data_dir=tmp_path, model="smollm2-135m", embedded_context_tokens=512, embedded_slots=2
    )
    require_model(settings)
    return settings


@asynccontextmanager
async def running(settings: Settings, idle_seconds: float) -> AsyncIterator[EmbeddedModel]:
    engine = EmbeddedEngine(settings)
    states = PrefixStates(engine, settings.states_dir, 1 << 30, idle_seconds=idle_seconds, restore_seconds=60)
    model = EmbeddedModel(engine, states)
    states.keep([PREFIX])
    await model.start()
    try:
        yield model
    finally:
        await model.close()


async def asked(model: EmbeddedModel, question: str = "Coffee?") -> Usage:
    last = [event async for event in model.stream(prompt_of(question))][-1]
    assert isinstance(last, RunCompleted)
    return last.usage


def prompt_of(question: str) -> Prompt:
    return Prompt(
        items=(*PREFIX, make_message("user", question)),
        prefix_length=len(PREFIX),
        max_output_tokens=1,
        sampling=Sampling(temperature=0),
    )


async def written(settings: Settings) -> Path:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if found := list(settings.states_dir.glob(f"*{prefixes.SUFFIX}")):
            return found[0]
        await asyncio.sleep(0.1)
    raise AssertionError("no state was written")


def test_a_prefix_written_while_idle_is_not_read_again_after_a_restart(settings: Settings) -> None:
    async def main() -> tuple[Usage, Usage]:
        async with running(settings, 0.2) as model:
            file = await written(settings)
        assert file.stat().st_mode & 0o77 == 0
        async with running(settings, 60) as model:
            warm = await asked(model)
        file.write_bytes(b"damaged" + file.read_bytes()[7:])
        async with running(settings, 60) as model:
            cold = await asked(model)
        assert list(settings.states_dir.iterdir()) == []
        return warm, cold

    warm, cold = asyncio.run(main())

    assert warm.input_tokens == cold.input_tokens
    assert warm.cached_tokens > 0.7 * warm.input_tokens
    assert cold.cached_tokens < 0.1 * cold.input_tokens


def test_old_states_go_when_there_is_no_room(settings: Settings) -> None:
    async def main() -> list[str]:
        engine = EmbeddedEngine(settings)
        states = PrefixStates(engine, settings.states_dir, 250)
        settings.states_dir.mkdir(parents=True)
        mine = engine.model_identity
        for age, name in enumerate(["other-a-1", f"{mine}-b-2", f"{mine}-c-3"]):
            file = settings.states_dir / f"{name}{prefixes.SUFFIX}"
            file.write_bytes(b"x" * 100)
            os.utime(file, (1000 + age, 1000 + age))

        assert not states._has_room()
        assert len(list(settings.states_dir.iterdir())) == 2
        smaller = PrefixStates(engine, settings.states_dir, 150)
        assert not smaller._has_room()
        return [file.name for file in settings.states_dir.iterdir()]

    [left] = asyncio.run(main())
    assert left.endswith(f"-c-3{prefixes.SUFFIX}")


def test_a_prefix_read_for_a_question_is_on_disk_before_anyone_reads_it_again(settings: Settings) -> None:
    async def main() -> tuple[Usage, Usage, Usage]:
        # So long a quiet never comes: what is written here is written for the question.
        async with running(settings, 3600) as model:
            cold = await asked(model, "Is the zebra crossing safe?")
            await written(settings)
            again = await asked(model, "Tea, then?")
        async with running(settings, 3600) as model:
            restored = await asked(model, "Is the zebra crossing safe?")
        return cold, again, restored

    cold, again, restored = asyncio.run(main())

    assert cold.cached_tokens < 0.1 * cold.input_tokens
    assert again.cached_tokens > 0.7 * again.input_tokens
    assert restored.cached_tokens > 0.7 * restored.input_tokens
