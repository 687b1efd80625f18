"""Measure the studies of a database: how many wait or run, and how fast a model reads."""

from dataclasses import dataclass

import msgspec

from mavera.focus_groups.repository import PROGRAM, Method, list_due_webhooks, read_cells
from mavera.storage.database import Queries
from mavera.storage.moment import Moment


async def measure_speed(db: Queries, record: str) -> float | None:
    """Return the mean seconds of a read in the latest study of a model, or None if there is none."""
    rows = await db.fetch_all(
        "SELECT id, method FROM focus_groups WHERE started_at IS NOT NULL ORDER BY created_at DESC LIMIT 20"
    )
    for row in rows:
        if msgspec.json.decode(row["method"], type=Method).record != record:
            continue
        readings = [
            cell.reading for cell in await read_cells(db, row["id"]) if cell.reading and not cell.reused
        ]
        reads = sum(len(reading.reads) for reading in readings)
        if reads:
            return sum(reading.milliseconds for reading in readings) / reads / 1000
    return None


@dataclass(frozen=True, slots=True)
class StudyLoad:
    """
    The studies that are not finished.

    `stuck` counts those whose worker lost its lease more than a minute ago, and that nobody has taken since.
    """

    waiting: int = 0
    running: int = 0
    stuck: int = 0
    oldest_wait_seconds: int = 0


async def measure_load(db: Queries, moment: Moment) -> StudyLoad:
    """Return the number of unfinished studies, and for how long the oldest one has waited for a worker."""
    row = await db.fetch_one(
        f"""
        SELECT SUM(CASE WHEN status = 'PENDING' THEN 1 ELSE 0 END) AS waiting,
               SUM(CASE WHEN status = 'PROCESSING' THEN 1 ELSE 0 END) AS running,
               SUM(CASE WHEN status = 'PROCESSING' AND lease_until <= {moment.sql} - 60 THEN 1 ELSE 0 END)
                   AS stuck,
               MAX(CASE WHEN status = 'PENDING' THEN {moment.sql} - created_at ELSE 0 END) AS oldest
          FROM focus_groups
         WHERE status IN ('PENDING', 'PROCESSING')
        """,  # noqa: S608
        now=moment.now,
    )
    if row is None or row["waiting"] is None:
        return StudyLoad()
    return StudyLoad(int(row["waiting"]), int(row["running"]), int(row["stuck"]), int(row["oldest"]))


async def has_work(db: Queries, moment: Moment) -> bool:
    """Return whether a study waits for a worker, for its charge, or for the call of its webhook."""
    row = await db.fetch_one(
        f"""
        SELECT 1 AS found FROM focus_groups
         WHERE (status IN ('PENDING', 'PROCESSING') AND lease_until <= {moment.sql} AND program = :program)
            OR (status IN ('COMPLETED', 'FAILED', 'CANCELLED') AND lease_until = 0 AND settled_at IS NULL)
         LIMIT 1
        """,  # noqa: S608
        now=moment.now,
        program=PROGRAM,
    )
    return row is not None or bool(await list_due_webhooks(db, moment, limit=1))
