"""An engine of the embedded model that is always there, at an address that a test gives."""

from mavera.models.embedded.process import EngineAddress
from mavera.models.model import ModelStatus


class StandInEngine:
    """The address of an engine that is always there."""

    context_tokens = 8192

    def __init__(self, base_url: str) -> None:
        self._base_url = base_url

    async def start(self) -> None:
        return None

    async def close(self) -> None:
        return None

    async def endpoint(self) -> EngineAddress:
        return EngineAddress(self._base_url, "key")

    def status(self) -> ModelStatus:
        return ModelStatus("ready", "It is a stand-in.")

    def load_progress(self) -> float | None:
        return None
