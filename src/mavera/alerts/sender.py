"""
Look for what the operator should know, every ten seconds, and send it.

    sources (budgets, models, studies)  →  findings, a row for each  →  one process takes it  →  the channels

Each replica looks and sends, and the rows keep them from sending twice. Without a channel nothing runs.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Self

import structlog

from mavera.alerts import findings
from mavera.alerts.channels import Channel, SendingFailed
from mavera.alerts.findings import Finding, TakenFinding
from mavera.core.background import stop
from mavera.errors import APIError
from mavera.storage.database import Database
from mavera.storage.moment import Clock, moment_of

LOOK_SECONDS = 10.0

Source = Callable[[], Awaitable[Sequence[Finding]]]

log = structlog.get_logger()


class AlertSender:
    """Looks at `sources` and sends what they find through `channels` while it is open."""

    def __init__(
        self,
        database: Database,
        channels: Sequence[Channel],
        sources: Sequence[Source],
        *,
        look_seconds: float = LOOK_SECONDS,
        clock: Clock | None = None,
    ) -> None:
        self._database = database
        self._channels = channels
        self._sources = sources
        self._look_seconds = look_seconds
        self._moment = moment_of(database, clock)
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        if self._channels:
            self._task = asyncio.create_task(self._look_for_ever(), name="mavera-alerts")
        return self

    async def __aexit__(self, *_: object) -> None:
        await stop(self._task)

    async def look(self) -> None:
        """Store what the sources find now, and send what is due."""
        for source in self._sources:
            for finding in await source():
                await findings.note(self._database, finding, moment=self._moment)
        for taken in await findings.take_due(self._database, moment=self._moment):
            await self._send(taken)

    async def _send(self, taken: TakenFinding) -> None:
        is_sent = True
        for channel in self._channels:
            try:
                await channel.send(taken)
            except SendingFailed as error:
                is_sent = False
                log.warning("alert_not_sent", subject=taken.subject, tries=taken.tries, reason=str(error))
        if is_sent:
            log.info("alert_sent", subject=taken.subject)
        await findings.end(self._database, taken, is_sent=is_sent, moment=self._moment)

    async def _look_for_ever(self) -> None:
        while True:
            try:
                await self.look()
            except APIError as error:
                log.warning("alerts_not_looked_up", reason=error.message)
            except Exception as error:
                # Without the next look, no alert would be sent for as long as the process lives.
                log.exception("alerts_not_looked_up", error=type(error).__name__)
            await asyncio.sleep(self._look_seconds)
