"""
First answers, for those who ask twice with the same Idempotency-Key.

    claim ──→ None          ask, then keep the answer or free the claim
          ──→ FirstAnswer   it was asked before: this is what was said
          ──→ StillRunning, or ValidationFailed where the same key comes with another request

Answers are kept for a day. A claim is renewed while its request runs here, so what a
process that died was asked can be asked again after a minute.
"""

import asyncio
import contextlib
from dataclasses import dataclass
from typing import Self

import structlog

from mavera.core.finish import finish
from mavera.errors import APIError, InvalidRequest, StillRunning, ValidationFailed
from mavera.storage.database import Database
from mavera.storage.moment import Clock, moment_of

KEPT_SECONDS = 86_400
CLAIM_SECONDS = 60
NAME_MAX = 255

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Claim:
    """One request under one Idempotency-Key; `request_digest` tells it from any other."""

    key_id: str
    name: str
    request_digest: str


@dataclass(frozen=True, slots=True)
class FirstAnswer:
    content_type: str
    body: str


class FirstAnswers:
    """`clock` tells Unix seconds; without it, claims on Postgres go by the database's clock."""

    def __init__(self, database: Database, *, clock: Clock | None = None) -> None:
        self._database = database
        self._moment = moment_of(database, clock)
        self._open: set[tuple[str, str]] = set()
        self._renewer: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._renewer = asyncio.create_task(self._renew_for_ever())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._renewer is not None:
            self._renewer.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._renewer

    async def claim(self, claim: Claim) -> FirstAnswer | None:
        """
        Return the first answer, or None to the one caller who is to give it.

        If the caller is cancelled, nothing is claimed.
        """
        if not 1 <= len(claim.name) <= NAME_MAX:
            raise InvalidRequest(f"An Idempotency-Key has 1 to {NAME_MAX} characters.")
        try:
            claimed = await finish(self._insert(claim))
        except asyncio.CancelledError:
            if (claim.key_id, claim.name) in self._open:
                await finish(self.free(claim))
            raise
        return None if claimed else await self._first(claim)

    async def _insert(self, claim: Claim) -> bool:
        row = await self._database.fetch_one(
            f"""
            INSERT INTO idempotency (key_id, name, request_digest, expires_at)
            VALUES (:key_id, :name, :request_digest, {self._moment.sql} + :seconds)
            ON CONFLICT (key_id, name) DO UPDATE
               SET request_digest = :request_digest, expires_at = {self._moment.sql} + :seconds,
                   content_type = NULL, body = NULL
             WHERE idempotency.expires_at <= {self._moment.sql}
            RETURNING key_id
            """,  # noqa: S608 - the clock is ours
            key_id=claim.key_id,
            name=claim.name,
            request_digest=claim.request_digest,
            seconds=CLAIM_SECONDS,
            now=self._moment.now,
        )
        if row is not None:
            self._open.add((claim.key_id, claim.name))
        return row is not None

    async def keep(self, claim: Claim, answer: FirstAnswer) -> None:
        self._open.discard((claim.key_id, claim.name))
        await self._database.execute(
            f"""
            UPDATE idempotency
               SET content_type = :content_type, body = :body, expires_at = {self._moment.sql} + :seconds
             WHERE key_id = :key_id AND name = :name AND request_digest = :request_digest AND body IS NULL
            """,  # noqa: S608
            key_id=claim.key_id,
            name=claim.name,
            request_digest=claim.request_digest,
            content_type=answer.content_type,
            body=answer.body,
            seconds=KEPT_SECONDS,
            now=self._moment.now,
        )

    async def free(self, claim: Claim) -> None:
        """Let the request be made again; nothing where its answer is kept."""
        self._open.discard((claim.key_id, claim.name))
        await self._database.execute(
            "DELETE FROM idempotency WHERE key_id = :key_id AND name = :name AND body IS NULL",
            key_id=claim.key_id,
            name=claim.name,
        )

    async def renew(self) -> None:
        """Renew the claims of requests that run here; forget what is too old anywhere."""
        now = self._moment.now
        rows = [
            {"key_id": key_id, "name": name, "seconds": CLAIM_SECONDS, "now": now}
            for key_id, name in sorted(self._open)
        ]
        await self._database.execute_many(
            f"""
            UPDATE idempotency
               SET expires_at = {self._moment.sql} + :seconds
             WHERE key_id = :key_id AND name = :name AND body IS NULL
            """,  # noqa: S608
            rows,
        )
        await self._database.execute(
            f"DELETE FROM idempotency WHERE expires_at <= {self._moment.sql}",  # noqa: S608
            now=now,
        )

    async def _first(self, claim: Claim) -> FirstAnswer:
        row = await self._database.fetch_one(
            """
            SELECT request_digest, content_type, body
              FROM idempotency
             WHERE key_id = :key_id AND name = :name
            """,
            key_id=claim.key_id,
            name=claim.name,
        )
        if row is not None and row["request_digest"] != claim.request_digest:
            raise ValidationFailed("This Idempotency-Key was sent before, with another request.")
        if row is None or row["body"] is None:
            raise StillRunning("The first request with this Idempotency-Key is still running.", retry_after=1)
        return FirstAnswer(row["content_type"], row["body"])

    async def _renew_for_ever(self) -> None:
        while True:
            await asyncio.sleep(CLAIM_SECONDS / 3)
            try:
                await self.renew()
            except APIError as error:
                log.warning("claims_not_renewed", reason=error.message)
            except Exception as error:
                # Without the next renewal, every request here would lose its claim.
                log.exception("claims_not_renewed", error=type(error).__name__)
