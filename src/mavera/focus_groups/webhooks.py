"""
Call a study's webhook when it ends, signed as Standard Webhooks describes.

    webhook-id           fg_….1            the study and its attempt; the same in each try
    webhook-timestamp    1790000000
    webhook-signature    v1,<base64 of HMAC-SHA-256 of "id.timestamp.body" with the study's secret>

The body names the study and its status and contains no answers. The secret is derived from the server's, so
nothing is stored, and `POST /focus-groups` returns it.
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
from mavera.focus_groups.repository import StudyRow
from mavera.storage.sealing import Secrets

log = structlog.get_logger()

PURPOSE = "webhook of a focus group"
WAITS_SECONDS = (2.0, 10.0, 60.0, 300.0)


class Webhooks:
    """Calls webhooks through `fetch`. `waits` are the seconds before each further try."""

    def __init__(
        self,
        fetch: GuardedFetch,
        secrets: Secrets,
        *,
        waits: tuple[float, ...] = WAITS_SECONDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._fetch = fetch
        self._secrets = secrets
        self._waits = waits
        self._clock = clock
        self._tasks: set[asyncio.Task[None]] = set()

    async def send(self, row: StudyRow) -> None:
        """Begin to call the webhook of an ended study, if it has one."""
        if row.webhook is not None:
            task = asyncio.create_task(self._send(row, row.webhook), name=f"mavera-webhook-{row.id}")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Wait a few seconds for calls in progress, and stop the others."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=5)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _send(self, row: StudyRow, url: str) -> None:
        body = build_body(row)
        for wait in (*self._waits, None):
            headers = sign(make_secret(self._secrets, row), f"{row.id}.{row.attempt}", body, self._clock())
            try:
                status = await self._fetch.post(url, body, headers, caller=row.workspace_id, param="webhook")
                if 200 <= status < 300:
                    return
                reason = f"status {status}"
            except APIError as error:
                reason = error.message
            if wait is None:
                log.warning("webhook_given_up", study=row.id, reason=reason)
                return
            await asyncio.sleep(wait)


def build_body(row: StudyRow) -> bytes:
    """Return the body of a call: the study, its status, and the time of its end."""
    data = {"id": row.id, "object": "focus_group", "status": row.status, "ended_at": row.ended_at}
    return msgspec.json.encode({"type": f"focus_group.{row.status.lower()}", "data": data})


def make_secret(secrets: Secrets, row: StudyRow) -> str:
    """Return the secret that signs the webhook of a study, in the form `whsec_…`."""
    digest = secrets.keys_of(row.workspace_id)[0].digest(PURPOSE, row.id)
    return PREFIX + base64.b64encode(hashlib.sha256(digest.encode()).digest()).decode()
