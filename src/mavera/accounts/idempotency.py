"""
The first responses to requests with an Idempotency-Key, for callers who repeat a request.

    claim ──→ None          run the request, then keep its response or free the claim
          ──→ FirstResponse   the request was answered before
          ──→ StillRunning, or ValidationFailed if the key was sent with another request

Responses are kept for a day, encrypted. A claim is renewed while its request runs here; after its process
has died, the request can be made again within a minute.
"""

import asyncio
from dataclasses import dataclass
from typing import Self

import msgspec
import structlog

from mavera.core.background import stop
from mavera.core.finish import finish
from mavera.errors import APIError, InvalidRequest, StillRunning, ValidationFailed
from mavera.storage import kept
from mavera.storage.database import Database
from mavera.storage.kept import KeptAnswers, Purpose, erase_clear_answers
from mavera.storage.moment import Clock, moment_of

KEPT_SECONDS = 86_400
CLAIM_SECONDS = 60
NAME_MAX = 255
# A workspace of the Business plan can make that many responses in a day, at 5 kB each. Only the oldest are
# removed, and a client repeats a request within minutes.
IDEMPOTENCY = Purpose("idempotency", 50_000, 256 * 1024 * 1024, needs_shared_secret=False)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Claim:
    """One request under one Idempotency-Key. `request_digest` distinguishes it from any other."""

    workspace_id: str
    key_id: str
    name: str
    request_digest: str

    @property
    def place(self) -> str:
        """The key under which the response is kept. Each API key has names of its own."""
        return f"{self.key_id} {self.name}"


class FirstResponse(msgspec.Struct, frozen=True):
    content_type: str
    body: bytes


class _Kept(msgspec.Struct, frozen=True, array_like=True):
    """Without a response, the request is still running."""

    request_digest: str
    response: FirstResponse | None = None


class FirstResponses:
    """`clock` returns Unix seconds. Without it, claims on Postgres go by the database's clock."""

    def __init__(self, database: Database, kept_answers: KeptAnswers, *, clock: Clock | None = None) -> None:
        self._database = database
        self._kept = kept_answers
        self._moment = moment_of(database, clock)
        self._open: dict[Claim, kept.Claim] = {}
        self._renewer: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await erase_clear_answers(self._database)
        self._renewer = asyncio.create_task(self._renew_for_ever())
        return self

    async def __aexit__(self, *_: object) -> None:
        await stop(self._renewer)

    async def claim(self, claim: Claim) -> FirstResponse | None:
        """
        Return the first response, or None to the one caller that has to make it.

        If the caller is cancelled, nothing is claimed.
        """
        if not 1 <= len(claim.name) <= NAME_MAX:
            raise InvalidRequest(f"An Idempotency-Key has 1 to {NAME_MAX} characters.")
        try:
            found = await finish(self._claim(claim))
        except asyncio.CancelledError:
            if claim in self._open:
                await finish(self.free(claim))
            raise
        if found is None:
            return None
        if found.request_digest != claim.request_digest:
            raise ValidationFailed("This Idempotency-Key was sent before, with another request.")
        if found.response is None:
            raise StillRunning("The first request with this Idempotency-Key is still running.", retry_after=1)
        return found.response

    async def _claim(self, claim: Claim) -> _Kept | None:
        value = msgspec.msgpack.encode(_Kept(claim.request_digest))
        found = await self._kept.claim(
            claim.workspace_id, IDEMPOTENCY, claim.place, value, seconds=CLAIM_SECONDS
        )
        if isinstance(found, bytes):
            return msgspec.msgpack.decode(found, type=_Kept)
        self._open[claim] = found
        return None

    async def keep(self, claim: Claim, response: FirstResponse) -> None:
        """Keep the response for a day, unless the claim has been lost."""
        place = self._open.get(claim)
        if place is not None:
            value = msgspec.msgpack.encode(_Kept(claim.request_digest, response))
            await self._kept.fill(place, value, seconds=KEPT_SECONDS)
            # If that raises, the claim is still here, so that it can be freed.
            self._open.pop(claim, None)

    async def free(self, claim: Claim) -> None:
        """Let the request be made again. Does nothing if its response is kept."""
        place = self._open.pop(claim, None)
        if place is not None:
            await self._kept.release(place)

    async def renew(self) -> None:
        """Renew the claims of requests that run here, and remove expired rows of earlier releases."""
        await self._kept.renew(list(self._open.values()), seconds=CLAIM_SECONDS)
        await self._database.execute(
            f"DELETE FROM idempotency WHERE expires_at <= {self._moment.sql}",  # noqa: S608 - the clock is ours
            now=self._moment.now,
        )

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
