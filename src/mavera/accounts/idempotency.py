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
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import structlog

from mavera.errors import APIError, InvalidRequest, StillRunning, ValidationFailed
from mavera.storage.database import Database

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
    def __init__(self, database: Database, *, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock
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
        """Return the first answer, or None to the one caller who is to give it."""
        if not 1 <= len(claim.name) <= NAME_MAX:
            raise InvalidRequest(f"An Idempotency-Key has 1 to {NAME_MAX} characters.")
        now = int(self._clock())
        row = await self._database.fetch_one(
            """
            INSERT INTO idempotency (key_id, name, request_digest, expires_at)
            VALUES (:key_id, :name, :request_digest, :expires_at)
            ON CONFLICT (key_id, name) DO UPDATE
               SET request_digest = :request_digest, expires_at = :expires_at,
                   content_type = NULL, body = NULL
             WHERE idempotency.expires_at <= :now
            RETURNING key_id
            """,
            key_id=claim.key_id,
            name=claim.name,
            request_digest=claim.request_digest,
            expires_at=now + CLAIM_SECONDS,
            now=now,
        )
        if row is None:
            return await self._first(claim)
        self._open.add((claim.key_id, claim.name))
        return None

    async def keep(self, claim: Claim, answer: FirstAnswer) -> None:
        self._open.discard((claim.key_id, claim.name))
        await self._database.execute(
            """
            UPDATE idempotency
               SET content_type = :content_type, body = :body, expires_at = :expires_at
             WHERE key_id = :key_id AND name = :name AND request_digest = :request_digest AND body IS NULL
            """,
            key_id=claim.key_id,
            name=claim.name,
            request_digest=claim.request_digest,
            content_type=answer.content_type,
            body=answer.body,
            expires_at=int(self._clock()) + KEPT_SECONDS,
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
        now = int(self._clock())
        rows = [{"key_id": k, "name": n, "until": now + CLAIM_SECONDS} for k, n in sorted(self._open)]
        await self._database.execute_many(
            """
            UPDATE idempotency
               SET expires_at = :until
             WHERE key_id = :key_id AND name = :name AND body IS NULL
            """,
            rows,
        )
        await self._database.execute("DELETE FROM idempotency WHERE expires_at <= :now", now=now)

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
