"""Remove in the background what is kept no longer, and the rows of deleted workspaces."""

import asyncio
from collections.abc import Mapping
from typing import Self

import structlog

from mavera.accounts import workspaces
from mavera.accounts.data.deletion import purge_deleted
from mavera.accounts.data.retention import Kind, prune_workspace
from mavera.core.background import stop
from mavera.errors import APIError
from mavera.storage.database import Database

EVERY_SECONDS = 600.0
_WORKSPACES_AT_ONCE = 100

log = structlog.get_logger()


class Upkeep:
    """Every server does this now and then. Two that do it at once remove the same rows, which is no harm."""

    def __init__(
        self, database: Database, bounds: Mapping[Kind, int], *, seconds: float = EVERY_SECONDS
    ) -> None:
        self._database = database
        self._bounds = bounds
        self._seconds = seconds
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._keep_up())
        return self

    async def __aexit__(self, *_: object) -> None:
        await stop(self._task)

    async def do_once(self) -> int:
        """Do one bounded pass over all workspaces, and return the number of rows that were removed."""
        removed = await purge_deleted(self._database)
        after, now = "", int(self._database.clock())
        while True:
            found = await workspaces.list_page(
                self._database, after=after, limit=_WORKSPACES_AT_ONCE, now=now
            )
            for workspace in found:
                pruned = await prune_workspace(self._database, workspace.id, self._bounds, now=now)
                if pruned:
                    log.info("pruned", workspace=workspace.id, **pruned)
                removed += sum(pruned.values())
            if len(found) < _WORKSPACES_AT_ONCE:
                return removed
            after = found[-1].id

    async def _keep_up(self) -> None:
        while True:
            await asyncio.sleep(self._seconds)
            try:
                await self.do_once()
            except APIError as error:
                log.warning("upkeep_failed", reason=error.message)
            except Exception as error:
                # Without the next pass, tables would grow for as long as the process lives.
                log.exception("upkeep_failed", error=type(error).__name__)
