"""
A worker for studies with a slow scripted model: `python -m tests.support.slow_study_worker LOG SECONDS`.

Each question that the model is asked adds a line to LOG, so that a test can count them over all processes.
"""

import asyncio
import hashlib
import sys
from collections.abc import AsyncGenerator
from pathlib import Path

from mavera.core.events import ModelEvent
from mavera.core.items import Message
from mavera.core.prompt import Prompt
from mavera.models.scripted import ScriptedModel
from mavera.server.study_worker import work_on_studies
from mavera.settings import load_settings


class SlowModel(ScriptedModel):
    def __init__(self, log: Path, seconds: float) -> None:
        super().__init__(keeps_prompts=False)
        self._log = log
        self._seconds = seconds

    async def stream(self, prompt: Prompt) -> AsyncGenerator[ModelEvent, None]:
        texts = [item.text for item in prompt.items if isinstance(item, Message)]
        with self._log.open("a") as log:
            log.write(f"{hash_of(texts)}\n")
        await asyncio.sleep(self._seconds)
        async for event in super().stream(prompt):
            yield event


def hash_of(texts: list[str]) -> str:
    return f"{abs(int.from_bytes(hashlib.sha256(repr(texts).encode()).digest()[:8], 'big')):x}"


if __name__ == "__main__":
    model = SlowModel(Path(sys.argv[1]), float(sys.argv[2]))
    asyncio.run(work_on_studies(load_settings(), model, ends_when_idle=False))
