"""
Copy all rows of one database into another one, of the same or of the other kind.

    refuse unless the target is empty        the workspace of a first start, if nobody used it, is no data
    close the source                         from here on, servers on it answer requests that write with 503
    name the values that Postgres refuses    the source is opened again, and the target is as it was
    mark the target                          with the source's fingerprint
    copy each table, page by page            a page and the place of its end are one transaction
    continue the studies                     they have no worker any more, so any worker may take them at once
    compare                                  rows, balances, ledgers, holds and spending

A copy that was killed goes on at the end of its last page. The tables of DBOS are not copied: workers make
new workflows from the pending cells of each study.
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from mavera.core.text import format_count
from mavera.errors import ConfigurationError
from mavera.storage.database import Database, Queries, Row, Statements, Transaction
from mavera.storage.moment import moment_of
from mavera.storage.moving.closing import (
    CopyMark,
    close_to_writers,
    find_mark,
    open_to_writers,
    write_mark,
)
from mavera.storage.moving.pages import iterate_pages, key_of
from mavera.storage.moving.shapes import COPIES, Table, list_copied_tables
from mavera.storage.moving.values import find_unfit_values
from mavera.storage.schema import ensure_schema, find_version, list_versions

# The first start makes rows in these tables only.
_FIRST_RUN = ("api_keys", "workspaces", "milestones")
_SUMS = {
    "balances": "SELECT id AS subject, balance AS total FROM workspaces",
    "ledger": "SELECT workspace_id AS subject, SUM(credits) AS total FROM ledger GROUP BY workspace_id",
    "holds": "SELECT workspace_id AS subject, SUM(credits) AS total FROM reservations GROUP BY workspace_id",
    "usage": "SELECT workspace_id AS subject, SUM(credits) AS total FROM usage GROUP BY workspace_id",
    "spending of keys": "SELECT id AS subject, spent AS total FROM api_keys",
}


@dataclass(frozen=True, slots=True)
class Ends:
    """The two databases of a copy. `source_path` is the file of a source that is SQLite."""

    source: Database
    target: Database
    source_path: Path | None


@dataclass(frozen=True, slots=True)
class CopyReport:
    """The result of a copy. `tables` has the rows of each table that is not empty."""

    tables: dict[str, int]
    studies_continued: int
    resumed: bool
    already_copied: bool = False
    seconds: float = 0.0

    @property
    def rows(self) -> int:
        return sum(self.tables.values())


@dataclass(slots=True)
class _Progress:
    """The place at which a copy goes on: the table, and the last key of it that is in the target."""

    table: str | None = None
    after: list[Any] | None = None
    resumed: bool = False


@dataclass(frozen=True, slots=True)
class _Copy:
    ends: Ends
    fingerprint: str
    tables: tuple[Table, ...]
    note: Callable[[str, int], None]
    began: float = field(default_factory=time.monotonic)


async def copy_database(
    ends: Ends, *, note_total: Callable[[int], None], note: Callable[[str, int], None]
) -> CopyReport:
    """
    Copy everything, or go on with a copy of the same source that was interrupted.

    `note_total` gets the number of rows, and `note` each table's name with the rows that were copied now.
    Raises ConfigurationError if the target has data of its own, if the source has values that the target
    refuses, or if the ends differ after the copy.
    """
    for name, database in (("source", ends.source), ("target", ends.target)):
        await _bring_up_to_date(name, database)
    mark = await find_mark(ends.target)
    source_mark = await find_mark(ends.source)
    if source_mark is not None and source_mark.role == "target" and source_mark.ended_at is None:
        raise ConfigurationError("The source is itself the target of a copy that has not ended.")
    if mark is not None and mark.ended_at is not None and _is_same(mark, source_mark):
        return CopyReport({}, 0, resumed=True, already_copied=True)
    if mark is None or not _is_same(mark, source_mark) or mark.ended_at is not None:
        await _refuse_data(ends.target, mark)
    tables = list_copied_tables()
    fingerprint = await close_to_writers(ends.source)
    progress = await _begin(ends, fingerprint, tables)
    counts = await count_rows(ends.source, tables)
    note_total(sum(counts.values()))
    copy = _Copy(ends, fingerprint, tables, note)
    await _copy_tables(copy, progress, counts)
    await _compare(ends, counts)
    studies = await ends.target.batch(lambda statements: _finish(statements, copy))
    if not ends.target.is_file:
        await ends.target.execute("ANALYZE")
    kept = {name: rows for name, rows in counts.items() if rows}
    return CopyReport(kept, studies, progress.resumed, seconds=time.monotonic() - copy.began)


async def count_rows(db: Queries, tables: Iterable[Table]) -> dict[str, int]:
    """Return the number of rows of each table."""
    counts = {}
    for table in tables:
        row = await db.fetch_one(f"SELECT COUNT(*) AS number FROM {table.name}")  # noqa: S608 - our names
        counts[table.name] = int(row["number"]) if row else 0
    return counts


async def _bring_up_to_date(name: str, database: Database) -> None:
    await ensure_schema(database)
    version = await find_version(database)
    if version != list_versions()[-1]:
        raise ConfigurationError(
            f"The {name} is at {version}, which this mavera does not know. Copy it with the mavera that"
            " runs on it."
        )


def _is_same(mark: CopyMark, source_mark: CopyMark | None) -> bool:
    """Whether the target's mark names the closed source."""
    return (
        mark.role == "target"
        and source_mark is not None
        and source_mark.role == "source"
        and source_mark.fingerprint == mark.fingerprint
    )


async def _refuse_data(target: Database, mark: CopyMark | None) -> None:
    """Raise ConfigurationError unless the target is empty, or as the first start of a server left it."""
    if mark is not None and mark.ended_at is None:
        raise ConfigurationError(
            "The target holds an unfinished copy of another source, or of this one before it was opened"
            " again. Empty it, or choose another one."
            if mark.role == "target"
            else "The target is closed, because its data was moved to another database."
        )
    moment = moment_of(target, None)
    alive = await target.fetch_one(
        f"SELECT COUNT(*) AS number FROM processes WHERE expires_at > {moment.sql}",  # noqa: S608
        now=moment.now,
    )
    if alive is not None and alive["number"]:
        raise ConfigurationError(
            f"Servers or workers still run on the target ({alive['number']}). Stop them first."
        )
    counts = await count_rows(target, list_copied_tables())
    used = [name for name, rows in counts.items() if rows and name not in _FIRST_RUN]
    touched = await target.fetch_one("SELECT 1 AS found FROM api_keys WHERE last_used_at IS NOT NULL")
    if used or touched is not None or counts["workspaces"] > 1 or counts["api_keys"] > 1:
        found = ", ".join(f"{name} ({rows})" for name, rows in counts.items() if rows)
        raise ConfigurationError(f"The target is in use: it has rows in {found}. Choose an empty database.")


async def _begin(ends: Ends, fingerprint: str, tables: tuple[Table, ...]) -> _Progress:
    """Return the place at which to go on. For a new copy, check the source's values and mark the target."""
    row = await ends.target.fetch_one(
        f"SELECT table_name, after FROM {COPIES} WHERE role = 'target' AND fingerprint = :fingerprint",  # noqa: S608
        fingerprint=fingerprint,
    )
    if row is not None:
        after = None if row["after"] is None else msgspec.json.decode(row["after"])
        return _Progress(row["table_name"], after, resumed=True)
    if ends.source_path is not None and not ends.target.is_file:
        faults = await asyncio.to_thread(find_unfit_values, ends.source_path, tables)
        if faults:
            await open_to_writers(ends.source)
            listed = "\n".join(f"  {fault}" for fault in faults)
            raise ConfigurationError(
                f"Postgres refuses these values. Nothing was copied, and the source is open again:\n{listed}"
            )

    def mark(statements: Statements) -> None:
        for name in _FIRST_RUN:
            statements.execute(f"DELETE FROM {name}", {})  # noqa: S608
        write_mark(statements, "target", fingerprint)

    await ends.target.batch(mark)
    return _Progress()


async def _copy_tables(copy: _Copy, progress: _Progress, counts: dict[str, int]) -> None:
    names = [table.name for table in copy.tables]
    start = names.index(progress.table) if progress.table else 0
    for name in names[:start]:
        copy.note(name, counts[name])
    for table in copy.tables[start:]:
        after = progress.after if table.name == progress.table else None
        if after is not None:
            copied = await count_rows(copy.ends.target, [table])
            copy.note(table.name, copied[table.name])
        async for rows in iterate_pages(copy.ends.source, table, after):
            async with copy.ends.target.transaction() as transaction:
                await _write_page(transaction, copy.fingerprint, table, rows)
            copy.note(table.name, len(rows))


async def _write_page(transaction: Transaction, fingerprint: str, table: Table, rows: list[Row]) -> None:
    values = ", ".join(f":{name}" for name in table.column_names)
    columns = ", ".join(table.column_names)
    insert = f"INSERT INTO {table.name} ({columns}) VALUES ({values})"  # noqa: S608 - our names
    # SQLite's driver takes dictionaries only.
    await transaction.execute_many(insert, [dict(row) for row in rows])
    changed = await transaction.execute(
        f"""
        UPDATE {COPIES} SET table_name = :name, after = :after
         WHERE role = 'target' AND fingerprint = :fingerprint AND ended_at IS NULL
        """,  # noqa: S608
        name=table.name,
        after=msgspec.json.encode(key_of(table, rows[-1])).decode(),
        fingerprint=fingerprint,
    )
    if changed != 1:
        raise ConfigurationError("Another process has ended or replaced this copy.")


async def _compare(ends: Ends, counts: dict[str, int]) -> None:
    """Raise ConfigurationError if a count or a sum of credits differs between the ends."""
    copied = await count_rows(ends.target, list_copied_tables())
    differing = [
        f"{name}: {format_count(rows, 'row')}, {copied[name]:,} in the target"
        for name, rows in counts.items()
        if copied[name] != rows
    ]
    for name, sql in _SUMS.items():
        differing += [
            f"{name} of {subject}: {before}, {after} in the target"
            for subject, before, after in _find_differences(
                await ends.source.fetch_all(sql), await ends.target.fetch_all(sql)
            )
        ]
    if differing:
        listed = "\n".join(f"  {line}" for line in differing[:20])
        raise ConfigurationError(f"The copy differs from its source, so it cannot be used:\n{listed}")


def _find_differences(source: list[Row], target: list[Row]) -> Iterable[tuple[str, int, int]]:
    before = {row["subject"]: int(row["total"]) for row in source}
    after = {row["subject"]: int(row["total"]) for row in target}
    for subject in before.keys() | after.keys():
        if before.get(subject, 0) != after.get(subject, 0):
            yield subject, before.get(subject, 0), after.get(subject, 0)


def _finish(statements: Statements, copy: _Copy) -> int:
    """Let workers take the unfinished studies, set the sequences, and end the copy. Returns the studies."""
    studies = statements.execute(
        """
        UPDATE focus_groups
           SET lease_until = 0, worker_id = NULL, fence = fence + 1,
               adoptions = adoptions - CASE WHEN status = 'PROCESSING' THEN 1 ELSE 0 END
         WHERE status IN ('PENDING', 'PROCESSING')
        """,
        {},
    )
    if not copy.ends.target.is_file:
        for table in copy.tables:
            if table.is_numbered:
                statements.fetch_all(_set_sequence(table.name, table.key[0]), {})
    statements.execute(
        f"UPDATE {COPIES} SET ended_at = :now WHERE role = 'target' AND fingerprint = :fingerprint",  # noqa: S608
        {"now": int(time.time()), "fingerprint": copy.fingerprint},
    )
    return studies


def _set_sequence(table: str, key: str) -> str:
    return f"""
        SELECT setval(pg_get_serial_sequence('{table}', '{key}'), COALESCE(MAX({key}), 1), COUNT(*) > 0)
          FROM {table}
    """  # noqa: S608 - our names
