"""Define the interface of an engine for `EmbeddedModel`."""

from typing import Protocol

from mavera.models.embedded.process import EngineAddress
from mavera.models.model import ModelStatus


class Engine(Protocol):
    """A running llama.cpp: a child of this process, or the one that the parent of all workers runs."""

    @property
    def context_tokens(self) -> int: ...

    async def start(self) -> None: ...

    async def endpoint(self) -> EngineAddress: ...

    def status(self) -> ModelStatus: ...

    def load_progress(self) -> float | None: ...

    async def close(self) -> None: ...
