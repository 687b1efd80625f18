"""
Usage by day: the table `usage_days`, from which every page of usage is read.

    a batch of runs that ended   →  rows of `usage`, and their sums added to `usage_days`, in one transaction
    rows of earlier releases     →  `fold_usage` adds them later, a bounded number at a time

For each day there is one row for each key, each persona, each operation and each model, and one for all
together. A read of a month therefore depends on how many of these there are, and not on how many runs.

A day is a day of the workspace's reporting zone at the time of the run, and `zone` says which. Rows of
earlier releases are counted in UTC.
"""

import datetime
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from mavera.core.usage import MOST_TOKENS
from mavera.storage.database import Database, Row, Statements

UTC = "UTC"
DAY_SECONDS = 86_400
FOLDED_AT_ONCE = 1_000
KINDS = ("total", "key", "persona", "operation", "model")
_EPOCH = datetime.date(1970, 1, 1).toordinal()
SUMMED = ("requests", "errors", "input_tokens", "output_tokens", "credits", "milliseconds", "upstream_nanos")

_Group = tuple[str, int, str, str, str, str, str, str]


@dataclass(frozen=True, slots=True)
class UsedRun:
    """A run as `usage_days` counts it. Empty texts stand for none."""

    workspace_id: str
    ended_at: int
    key_id: str
    persona_id: str
    operation: str
    model: str
    currency: str
    is_failed: bool
    input_tokens: int
    output_tokens: int
    credits: int
    milliseconds: int
    upstream_nanos: int

    @classmethod
    def from_row(cls, row: Row) -> "UsedRun":
        return cls(
            row["workspace_id"],
            row["created_at"],
            row["key_id"],
            row["persona_id"] or "",
            row["operation"] or "",
            row["model"] or "",
            row["upstream_currency"] or "",
            row["status"] == "failed",
            row["input_tokens"],
            row["output_tokens"],
            row["credits"],
            row["milliseconds"],
            row["upstream_nanos"] or 0,
        )


@dataclass
class DayBook:
    """The sums of a batch of runs, which are written together."""

    _groups: dict[_Group, list[int]] = field(default_factory=dict)

    def add(self, run: UsedRun, zone: str) -> None:
        place, day = find_day(zone, run.ended_at)
        group = (
            run.workspace_id,
            day,
            place,
            run.key_id,
            run.persona_id,
            run.operation,
            run.model,
            run.currency,
        )
        sums = self._groups.get(group)
        if sums is None:
            sums = self._groups[group] = [0] * len(SUMMED)
        sums[0] += 1
        sums[1] += run.is_failed
        # Older rows may contain any count that an upstream reported.
        sums[2] += min(max(run.input_tokens, 0), MOST_TOKENS)
        sums[3] += min(max(run.output_tokens, 0), MOST_TOKENS)
        sums[4] += run.credits
        sums[5] += min(max(run.milliseconds, 0), MOST_TOKENS)
        sums[6] += run.upstream_nanos

    def write(self, statements: Statements) -> None:
        statements.execute_many(_ADD, self._list_rows())

    def _list_rows(self) -> list[Row]:
        """Return the rows to add, in the same order in all processes, so none waits for another."""
        totals: dict[tuple[str, str, int, str, str, str], list[int]] = {}
        for (workspace_id, day, zone, *values, currency), sums in self._groups.items():
            for kind, value in zip(KINDS, ("", *values), strict=True):
                place = (workspace_id, kind, day, value, zone, currency)
                known = totals.get(place)
                totals[place] = sums if known is None else [a + b for a, b in zip(known, sums, strict=True)]
        return [
            {
                **dict(zip(_PLACE, place, strict=True)),
                **dict(zip(SUMMED, totals[place], strict=True)),
            }
            for place in sorted(totals)
        ]


def find_day(zone: str, seconds: int) -> tuple[str, int]:
    """Return the zone that was used, and the day since 1970 there. An unknown zone is counted as UTC."""
    if zone != UTC and (known := find_zone(zone)) is not None:
        return zone, datetime.datetime.fromtimestamp(seconds, known).toordinal() - _EPOCH
    return UTC, seconds // DAY_SECONDS


def format_day(day: int) -> str:
    """Return the date of a day since 1970, such as 2026-11-29."""
    return datetime.date.fromordinal(_EPOCH + day).isoformat()


def day_of(date: datetime.date) -> int:
    return date.toordinal() - _EPOCH


@lru_cache(maxsize=1024)
def find_zone(name: str) -> ZoneInfo | None:
    """Return the time zone with this name, or None if this machine does not know it."""
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, LookupError):
        return None


async def fold_usage(database: Database, *, most: int = FOLDED_AT_ONCE) -> int:
    """
    Add rows of `usage` that earlier releases wrote to `usage_days`, and return how many.

    Each row is marked in the transaction that adds it, so it is counted once, whatever is killed.
    """
    skip = "" if database.is_file else " FOR UPDATE SKIP LOCKED"

    def fold(statements: Statements) -> int:
        rows = statements.fetch_all(
            f"""
            UPDATE usage SET rolled = 1
             WHERE (workspace_id, created_at, run_id) IN (
                   SELECT workspace_id, created_at, run_id FROM usage WHERE rolled = 0 LIMIT :most{skip})
            RETURNING workspace_id, created_at, key_id, persona_id, operation, model, upstream_currency,
                      status, input_tokens, output_tokens, credits, milliseconds, upstream_nanos
            """,  # noqa: S608 - ours
            {"most": most},
        )
        add_rows(statements, rows)
        return len(rows)

    return await database.batch(fold)


def add_rows(statements: Statements, rows: Iterable[Row]) -> None:
    book = DayBook()
    for row in rows:
        book.add(UsedRun.from_row(row), UTC)
    book.write(statements)


_PLACE = ("workspace_id", "kind", "day", "value", "zone", "currency")
_ADD = f"""
INSERT INTO usage_days ({", ".join(_PLACE)}, {", ".join(SUMMED)})
VALUES ({", ".join(f":{name}" for name in (*_PLACE, *SUMMED))})
ON CONFLICT ({", ".join(_PLACE)}) DO UPDATE
   SET {", ".join(f"{name} = usage_days.{name} + excluded.{name}" for name in SUMMED)}
"""  # noqa: S608 - the names are ours


def select_days(kind: str) -> str:
    """
    Return the SELECT of the sums of `kind`, a row for each day and value, also of rows not folded yet.

    Its values are `workspace_id`, `first` and `last`, which are days.
    """
    # The COALESCEs keep SQLite from the primary key, by which it would read every run of these days. The
    # index of rows not folded is nearly always empty.
    column = {
        "total": "''",
        "key": "key_id",
        "persona": "COALESCE(persona_id, '')",
        "operation": "COALESCE(operation, '')",
        "model": "COALESCE(model, '')",
    }[kind]
    bounded = ", ".join(
        f"CASE WHEN {name} < 0 THEN 0 WHEN {name} > {MOST_TOKENS} THEN {MOST_TOKENS} ELSE {name} END"
        for name in ("input_tokens", "output_tokens")
    )
    return f"""
        SELECT day, value, zone, currency, {", ".join(SUMMED)}
          FROM usage_days
         WHERE workspace_id = :workspace_id AND kind = '{kind}' AND day >= :first AND day <= :last
        UNION ALL
        SELECT created_at / {DAY_SECONDS}, {column}, 'UTC', COALESCE(upstream_currency, ''), 1,
               CASE WHEN status = 'failed' THEN 1 ELSE 0 END, {bounded}, credits,
               CASE WHEN milliseconds < 0 THEN 0 ELSE milliseconds END, COALESCE(upstream_nanos, 0)
          FROM usage
         WHERE rolled = 0 AND COALESCE(workspace_id, '') = :workspace_id
           AND COALESCE(created_at, 0) >= :first * {DAY_SECONDS}
           AND COALESCE(created_at, 0) < (:last + 1) * {DAY_SECONDS}
    """  # noqa: S608 - the names are ours


def sums_sql() -> str:
    """Return the sums of all columns over the rows of `select_days`."""
    return ", ".join(f"COALESCE(SUM({name}), 0) AS {name}" for name in SUMMED)


def values_of(workspace_id: str, first: int, last: int) -> dict[str, Any]:
    return {"workspace_id": workspace_id, "first": first, "last": last}
