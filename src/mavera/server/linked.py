"""Parts of a worker that ask the parent, which has one such part for all workers."""

import asyncio
from contextlib import suppress

import structlog

from mavera.accounts.limits.windows import Verdict
from mavera.accounts.plans import Limits
from mavera.core.background import stop
from mavera.errors import APIError, ServiceUnavailable
from mavera.link import Link
from mavera.metrics import Counted, Exchange
from mavera.models.embedded.process import EngineAddress
from mavera.models.model import ModelStatus
from mavera.server.questions import (
    BeginRun,
    CountRequest,
    EndRun,
    ExchangeCounts,
    GetEngineAddress,
    GetEngineStatus,
)

LOOK_SECONDS = 1.0

log = structlog.get_logger()


class LinkedLimiter:
    """Counts requests at the parent, so the limits are exact for all its workers together."""

    def __init__(self, link: Link) -> None:
        self._link = link

    async def allow(self, key_id: str, limits: Limits) -> Verdict:
        return await self._link.fetch_reply(CountRequest(key_id, limits), Verdict)

    async def close(self) -> None:
        return None


class LinkedRunning:
    """Counts runs at the parent. Runs of a workspace without a limit are not counted."""

    def __init__(self, link: Link) -> None:
        self._link = link

    async def begin(self, workspace_id: str, most: int | None) -> bool:
        if most is None:
            return True
        question = asyncio.ensure_future(self._link.fetch_reply(BeginRun(workspace_id, most), bool))
        try:
            return await asyncio.shield(question)
        except asyncio.CancelledError:
            # The parent counts the run now or in a moment, and nobody else here would end it.
            question.add_done_callback(lambda done: self._take_back(workspace_id, done))
            raise

    def end(self, workspace_id: str, most: int | None) -> None:
        if most is not None:
            self._link.send(EndRun(workspace_id))

    def _take_back(self, workspace_id: str, question: asyncio.Future[bool]) -> None:
        with suppress(asyncio.CancelledError, APIError):
            if question.result():
                self._link.send(EndRun(workspace_id))


class LinkedEngine:
    """Asks the parent for the engine's address, and once a second for its status."""

    def __init__(self, link: Link, *, context_tokens: int) -> None:
        self._link = link
        self._context_tokens = context_tokens
        self._status = ModelStatus("starting", "The embedded model is loading.")
        self._task: asyncio.Task[None] | None = None

    @property
    def context_tokens(self) -> int:
        return self._context_tokens

    async def start(self) -> None:
        self._status = await self._link.fetch_reply(GetEngineStatus(), ModelStatus)
        self._task = asyncio.create_task(self._look(), name="mavera-engine-status")

    async def endpoint(self) -> EngineAddress:
        """Return the address of the engine. Raises ServiceUnavailable if the parent has none."""
        return await self._link.fetch_reply(GetEngineAddress(), EngineAddress)

    def status(self) -> ModelStatus:
        return self._status

    def load_progress(self) -> float | None:
        return None  # only the parent loads the engine

    async def close(self) -> None:
        await stop(self._task)

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                self._status = await self._link.fetch_reply(GetEngineStatus(), ModelStatus)
            except ServiceUnavailable:
                pass
            except Exception as error:
                # Without the next request, this worker would show the last status for ever.
                log.exception("engine_status_unknown", error=type(error).__name__)


def exchange_counts(link: Link) -> Exchange:
    """Return a function that sends this worker's metrics to the parent and returns those of all workers."""

    async def exchange(counted: Counted) -> Counted:
        return await link.fetch_reply(ExchangeCounts(counted), Counted)

    return exchange
