"""
Call a study's webhook when it ends, signed as Standard Webhooks describes.

    webhook-id           fg_….1            the study and its attempt; the same in each try
    webhook-timestamp    1790000000
    webhook-signature    v1,<base64 of HMAC-SHA-256 of "id.timestamp.body" with the study's secret>

The body names the study and its status and contains no answers. The secret is derived from the server's, so
nothing is stored, and `POST /focus-groups` returns it.

    settled → due → a try is recorded → the call → received, due again later, or given up after five tries

The study's row owes the call from the statement that charges the study. If a process dies before the call
or during it, another one makes it: a receiver gets the message at least once, always with the same id.
"""

import asyncio
import base64
import hashlib
import time
from collections.abc import Callable

import msgspec
import structlog

from mavera.errors import APIError
from mavera.fetch.guarded_fetch import GuardedFetch
from mavera.fetch.signing import PREFIX, sign
from mavera.focus_groups import repository
from mavera.focus_groups.repository import StudyRow
from mavera.storage.database import Queries
from mavera.storage.moment import Moment
from mavera.storage.sealing import Secrets

log = structlog.get_logger()

PURPOSE = "webhook of a focus group"
WAITS_SECONDS = (2, 10, 60, 300)
# A call that its process did not end is made again after this time. It is longer than a fetch may take.
CLAIM_SECONDS = 60
MOST_CALLS = 16


class Webhooks:
    """
    Makes the calls that studies in `database` owe, through `fetch`.

    `waits` are the seconds before each further try, measured by `moment`. `clock` dates the signatures.
    """

    def __init__(
        self,
        database: Queries,
        fetch: GuardedFetch,
        secrets: Secrets,
        *,
        moment: Moment,
        waits: tuple[int, ...] = WAITS_SECONDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._fetch = fetch
        self._secrets = secrets
        self.moment = moment
        self._waits = waits
        self._clock = clock
        self._tasks: set[asyncio.Task[None]] = set()

    async def send(self, row: StudyRow) -> None:
        """Begin the call of a study that has just ended, if it has a webhook."""
        if row.webhook is not None:
            await self.send_due()

    async def send_due(self) -> None:
        """Begin the calls that are due. A failure is logged, and the calls stay due."""
        try:
            free = MOST_CALLS - len(self._tasks)
            if free <= 0:
                return
            for row in await repository.list_due_webhooks(self._database, self.moment, limit=free):
                claimed = await repository.claim_webhook(
                    self._database, row, seconds=CLAIM_SECONDS, moment=self.moment
                )
                if claimed is not None and row.webhook is not None:
                    task = asyncio.create_task(
                        self._send(claimed, row.webhook), name=f"mavera-webhook-{row.id}"
                    )
                    self._tasks.add(task)
                    task.add_done_callback(self._tasks.discard)
        except APIError as error:
            log.warning("webhooks_not_looked_up", reason=error.message)

    async def close(self, seconds: float = 5.0) -> None:
        """Wait for calls in progress, at most for some seconds, and stop the others. They stay due."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _send(self, row: StudyRow, url: str) -> None:
        """Make one call, and record how it ended. If that cannot be recorded, the call is made again."""
        try:
            reason = await self._call(row, url)
            if reason is None:
                await repository.end_webhook(self._database, row)
            elif row.webhook_tries > len(self._waits):
                log.warning("webhook_given_up", study=row.id, reason=reason)
                await repository.end_webhook(self._database, row)
            else:
                wait = self._waits[row.webhook_tries - 1]
                await repository.delay_webhook(self._database, row, seconds=wait, moment=self.moment)
        except APIError as error:
            log.warning("webhook_not_recorded", study=row.id, reason=error.message)

    async def _call(self, row: StudyRow, url: str) -> str | None:
        """Return why the message was not received, or None if it was."""
        body = build_body(row)
        headers = sign(make_secret(self._secrets, row), f"{row.id}.{row.attempt}", body, self._clock())
        try:
            status = await self._fetch.post(url, body, headers, caller=row.workspace_id, param="webhook")
        except APIError as error:
            return error.message
        return None if 200 <= status < 300 else f"status {status}"


def build_body(row: StudyRow) -> bytes:
    """Return the body of a call: the study, its status, and the time of its end."""
    data = {"id": row.id, "object": "focus_group", "status": row.status, "ended_at": row.ended_at}
    return msgspec.json.encode({"type": f"focus_group.{row.status.lower()}", "data": data})


def make_secret(secrets: Secrets, row: StudyRow) -> str:
    """Return the secret that signs the webhook of a study, in the form `whsec_…`."""
    digest = secrets.keys_of(row.workspace_id)[0].digest(PURPOSE, row.id)
    return PREFIX + base64.b64encode(hashlib.sha256(digest.encode()).digest()).decode()
