"""
Store what was found, once for all replicas, and hand each finding to one sender.

    subject        budget:KEY:202611:75:1000 | model:mavera-1 | studies
    occurrence     1, 2, …: a subject that was well for ten minutes begins a new one
    state          pending → sent, or given up after ten tries

A sender takes a finding with a lease. If its process dies, another one takes it when the lease ends, so the
same message may arrive twice, with the same id.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import msgspec

from mavera.storage.database import Database, Queries, Row
from mavera.storage.moment import Moment

QUIET_SECONDS = 600
LEASE_SECONDS = 60
MOST_TRIES = 10
_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS = 5, 900
_MOST_AT_ONCE = 20


@dataclass(frozen=True, slots=True)
class Finding:
    """
    Something that the operator should know. `text` is a sentence for people, `data` the same for programs.

    One that `may_recur` begins a new occurrence if it is found again after ten quiet minutes.
    """

    subject: str
    kind: str
    text: str
    data: Mapping[str, Any] = field(default_factory=dict)
    may_recur: bool = True


@dataclass(frozen=True, slots=True)
class TakenFinding:
    """A finding that this process may send. `tries` counts this try."""

    subject: str
    occurrence: int
    kind: str
    text: str
    data: Mapping[str, Any]
    found_at: int
    tries: int

    @property
    def message_id(self) -> str:
        return f"{self.subject}.{self.occurrence}"

    @classmethod
    def from_row(cls, row: Row) -> Self:
        return cls(**{**row, "data": msgspec.json.decode(row["data"])})


async def note(db: Queries, finding: Finding, *, moment: Moment) -> None:
    """Store a finding. If it is known, only note that it was seen again."""
    begins = f"findings.seen_at < {moment.sql} - :quiet AND :may_recur = 1"
    await db.execute(
        f"""
        INSERT INTO findings (subject, occurrence, kind, text, data, state, tries, lease_until,
                              found_at, seen_at)
        VALUES (:subject, 1, :kind, :text, :data, 'pending', 0, 0, {moment.sql}, {moment.sql})
        ON CONFLICT (subject) DO UPDATE
           SET seen_at = {moment.sql},
               text = CASE WHEN {begins} THEN :text ELSE findings.text END,
               data = CASE WHEN {begins} THEN :data ELSE findings.data END,
               occurrence = CASE WHEN {begins} THEN findings.occurrence + 1 ELSE findings.occurrence END,
               state = CASE WHEN {begins} THEN 'pending' ELSE findings.state END,
               tries = CASE WHEN {begins} THEN 0 ELSE findings.tries END,
               found_at = CASE WHEN {begins} THEN {moment.sql} ELSE findings.found_at END,
               lease_until = CASE WHEN {begins} THEN 0 ELSE findings.lease_until END
        """,  # noqa: S608 - the clock is ours
        subject=finding.subject,
        kind=finding.kind,
        text=finding.text,
        data=msgspec.json.encode(finding.data).decode(),
        quiet=QUIET_SECONDS,
        may_recur=int(finding.may_recur),
        now=moment.now,
    )


async def take_due(database: Database, *, moment: Moment) -> list[TakenFinding]:
    """Take the findings that are due, each for this process alone."""
    rows = await database.fetch_all(
        f"""
        SELECT subject, occurrence FROM findings
         WHERE state = 'pending' AND lease_until <= {moment.sql}
         ORDER BY found_at, subject LIMIT :most
        """,  # noqa: S608
        now=moment.now,
        most=_MOST_AT_ONCE,
    )
    taken = []
    for row in rows:
        found = await database.fetch_one(
            f"""
            UPDATE findings SET lease_until = {moment.sql} + :seconds, tries = tries + 1
             WHERE subject = :subject AND occurrence = :occurrence AND state = 'pending'
               AND lease_until <= {moment.sql}
            RETURNING subject, occurrence, kind, text, data, found_at, tries
            """,  # noqa: S608
            subject=row["subject"],
            occurrence=row["occurrence"],
            seconds=LEASE_SECONDS,
            now=moment.now,
        )
        if found is not None:
            taken.append(TakenFinding.from_row(found))
    return taken


async def end(db: Queries, taken: TakenFinding, *, is_sent: bool, moment: Moment) -> None:
    """Record the outcome of a try. After a failed one, the next is due later and later."""
    if is_sent or taken.tries >= MOST_TRIES:
        state, wait = "sent" if is_sent else "given up", 0
    else:
        state, wait = "pending", min(_LONGEST_WAIT_SECONDS, _FIRST_WAIT_SECONDS * 3 ** (taken.tries - 1))
    await db.execute(
        f"""
        UPDATE findings SET state = :state, lease_until = {moment.sql} + :wait
         WHERE subject = :subject AND occurrence = :occurrence AND tries = :tries
        """,  # noqa: S608
        state=state,
        wait=wait,
        subject=taken.subject,
        occurrence=taken.occurrence,
        tries=taken.tries,
        now=moment.now,
    )
