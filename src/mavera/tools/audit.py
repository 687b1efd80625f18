"""
Record one row for each call of a server tool: caller, tool and outcome, but neither arguments nor result.

Rows are collected and written together a moment later. The end of the log writes the rest.
"""

import asyncio
import contextlib
import time
from dataclasses import dataclass, field

import structlog

from mavera.accounts.principal import Principal
from mavera.core.ids import new_cuid
from mavera.errors import APIError
from mavera.storage.database import Database, Queries, Row

WRITE_AFTER_SECONDS = 0.2
# If the database is unreachable for long, the oldest rows are dropped, so that memory stays bounded.
MOST_WAITING = 10_000

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class AuditRow:
    """A call. `characters` is the size of its result before that was cut for the model."""

    principal: Principal
    run_id: str
    tool: str
    provider: str
    status: str
    milliseconds: int
    characters: int
    created_at: int = field(default_factory=lambda: int(time.time()))

    def to_row(self) -> Row:
        return {
            "id": new_cuid(),
            "workspace_id": self.principal.workspace_id,
            "key_id": self.principal.key_id,
            "run_id": self.run_id,
            "tool": self.tool,
            "provider": self.provider,
            "status": self.status,
            "milliseconds": self.milliseconds,
            "characters": self.characters,
            "created_at": self.created_at,
        }


class NoAudit:
    """The audit of runs without a store, which records nothing."""

    def note(self, row: AuditRow) -> None:
        return None


class AuditLog:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: list[Row] = []
        self._writer: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "AuditLog":
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._writer
        await self._write()

    def note(self, row: AuditRow) -> None:
        self._waiting.append(row.to_row())
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write_soon())

    async def _write_soon(self) -> None:
        while self._waiting:
            await asyncio.sleep(WRITE_AFTER_SECONDS)
            await self._write()

    async def _write(self) -> None:
        rows, self._waiting = self._waiting, []
        try:
            await self._database.execute_many(_INSERT, rows)
        except (APIError, asyncio.CancelledError) as error:
            self._waiting = [*rows, *self._waiting][-MOST_WAITING:]
            if isinstance(error, asyncio.CancelledError):
                raise
            log.warning("tool calls not written yet", rows=len(rows), reason=error.message)
            await asyncio.sleep(1)
        except Exception as error:
            # Rows that cannot be written must not stop those that come after them.
            log.exception("tool calls not written", rows=len(rows), error=type(error).__name__)


_INSERT = """
    INSERT INTO tool_calls
           (id, workspace_id, key_id, run_id, tool, provider, status, milliseconds, characters, created_at)
    VALUES (:id, :workspace_id, :key_id, :run_id, :tool, :provider, :status, :milliseconds, :characters,
            :created_at)
"""


async def recent(db: Queries, workspace_id: str, *, limit: int) -> list[Row]:
    """Return the newest calls of a workspace, newest first."""
    return await db.fetch_all(
        """
        SELECT created_at, tool, provider, status, milliseconds, characters, key_id, run_id
          FROM tool_calls
         WHERE workspace_id = :workspace_id
         ORDER BY created_at DESC, id DESC
         LIMIT :limit
        """,
        workspace_id=workspace_id,
        limit=limit,
    )
