"""
Record one row for each call of a server tool: caller, tool and outcome, but neither arguments nor result.

Rows are collected and written together a moment later. The end of the log writes the rest.
"""

import time
from dataclasses import dataclass, field

from mavera.accounts.principal import Principal
from mavera.core.ids import new_cuid
from mavera.storage.database import Database, Queries, Row
from mavera.storage.late_rows import LateRows


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


_INSERT = """
    INSERT INTO tool_calls
           (id, workspace_id, key_id, run_id, tool, provider, status, milliseconds, characters, created_at)
    VALUES (:id, :workspace_id, :key_id, :run_id, :tool, :provider, :status, :milliseconds, :characters,
            :created_at)
"""


class AuditLog:
    """Writes the calls a moment later, together. The end of the block writes the rest."""

    def __init__(self, database: Database) -> None:
        self._rows = LateRows(database, _INSERT, "tool calls")

    async def __aenter__(self) -> "AuditLog":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._rows.__aexit__()

    def note(self, row: AuditRow) -> None:
        self._rows.add(row.to_row())


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
