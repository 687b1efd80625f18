"""Sums of the usage of a workspace: in all, by day, by key and by persona."""

from dataclasses import dataclass
from typing import Any, Self

from mavera.core.usage import MOST_TOKENS
from mavera.storage.database import Queries, Row


def _sum_column(column: str) -> str:
    # Older rows may contain any count that an upstream reported. One absurd count must not make the
    # sum of the whole workspace overflow.
    bounded = (
        f"CASE WHEN {column} < 0 THEN 0 WHEN {column} > {MOST_TOKENS} THEN {MOST_TOKENS} ELSE {column} END"
    )
    return f"COALESCE(SUM({bounded}), 0) AS {column}"


_SUMS = f"""
    COUNT(*) AS requests,
    {_sum_column("input_tokens")},
    {_sum_column("output_tokens")},
    {_sum_column("credits")},
    COALESCE(SUM(CASE WHEN status = 'failed' THEN 1 ELSE 0 END), 0) AS errors,
    {_sum_column("milliseconds")}
"""
_RANGE = "workspace_id = :workspace_id AND created_at >= :begin AND created_at < :end"


_NANOS = 1_000_000_000


async def count_recent_personas(db: Queries, workspace_id: str, *, runs: int) -> dict[str, int]:
    """Return how often each persona answered in the latest `runs` of a workspace."""
    rows = await db.fetch_all(
        """
        SELECT persona_id, COUNT(*) AS runs
          FROM (SELECT persona_id FROM usage
                 WHERE workspace_id = :workspace_id
                 ORDER BY created_at DESC, run_id DESC
                 LIMIT :runs) AS latest
         WHERE persona_id IS NOT NULL
         GROUP BY persona_id
        """,
        workspace_id=workspace_id,
        runs=runs,
    )
    return {str(row["persona_id"]): int(row["runs"]) for row in rows}


@dataclass(frozen=True, slots=True)
class LatestRun:
    """A run that ended at `created_at`. `key_name` is the name of its key, even of a revoked one."""

    run_id: str
    created_at: int
    key_name: str
    persona_id: str | None
    operation: str | None
    model: str | None
    status: str
    input_tokens: int
    output_tokens: int
    credits: int
    milliseconds: int


async def list_latest(db: Queries, workspace_id: str, *, limit: int) -> list[LatestRun]:
    """Return the latest runs of a workspace, newest first."""
    rows = await db.fetch_all(
        """
        SELECT u.run_id, u.created_at, COALESCE(k.name, '') AS key_name, u.persona_id, u.operation, u.model,
               u.status, u.input_tokens, u.output_tokens, u.credits, u.milliseconds
          FROM usage u
          LEFT JOIN api_keys k ON k.id = u.key_id
         WHERE u.workspace_id = :workspace_id
         ORDER BY u.created_at DESC, u.run_id DESC
         LIMIT :limit
        """,
        workspace_id=workspace_id,
        limit=limit,
    )
    return [LatestRun(**row) for row in rows]


@dataclass(frozen=True, slots=True)
class Sums:
    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    credits: int = 0
    errors: int = 0
    milliseconds: int = 0

    @property
    def mean_milliseconds(self) -> int:
        return round(self.milliseconds / self.requests) if self.requests else 0

    @classmethod
    def from_row(cls, row: Row) -> Self:
        # Postgres returns sums in a type of its own, not as int.
        return cls(**{name: int(row[name]) for name in cls.__slots__})


@dataclass(frozen=True, slots=True)
class Span:
    """The runs of a workspace that ended from `begin` up to `end`, in Unix seconds."""

    workspace_id: str
    begin: int
    end: int

    @property
    def values(self) -> dict[str, Any]:
        return {"workspace_id": self.workspace_id, "begin": self.begin, "end": self.end}


async def sum_all(db: Queries, span: Span) -> Sums:
    row = await db.fetch_one(f"SELECT {_SUMS} FROM usage WHERE {_RANGE}", **span.values)  # noqa: S608
    return Sums.from_row(row) if row else Sums()


async def sum_by_day(db: Queries, span: Span) -> list[tuple[int, Sums]]:
    """Return the sums of each day with a run. Days are counted since 1970 in UTC."""
    return [
        (int(row["day"]), Sums.from_row(row))
        for row in await _fetch_groups(db, span, "created_at / 86400", "day")
    ]


async def sum_by_key(db: Queries, span: Span) -> list[tuple[str, Sums]]:
    return [(row["key_id"], Sums.from_row(row)) for row in await _fetch_groups(db, span, "key_id", "key_id")]


async def sum_by_persona(db: Queries, span: Span) -> list[tuple[str | None, Sums]]:
    """Return the sums of each persona. None stands for answers without a persona."""
    rows = await _fetch_groups(db, span, "persona_id", "persona_id")
    return [(row["persona_id"], Sums.from_row(row)) for row in rows]


async def sum_upstream_costs(db: Queries, span: Span) -> list[tuple[str, float]]:
    """Return what the servers of models charged as far as it is known, in each currency."""
    rows = await db.fetch_all(
        "SELECT upstream_currency, SUM(upstream_nanos) AS nanos FROM usage "  # noqa: S608
        f"WHERE {_RANGE} AND upstream_currency IS NOT NULL GROUP BY upstream_currency "
        "ORDER BY upstream_currency",
        **span.values,
    )
    return [(row["upstream_currency"], int(row["nanos"]) / _NANOS) for row in rows]


async def _fetch_groups(db: Queries, span: Span, column: str, name: str) -> list[Row]:
    return await db.fetch_all(
        f"SELECT {column} AS {name}, {_SUMS} FROM usage WHERE {_RANGE} GROUP BY {column} ORDER BY {column}",  # noqa: S608
        **span.values,
    )
