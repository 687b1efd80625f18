"""The engine of the process that started this one: several workers, one model in memory."""

import asyncio
from contextlib import suppress
from typing import NamedTuple, Protocol

import msgspec
import structlog

from mavera.errors import ServiceUnavailable
from mavera.link import Handler, Link
from mavera.models.embedded.process import EngineAddress
from mavera.models.model import ModelStatus

LOOK_SECONDS = 1.0

log = structlog.get_logger()


class Engine(Protocol):
    """What `EmbeddedModel` needs of an engine, whoever keeps it running."""

    @property
    def context_tokens(self) -> int: ...

    async def start(self) -> None: ...

    async def endpoint(self) -> EngineAddress: ...

    def status(self) -> ModelStatus: ...

    def load_progress(self) -> float | None: ...

    async def close(self) -> None: ...


class _Address(NamedTuple):
    base_url: str
    api_key: str


class LinkedEngine:
    """Asks the parent where the engine is, and once a second how it is."""

    def __init__(self, link: Link, *, context_tokens: int) -> None:
        self._link = link
        self._context_tokens = context_tokens
        self._status = ModelStatus("starting", "The embedded model is loading.")
        self._task: asyncio.Task[None] | None = None

    @property
    def context_tokens(self) -> int:
        return self._context_tokens

    async def start(self) -> None:
        self._status = await self._link.ask("engine status", None, ModelStatus)
        self._task = asyncio.create_task(self._look(), name="mavera-engine-status")

    async def endpoint(self) -> EngineAddress:
        """Return where the engine listens. Raises ServiceUnavailable as the parent does."""
        return EngineAddress(*await self._link.ask("engine address", None, _Address))

    def status(self) -> ModelStatus:
        return self._status

    def load_progress(self) -> float | None:
        return None  # The parent's own business.

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                self._status = await self._link.ask("engine status", None, ModelStatus)
            except ServiceUnavailable:
                pass
            except Exception as error:
                # Without the next look, this worker would show the last status for ever.
                log.exception("engine_status_unknown", error=type(error).__name__)


def engine_handlers(engine: Engine) -> dict[str, Handler]:
    """Return what the parent answers about `engine`."""

    async def address(_: msgspec.Raw) -> tuple[str, str]:
        base_url, api_key = await engine.endpoint()
        return base_url, api_key

    async def status(_: msgspec.Raw) -> ModelStatus:
        return engine.status()

    return {"engine address": address, "engine status": status}
