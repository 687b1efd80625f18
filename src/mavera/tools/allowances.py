"""The server tools that each workspace may use: a column of its row, read at most once a second."""

from mavera.accounts import audit
from mavera.accounts.audit import OPERATORS_LOG, Actor, Entry
from mavera.accounts.short_lived import ShortLived
from mavera.errors import NotFound
from mavera.storage.database import Database, Queries

CACHE_SECONDS = 1.0
_NONE = "none"


class StoredAllowances:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._known = ShortLived[tuple[frozenset[str] | None]](limit=4096, life_seconds=CACHE_SECONDS)

    async def of(self, workspace_id: str) -> frozenset[str] | None:
        known = self._known.get(workspace_id)
        if known is None:
            asked_at = self._known.now()
            known = (await find_allowed_tools(self._database, workspace_id),)
            self._known.put(workspace_id, known, known_at=asked_at)
        return known[0]


async def find_allowed_tools(db: Queries, workspace_id: str) -> frozenset[str] | None:
    """Return the names of the tools that a workspace may use, or None for all."""
    row = await db.fetch_one("SELECT tools FROM workspaces WHERE id = :id", id=workspace_id)
    if row is None or row["tools"] is None:
        return None
    return frozenset(row["tools"].split()) - {_NONE}


async def allow_tools(
    database: Database, workspace_id: str, names: tuple[str, ...] | None, actor: Actor, *, now: int
) -> None:
    """Set the names of the tools that a workspace may use, or None for all. Raises NotFound."""
    tools = None if names is None else " ".join(sorted(set(names))) or _NONE
    async with database.transaction() as transaction:
        row = await transaction.fetch_one(
            "UPDATE workspaces SET tools = :tools WHERE id = :id RETURNING name",
            tools=tools,
            id=workspace_id,
        )
        if row is None:
            raise NotFound(f"There is no workspace {workspace_id[:60]}.")
        details = {"tools": None if names is None else sorted(set(names))}
        for log in (workspace_id, OPERATORS_LOG):
            entry = Entry(log, "tools.changed", workspace_id, row["name"], details)
            await audit.record(transaction, actor, entry, now=now)
