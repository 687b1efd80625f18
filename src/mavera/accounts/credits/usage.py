"""Sums of the usage of a workspace: in all, by day, key, persona, operation and model. See `days.py`."""

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from mavera.accounts.credits.days import (
    DAY_SECONDS,
    KINDS,
    SUMMED,
    format_day,
    select_days,
    sums_sql,
    values_of,
)
from mavera.core.text import escape_formula
from mavera.storage.database import Queries, Row

Grouping = Literal["day", "key", "persona", "operation", "model"]
GROUPINGS: tuple[Grouping, ...] = ("day", "key", "persona", "operation", "model")
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
    """Sums of runs. `nanos` are the known prices of upstreams, by currency, in billionths."""

    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    credits: int = 0
    errors: int = 0
    milliseconds: int = 0
    nanos: Mapping[str, int] = field(default_factory=dict)

    @property
    def mean_milliseconds(self) -> int:
        return round(self.milliseconds / self.requests) if self.requests else 0

    @property
    def costs(self) -> list[tuple[str, float]]:
        """The prices that the servers of models charged, in each currency."""
        return [(currency, amount / _NANOS) for currency, amount in sorted(self.nanos.items())]

    @classmethod
    def from_row(cls, row: Row) -> Self:
        # Postgres returns sums in a type of its own, not as int.
        numbers = {name: int(row[name]) for name in _NUMBERS}
        nanos = {row["currency"]: int(row["upstream_nanos"])} if row["currency"] else {}
        return cls(**numbers, nanos=nanos)

    def __add__(self, other: "Sums") -> "Sums":
        numbers = {name: getattr(self, name) + getattr(other, name) for name in _NUMBERS}
        names = sorted({*self.nanos, *other.nanos})
        nanos = {name: self.nanos.get(name, 0) + other.nanos.get(name, 0) for name in names}
        return Sums(**numbers, nanos=nanos)


_NUMBERS = ("requests", "input_tokens", "output_tokens", "credits", "errors", "milliseconds")


@dataclass(frozen=True, slots=True)
class Span:
    """
    The days of a workspace that begin from `begin` up to `end`, in Unix seconds of UTC midnights.

    Each day is a day of the zone in which it was counted.
    """

    workspace_id: str
    begin: int
    end: int

    @classmethod
    def of_days(cls, workspace_id: str, first: int, last: int) -> Self:
        """Return the span from the day `first` through `last`, which are numbers since 1970."""
        return cls(workspace_id, first * DAY_SECONDS, (last + 1) * DAY_SECONDS)

    @property
    def first_day(self) -> int:
        return self.begin // DAY_SECONDS

    @property
    def last_day(self) -> int:
        return (self.end - 1) // DAY_SECONDS


async def sum_all(db: Queries, span: Span) -> Sums:
    found = await _sum_groups(db, span, "total", "value")
    return found[0][1] if found else Sums()


async def sum_by_day(db: Queries, span: Span) -> list[tuple[int, Sums]]:
    """Return the sums of each day with a run. Days are counted since 1970."""
    return [(int(day), sums) for day, sums in await _sum_groups(db, span, "total", "day")]


async def sum_by_key(db: Queries, span: Span) -> list[tuple[str, Sums]]:
    return await _sum_groups(db, span, "key", "value")


async def sum_by_persona(db: Queries, span: Span) -> list[tuple[str | None, Sums]]:
    """Return the sums of each persona. None stands for answers without a persona."""
    return [(value or None, sums) for value, sums in await _sum_groups(db, span, "persona", "value")]


async def sum_by_operation(db: Queries, span: Span) -> list[tuple[str | None, Sums]]:
    """Return the sums of each operation. None stands for runs of releases that did not record it."""
    return [(value or None, sums) for value, sums in await _sum_groups(db, span, "operation", "value")]


async def sum_by_model(db: Queries, span: Span) -> list[tuple[str | None, Sums]]:
    """Return the sums of each model. None stands for runs that needed no model."""
    return [(value or None, sums) for value, sums in await _sum_groups(db, span, "model", "value")]


async def list_zones(db: Queries, span: Span) -> list[str]:
    """Return the time zones in which the days of the span were counted."""
    rows = await db.fetch_all(
        f"SELECT DISTINCT zone FROM ({select_days('total')}) AS days ORDER BY zone",  # noqa: S608
        **values_of(span.workspace_id, span.first_day, span.last_day),
    )
    return [row["zone"] for row in rows]


async def name_keys(db: Queries, workspace_id: str) -> dict[str, str]:
    """Return the name of each key of a workspace by its id, also of revoked keys."""
    rows = await db.fetch_all(
        "SELECT id, name, last_four FROM api_keys WHERE workspace_id = :id", id=workspace_id
    )
    return {row["id"]: row["name"] or f"…{row['last_four']}" for row in rows}


async def _sum_groups(db: Queries, span: Span, kind: str, by: str) -> list[tuple[str, Sums]]:
    rows = await db.fetch_all(
        f"""
        SELECT {by} AS name, currency, {sums_sql()}
          FROM ({select_days(kind)}) AS days
         GROUP BY {by}, currency
         ORDER BY {by}, currency
        """,  # noqa: S608 - the names are ours
        **values_of(span.workspace_id, span.first_day, span.last_day),
    )
    found: dict[str, Sums] = {}
    for row in rows:
        found[row["name"]] = found.get(row["name"], Sums()) + Sums.from_row(row)
    return list(found.items())


@dataclass(frozen=True, slots=True)
class UsageByGroup:
    """All groupings of a span, read together, so that their sums agree."""

    total: Sums
    days: dict[int, Sums]
    keys: dict[str, Sums]
    personas: dict[str, Sums]
    operations: dict[str, Sums]
    models: dict[str, Sums]
    zones: tuple[str, ...]


async def read_all(db: Queries, span: Span) -> UsageByGroup:
    """Return every grouping of a span with one statement. An empty name stands for none."""
    kinds = " UNION ALL ".join(
        f"SELECT '{kind}' AS kind, d.* FROM ({select_days(kind)}) AS d"  # noqa: S608 - ours
        for kind in KINDS
    )
    rows = await db.fetch_all(
        f"""
        SELECT kind, day, value, zone, currency, {sums_sql()}
          FROM (SELECT kind, value, currency, CASE WHEN kind = 'total' THEN day ELSE 0 END AS day,
                       CASE WHEN kind = 'total' THEN zone ELSE '' END AS zone, {", ".join(SUMMED)}
                  FROM ({kinds}) AS everything) AS grouped
         GROUP BY kind, day, value, zone, currency
         ORDER BY kind, day, value, zone, currency
        """,  # noqa: S608 - the names are ours
        **values_of(span.workspace_id, span.first_day, span.last_day),
    )
    found: dict[str, dict[Any, Sums]] = {kind: {} for kind in KINDS}
    for row in rows:
        place = int(row["day"]) if row["kind"] == "total" else row["value"]
        group = found[row["kind"]]
        group[place] = group.get(place, Sums()) + Sums.from_row(row)
    return UsageByGroup(
        total=sum(found["total"].values(), Sums()),
        days=found["total"],
        keys=found["key"],
        personas=found["persona"],
        operations=found["operation"],
        models=found["model"],
        zones=tuple(sorted({row["zone"] for row in rows if row["kind"] == "total"})),
    )


async def read_groups(db: Queries, span: Span, by: Grouping) -> list[tuple[str, str, Sums]]:
    """Return the id, the name and the sums of each day, key, persona, operation or model."""
    if by == "day":
        return [(format_day(day), "", sums) for day, sums in await sum_by_day(db, span)]
    found = await _sum_groups(db, span, by, "value")
    names = await name_keys(db, span.workspace_id) if by == "key" else {}
    return [(value, names.get(value, ""), sums) for value, sums in found]


def write_csv(by: Grouping, lines: Iterable[tuple[str, str, Sums]], *, zone: str) -> str:
    """Return a table for spreadsheets, which run no text of it as a formula."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    lines = list(lines)
    currencies = sorted({currency for _, _, sums in lines for currency in sums.nanos})
    head = [f"date ({zone})"] if by == "day" else [by, "name"] if by == "key" else [by]
    writer.writerow(
        [
            *head,
            "requests",
            "errors",
            "input_tokens",
            "output_tokens",
            "credits",
            "mean_milliseconds",
            *(f"upstream_cost_{currency}" for currency in currencies),
        ]
    )
    for value, name, sums in lines:
        costs = dict(sums.costs)
        writer.writerow(
            [
                *(escape_formula(cell) for cell in (value, name)[: len(head)]),
                sums.requests,
                sums.errors,
                sums.input_tokens,
                sums.output_tokens,
                sums.credits,
                sums.mean_milliseconds,
                *(f"{costs.get(currency, 0):.9f}" for currency in currencies),
            ]
        )
    return text.getvalue()
