"""
The store of kept answers: encrypted, and for a limited time. A copy of the database alone reveals none.

    keep(workspace, purpose, key, value)    store the value until it expires, in place of an earlier one
    find(workspace, purpose, key)           return the value, or None
    keep_all · find_all                     the same for several keys, in one statement
    forget(workspace, purpose, key)         remove the value at once
    claim(workspace, purpose, key, value)   return a Claim if nothing is kept there, otherwise that value
        fill(claim, value)                  replace the claim by the answer
        renew(claims) · release(claim)      extend the claim, or give it up

A row has a workspace, a purpose, a keyed digest of its key, times, a size, and the encrypted value.
It contains neither the key nor the value in clear. A value that cannot be opened, because it is damaged or
no secret fits, counts as expired.

Each purpose has bounds for one workspace, and the oldest answers beyond them are removed. A process does
this for a workspace after it has written an eighth of a bound there, and with every sweep.
"""

import asyncio
import secrets
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Self

import structlog

from mavera.core.background import stop
from mavera.errors import APIError
from mavera.storage.database import Database, Row, Statements
from mavera.storage.group_commit import GroupCommit
from mavera.storage.moment import Clock, moment_of
from mavera.storage.sealing import Secrets, WorkspaceKeys

SWEEP_SECONDS = 30.0
# Encrypting a value of this size takes about 0.2 ms. A thread encrypts larger ones.
_SMALL_BYTES = 256 * 1024
_WORKSPACES_AT_HAND = 1024
_REMOVED_AT_ONCE = 500
_FOUND_AT_ONCE = 16
_TRIMS_PER_BOUND = 8

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Purpose:
    """
    The purpose of kept answers, and the bounds of one workspace for it.

    `needs_shared_secret` turns the purpose off if servers of one database may have different secrets.
    """

    name: str
    most_rows: int
    most_bytes: int
    needs_shared_secret: bool = True


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to fill a place. `stamp` distinguishes it from a later claim on the same place."""

    workspace_id: str
    purpose: Purpose
    digest: str
    stamp: str


@dataclass(slots=True)
class _Written:
    """The answers that this process has written for one workspace and purpose since the last trim."""

    rows: int = 0
    size: int = 0


@dataclass(frozen=True, slots=True)
class _Write:
    sql: str
    values: dict[str, Any]
    durable: bool


def _apply(statements: Statements, writes: Sequence[_Write]) -> list[int]:
    return [statements.execute(write.sql, write.values) for write in writes]


class KeptAnswers:
    """`clock` returns Unix seconds. Without it, times on Postgres go by the database's clock."""

    def __init__(self, database: Database, keys: Secrets, *, clock: Clock | None = None) -> None:
        self._database = database
        self._is_shared = keys.is_shared
        self._keys_of = lru_cache(_WORKSPACES_AT_HAND)(keys.keys_of)
        self._moment = moment_of(database, clock)
        self._written: defaultdict[tuple[str, Purpose], _Written] = defaultdict(_Written)
        self._commits = GroupCommit[_Write, int](database, _apply, must_last=lambda write: write.durable)
        self._sweeper: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._sweeper = asyncio.create_task(self._sweep_for_ever())
        return self

    async def __aexit__(self, *_: object) -> None:
        try:
            await stop(self._sweeper)
        finally:
            await self._commits.close()

    def serves(self, purpose: Purpose) -> bool:
        """Whether this store keeps answers for `purpose`."""
        return self._is_shared or not purpose.needs_shared_secret

    async def keep(
        self, workspace_id: str, purpose: Purpose, key: str, value: bytes, *, seconds: int
    ) -> bool:
        """Keep `value` for `seconds`, in place of an earlier one. False means the purpose is not served."""
        if not self.serves(purpose):
            return False
        keys = self._keys_of(workspace_id)[0]
        digest = keys.digest(purpose.name, key)
        row = await self._seal_row(keys, purpose, digest, value)
        await self._database.execute(
            f"""
            INSERT INTO kept_answers ({_COLUMNS})
            VALUES (:workspace_id, :purpose, :digest, :stamp, 0, {self._moment.sql},
                    {self._moment.sql} + :seconds, :size, :sealed)
            ON CONFLICT (workspace_id, purpose, digest) DO UPDATE
               SET stamp = :stamp, is_claim = 0, written_at = {self._moment.sql},
                   expires_at = {self._moment.sql} + :seconds, size = :size, sealed = :sealed
            """,  # noqa: S608 - the clock is ours
            **row,
            seconds=seconds,
            now=self._moment.now,
        )
        await self._note_written(workspace_id, purpose, row["size"])
        return True

    async def keep_all(
        self, workspace_id: str, purpose: Purpose, values: Mapping[str, bytes], *, seconds: int
    ) -> bool:
        """
        Keep new `values`, each under its key, for `seconds`. False if the purpose is not served.

        All are seen at once, and a power cut may lose them.
        """
        if not self.serves(purpose):
            return False
        keys = self._keys_of(workspace_id)[0]
        rows = [
            await self._seal_row(keys, purpose, keys.digest(purpose.name, key), value)
            for key, value in values.items()
        ]
        places = ", ".join(
            f"(:workspace_id, :purpose, :digest{n}, :stamp{n}, 0, {self._moment.sql}, "
            f"{self._moment.sql} + :seconds, :size{n}, :sealed{n})"
            for n, _ in enumerate(rows)
        )
        each = ("digest", "stamp", "size", "sealed")
        sql = f"INSERT INTO kept_answers ({_COLUMNS}) VALUES {places}"  # noqa: S608 - the names are ours
        own = {f"{name}{n}": row[name] for n, row in enumerate(rows) for name in each}
        shared = {"workspace_id": workspace_id, "purpose": purpose.name, "seconds": seconds}
        await self._write(sql, {**own, **shared, "now": self._moment.now}, durable=False)
        await self._note_written(workspace_id, purpose, sum(row["size"] for row in rows), len(rows))
        return True

    async def find_all(
        self, workspace_id: str, purpose: Purpose, keys: Sequence[str], *, most_bytes: int
    ) -> dict[str, bytes] | None:
        """Return what is kept under each of `keys`, or None if that is more than `most_bytes`."""
        found: dict[str, bytes] = {}
        if not self.serves(purpose):
            return found
        every = self._keys_of(workspace_id)
        for start in range(0, len(keys), _FOUND_AT_ONCE):
            wanted = {
                digest: (key, holder)
                for key in keys[start : start + _FOUND_AT_ONCE]
                for digest, holder in _make_digests(every, purpose, key).items()
            }
            for row in await self._fetch_rows(workspace_id, purpose, wanted, "AND is_claim = 0"):
                most_bytes -= row["size"]
                if most_bytes < 0:
                    return None
                key, holder = wanted[row["digest"]]
                value = await self._open(holder, purpose, row)
                if value is not None:
                    found[key] = value
        return found

    async def find(self, workspace_id: str, purpose: Purpose, key: str) -> bytes | None:
        """Return the kept value, or None if there is none, it has expired, or no secret opens it."""
        if not self.serves(purpose):
            return None
        every = self._keys_of(workspace_id)
        return await self._find(workspace_id, purpose, _make_digests(every, purpose, key), "AND is_claim = 0")

    async def forget(self, workspace_id: str, purpose: Purpose, key: str) -> None:
        """Remove the kept value, under whichever secret it was written."""
        digests = _make_digests(self._keys_of(workspace_id), purpose, key)
        names = _name_digests(digests)
        await self._database.execute(
            f"""
            DELETE FROM kept_answers
             WHERE workspace_id = :workspace_id AND purpose = :purpose
               AND digest IN ({_to_placeholders(names)})
            """,  # noqa: S608 - the names are ours
            workspace_id=workspace_id,
            purpose=purpose.name,
            **dict(zip(names, digests, strict=True)),
        )

    async def claim(
        self, workspace_id: str, purpose: Purpose, key: str, value: bytes, *, seconds: int
    ) -> Claim | bytes:
        """
        Claim a place for `seconds`, or return its value: an answer, or the `value` of another claim.

        If several callers claim the same place at once, in any process, one of them gets it.
        """
        current, *previous = self._keys_of(workspace_id)
        if previous:
            found = await self._find(workspace_id, purpose, _make_digests(previous, purpose, key))
            if found is not None:
                return found
        digest = current.digest(purpose.name, key)
        row = await self._seal_row(current, purpose, digest, value)
        claim = Claim(workspace_id, purpose, digest, row["stamp"])
        unreadable = ""
        while not await self._insert_claim(row, seconds, unreadable):
            seen = await self._look(workspace_id, purpose, digest)
            if seen is None:
                continue  # it was released or expired a moment ago
            opened = await self._open(current, purpose, seen)
            if opened is not None:
                return opened
            unreadable = seen["stamp"]
        return claim

    async def fill(self, claim: Claim, value: bytes, *, seconds: int) -> bool:
        """Put `value` in the claim's place for `seconds`. Returns False if the claim has been lost."""
        keys = self._keys_of(claim.workspace_id)[0]
        row = await self._seal_row(keys, claim.purpose, claim.digest, value)
        sql = f"""
            UPDATE kept_answers
               SET stamp = :stamp, is_claim = 0, written_at = {self._moment.sql},
                   expires_at = {self._moment.sql} + :seconds, size = :size, sealed = :sealed
             WHERE {_CLAIM}
            """  # noqa: S608
        values = {**row, "claimed": claim.stamp, "seconds": seconds, "now": self._moment.now}
        filled = await self._write(sql, values, durable=True)
        if filled:
            await self._note_written(claim.workspace_id, claim.purpose, row["size"])
        return bool(filled)

    async def renew(self, claims: Iterable[Claim], *, seconds: int) -> None:
        """Extend `claims` to `seconds` from now. A claim that was filled or released stays as it is."""
        rows = [{**_place_of(claim), "seconds": seconds, "now": self._moment.now} for claim in claims]
        await self._database.execute_many(
            f"UPDATE kept_answers SET expires_at = {self._moment.sql} + :seconds WHERE {_CLAIM}",  # noqa: S608
            rows,
        )

    async def release(self, claim: Claim) -> None:
        """Free the place for another claim. Does nothing if the place is filled."""
        sql = f"DELETE FROM kept_answers WHERE {_CLAIM}"  # noqa: S608
        await self._write(sql, _place_of(claim), durable=False)

    async def sweep(self) -> None:
        """Remove expired answers of all workspaces, and trim the workspaces for which this process wrote."""
        removed = _REMOVED_AT_ONCE
        while removed == _REMOVED_AT_ONCE:
            removed = await self._database.execute(
                f"""
                DELETE FROM kept_answers
                 WHERE (workspace_id, purpose, digest) IN (
                       SELECT workspace_id, purpose, digest
                         FROM kept_answers
                        WHERE expires_at <= {self._moment.sql}
                        LIMIT :most)
                """,  # noqa: S608
                now=self._moment.now,
                most=_REMOVED_AT_ONCE,
            )
        for workspace_id, purpose in list(self._written):
            await self._trim(workspace_id, purpose)

    async def _seal_row(
        self, keys: WorkspaceKeys, purpose: Purpose, digest: str, value: bytes
    ) -> dict[str, Any]:
        if len(value) <= _SMALL_BYTES:
            sealed = keys.seal(purpose.name, digest, value)
        else:
            sealed = await asyncio.to_thread(keys.seal, purpose.name, digest, value)
        return {
            "workspace_id": keys.workspace_id,
            "purpose": purpose.name,
            "digest": digest,
            "stamp": secrets.token_hex(8),
            "size": len(sealed),
            "sealed": sealed,
        }

    async def _open(self, keys: WorkspaceKeys, purpose: Purpose, row: Row) -> bytes | None:
        sealed = bytes(row["sealed"])
        if len(sealed) <= _SMALL_BYTES:
            opened = keys.open(purpose.name, row["digest"], sealed)
        else:
            opened = await asyncio.to_thread(keys.open, purpose.name, row["digest"], sealed)
        if opened is None:
            log.warning("kept_answer_unreadable", workspace=keys.workspace_id, purpose=purpose.name)
        return opened

    async def _insert_claim(self, row: dict[str, Any], seconds: int, unreadable: str) -> bool:
        """Claim a place that is empty, expired, or has the stamp `unreadable`."""
        sql = f"""
            INSERT INTO kept_answers ({_COLUMNS})
            VALUES (:workspace_id, :purpose, :digest, :stamp, 1, {self._moment.sql},
                    {self._moment.sql} + :seconds, :size, :sealed)
            ON CONFLICT (workspace_id, purpose, digest) DO UPDATE
               SET stamp = :stamp, is_claim = 1, written_at = {self._moment.sql},
                   expires_at = {self._moment.sql} + :seconds, size = :size, sealed = :sealed
             WHERE kept_answers.expires_at <= {self._moment.sql} OR kept_answers.stamp = :unreadable
            """  # noqa: S608
        values = {**row, "seconds": seconds, "unreadable": unreadable, "now": self._moment.now}
        return bool(await self._write(sql, values, durable=False))

    async def _write(self, sql: str, values: dict[str, Any], *, durable: bool) -> int:
        """
        Return the number of rows changed. A claim need not be durable, because it ends with its process.

        On SQLite, writes that arrive together share one commit. On Postgres, each has its own, because
        transactions with several of them could wait for each other's rows.
        """
        if not self._database.is_file:
            return await self._database.execute(sql, **values)
        return await self._commits.do(_Write(sql, values, durable))

    async def _find(
        self, workspace_id: str, purpose: Purpose, digests: dict[str, WorkspaceKeys], only: str = ""
    ) -> bytes | None:
        """Return the value under the first of `digests` that has one which can be opened."""
        by_digest = {
            row["digest"]: row for row in await self._fetch_rows(workspace_id, purpose, digests, only)
        }
        for digest, keys in digests.items():
            if digest in by_digest:
                opened = await self._open(keys, purpose, by_digest[digest])
                if opened is not None:
                    return opened
        return None

    async def _fetch_rows(
        self, workspace_id: str, purpose: Purpose, digests: Iterable[str], only: str
    ) -> list[Row]:
        names = _name_digests(digests)
        return await self._database.fetch_all(
            f"""
            SELECT digest, size, sealed
              FROM kept_answers
             WHERE workspace_id = :workspace_id AND purpose = :purpose
               AND digest IN ({_to_placeholders(names)}) AND expires_at > {self._moment.sql} {only}
            """,  # noqa: S608 - the names, the clock and the condition are ours
            workspace_id=workspace_id,
            purpose=purpose.name,
            now=self._moment.now,
            **dict(zip(names, digests, strict=True)),
        )

    async def _look(self, workspace_id: str, purpose: Purpose, digest: str) -> Row | None:
        return await self._database.fetch_one(
            f"""
            SELECT digest, stamp, sealed
              FROM kept_answers
             WHERE workspace_id = :workspace_id AND purpose = :purpose AND digest = :digest
               AND expires_at > {self._moment.sql}
            """,  # noqa: S608
            workspace_id=workspace_id,
            purpose=purpose.name,
            digest=digest,
            now=self._moment.now,
        )

    async def _note_written(self, workspace_id: str, purpose: Purpose, size: int, rows: int = 1) -> None:
        written = self._written[workspace_id, purpose]
        written.rows += rows
        written.size += size
        if (
            written.rows * _TRIMS_PER_BOUND >= purpose.most_rows
            or written.size * _TRIMS_PER_BOUND >= purpose.most_bytes
        ):
            await self._trim(workspace_id, purpose)

    async def _trim(self, workspace_id: str, purpose: Purpose) -> None:
        """Remove the oldest answers beyond the bounds of `purpose`. Claims stay: each belongs to a run."""
        self._written.pop((workspace_id, purpose), None)
        # Ranking 20,000 answers takes 75 ms, during which nothing else is written on SQLite. Counting them
        # takes a third of that, and writes go on.
        if not await self._is_full(workspace_id, purpose):
            return
        removed = await self._database.execute(
            """
            DELETE FROM kept_answers
             WHERE workspace_id = :workspace_id AND purpose = :purpose AND digest IN (
                   SELECT digest
                     FROM (SELECT digest,
                                  ROW_NUMBER() OVER newest AS place,
                                  CAST(SUM(size) OVER newest AS BIGINT) AS total
                             FROM kept_answers
                            WHERE workspace_id = :workspace_id AND purpose = :purpose AND is_claim = 0
                           WINDOW newest AS (ORDER BY written_at DESC, digest)) AS ranked
                    WHERE place > :most_rows OR total > :most_bytes)
            """,
            workspace_id=workspace_id,
            purpose=purpose.name,
            most_rows=purpose.most_rows,
            most_bytes=purpose.most_bytes,
        )
        if removed:
            log.info("kept_answers_trimmed", workspace=workspace_id, purpose=purpose.name, rows=removed)

    async def _is_full(self, workspace_id: str, purpose: Purpose) -> bool:
        """Return whether the workspace has more answers for `purpose` than its bounds allow."""
        row = await self._database.fetch_one(
            """
            SELECT COUNT(*) AS kept, CAST(COALESCE(SUM(size), 0) AS BIGINT) AS total
              FROM kept_answers
             WHERE workspace_id = :workspace_id AND purpose = :purpose AND is_claim = 0
            """,
            workspace_id=workspace_id,
            purpose=purpose.name,
        )
        return row is not None and (row["kept"] > purpose.most_rows or row["total"] > purpose.most_bytes)

    async def _sweep_for_ever(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            try:
                await self.sweep()
            except APIError as error:
                log.warning("kept_answers_not_swept", reason=error.message)
            except Exception as error:
                # Without the next sweep, the table would grow for as long as the process lives.
                log.exception("kept_answers_not_swept", error=type(error).__name__)


async def erase_clear_answers(database: Database) -> None:
    """
    Remove the answers that earlier releases kept in clear in the table `idempotency`.

    SQLite overwrites them in its file. Postgres frees their space with its next vacuum.
    """

    def erase(statements: Statements) -> int:
        if database.is_file:
            statements.fetch_all("PRAGMA secure_delete = ON", {})
        erased = statements.execute("DELETE FROM idempotency WHERE body IS NOT NULL", {})
        if database.is_file:
            statements.fetch_all("PRAGMA secure_delete = OFF", {})
        return erased

    if await database.batch(erase) and database.is_file:
        # The write-ahead log still contains the old pages.
        await database.fetch_all("PRAGMA wal_checkpoint(TRUNCATE)")


_COLUMNS = "workspace_id, purpose, digest, stamp, is_claim, written_at, expires_at, size, sealed"
_CLAIM = (
    "workspace_id = :workspace_id AND purpose = :purpose AND digest = :digest"
    " AND stamp = :claimed AND is_claim = 1"
)


def _place_of(claim: Claim) -> dict[str, Any]:
    return {
        "workspace_id": claim.workspace_id,
        "purpose": claim.purpose.name,
        "digest": claim.digest,
        "claimed": claim.stamp,
    }


def _make_digests(every: Iterable[WorkspaceKeys], purpose: Purpose, key: str) -> dict[str, WorkspaceKeys]:
    return {keys.digest(purpose.name, key): keys for keys in every}


def _name_digests(digests: Iterable[str]) -> list[str]:
    return [f"digest{number}" for number, _ in enumerate(digests)]


def _to_placeholders(names: Iterable[str]) -> str:
    return ", ".join(f":{name}" for name in names)
