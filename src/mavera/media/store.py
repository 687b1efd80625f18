"""
Keep generated images and videos as files, and their rows and jobs in the database.

    save(bytes)    write a file and its row, completed
    begin(job)     write a row that a job updates: queued → in_progress → completed | failed
    sign_link(id)  …/media/{id}/content?expires=…&signature=…, which works for a while and without a key

The signature is an HMAC over the id and the time. Its secret is in the folder of the files, closed to
other users, or is derived from the key of the bucket. An open store removes old files.
"""

import asyncio
import hashlib
import hmac
from collections.abc import AsyncIterable, AsyncIterator
from dataclasses import dataclass
from typing import Literal, Self

import structlog

from mavera.accounts.data.retention import list_media_ends, list_terms
from mavera.core.background import stop
from mavera.core.finish import finish
from mavera.core.ids import is_cuid, new_cuid
from mavera.core.text import clean_text
from mavera.errors import APIError, Forbidden, NotFound
from mavera.media.files import MediaFiles
from mavera.settings import Settings
from mavera.storage.database import Database, Row
from mavera.storage.moment import Clock, moment_of
from mavera.storage.secret_file import read_or_make_secret

log = structlog.get_logger()

MediaStatus = Literal["queued", "in_progress", "completed", "failed"]

CONTENT_TYPES = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF8": "image/gif",
}
_PATH = "/api/v1/media"
_HOUSEKEEPING_SECONDS = 600.0
# No process follows a job that has not ended this long after its deadline.
_FORSAKEN_SECONDS = 3600
_REMOVED_AT_ONCE = 100
_DAY_SECONDS = 86_400


@dataclass(frozen=True, slots=True)
class Media:
    """An image or a video. `progress` is 0 to 100. `error` tells the caller why the job failed."""

    id: str
    workspace_id: str
    tool: str
    status: MediaStatus
    progress: int
    provider_id: str | None
    content_type: str | None
    bytes: int | None
    error: str | None
    created_at: int
    updated_at: int
    completed_at: int | None

    @classmethod
    def from_row(cls, row: Row) -> Self:
        return cls(**{name: row[name] for name in cls.__slots__})


_COLUMNS = ", ".join(Media.__slots__)


def detect_content_type(data: bytes) -> str | None:
    """Return the content type that the first bytes show, None if it is not an image or a video."""
    for begun, content_type in CONTENT_TYPES.items():
        if data.startswith(begun):
            return content_type
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    if data[4:8] == b"ftyp":
        return "video/mp4"
    return "video/webm" if data.startswith(b"\x1aE\xdf\xa3") else None


class MediaStore:
    """The generated files of all workspaces. Inside `async with`, it removes old ones every ten minutes."""

    def __init__(
        self,
        database: Database,
        settings: Settings,
        files: MediaFiles,
        *,
        clock: Clock | None = None,
    ) -> None:
        self._database = database
        self._moment = moment_of(database, clock)
        self._files = files
        self._folder = settings.resolved_media_dir
        self._public_url = settings.public_url.rstrip("/")
        self._url_seconds = settings.media_url_seconds
        self._keep_days = settings.media_days
        self._job_seconds = settings.runway_job_seconds
        self._clock = clock or database.clock
        self._secret: bytes | None = None
        self._housekeeper: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._housekeeper = asyncio.create_task(self._keep_house())
        return self

    async def __aexit__(self, *_: object) -> None:
        await stop(self._housekeeper)
        await self._files.close()

    async def save(self, workspace_id: str, tool: str, data: bytes, content_type: str) -> Media:
        """Store a finished file. Raises ServiceUnavailable. After a cancellation the row says failed."""
        media_id = new_cuid()
        try:
            await self._insert(media_id, workspace_id, tool, provider_id=None)
            await self.complete(media_id, _all_at_once(data), content_type)
        except BaseException as error:
            reason = error.message if isinstance(error, APIError) else "The file could not be stored."
            await finish(self._fail_quietly(media_id, reason))
            raise
        return await self.get(media_id, workspace_id)

    async def begin(self, workspace_id: str, tool: str, *, provider_id: str | None) -> Media:
        media_id = new_cuid()
        await self._insert(media_id, workspace_id, tool, provider_id=provider_id)
        return await self.get(media_id, workspace_id)

    async def _insert(self, media_id: str, workspace_id: str, tool: str, *, provider_id: str | None) -> None:
        await self._database.execute(
            f"""
            INSERT INTO media (id, workspace_id, tool, status, progress, provider_id, created_at, updated_at)
            VALUES (:id, :workspace_id, :tool, 'queued', 0, :provider_id,
                    {self._moment.sql}, {self._moment.sql})
            """,  # noqa: S608 - the clock is ours
            id=media_id,
            workspace_id=workspace_id,
            tool=tool,
            provider_id=provider_id,
            now=self._moment.now,
        )

    async def _fail_quietly(self, media_id: str, reason: str) -> None:
        try:
            await self.fail(media_id, reason)
        except APIError as error:
            log.warning("media job not marked as failed", media=media_id, reason=error.message)

    async def get(self, media_id: str, workspace_id: str) -> Media:
        """Return a file of `workspace_id`. Raises NotFound, even if another workspace has that file."""
        row = await self._database.fetch_one(
            f"SELECT {_COLUMNS} FROM media WHERE id = :id AND workspace_id = :workspace_id",  # noqa: S608
            id=media_id,
            workspace_id=workspace_id,
        )
        if row is None:
            raise NotFound(f"There is no media {media_id[:60]}.")
        return Media.from_row(row)

    async def progress(self, media_id: str, percent: int) -> None:
        await self._database.execute(
            f"""
            UPDATE media SET status = 'in_progress', progress = :percent, updated_at = {self._moment.sql}
             WHERE id = :id AND status IN ('queued', 'in_progress')
            """,  # noqa: S608
            id=media_id,
            percent=max(0, min(99, percent)),
            now=self._moment.now,
        )

    async def complete(self, media_id: str, pieces: AsyncIterable[bytes], content_type: str) -> None:
        """Store the file, and mark its row as completed. Errors of `pieces` pass through."""
        size = await self._files.keep(media_id, pieces)
        marked = await self._database.execute(
            f"""
            UPDATE media SET status = 'completed', progress = 100, content_type = :content_type,
                   bytes = :bytes, updated_at = {self._moment.sql}, completed_at = {self._moment.sql}
             WHERE id = :id
            """,  # noqa: S608
            id=media_id,
            content_type=content_type,
            bytes=size,
            now=self._moment.now,
        )
        if not marked:  # its workspace was deleted meanwhile
            await self._files.remove(media_id)

    async def fail(self, media_id: str, reason: str) -> None:
        await self._database.execute(
            f"""
            UPDATE media SET status = 'failed', error = :reason,
                   updated_at = {self._moment.sql}, completed_at = {self._moment.sql}
             WHERE id = :id AND status <> 'completed'
            """,  # noqa: S608
            id=media_id,
            reason=clean_text(reason)[:500],  # a provider's words, perhaps
            now=self._moment.now,
        )

    async def claim_unfinished(self, *, idle_seconds: int) -> list[Media]:
        """Take over the jobs that no process has touched for `idle_seconds`, and return them."""
        rows = await self._database.fetch_all(
            f"""
            UPDATE media SET updated_at = {self._moment.sql}
             WHERE status IN ('queued', 'in_progress') AND provider_id IS NOT NULL
               AND updated_at <= {self._moment.sql} - :idle_seconds
            RETURNING {_COLUMNS}
            """,  # noqa: S608
            now=self._moment.now,
            idle_seconds=idle_seconds,
        )
        return [Media.from_row(row) for row in rows]

    async def remove_old(self) -> int:
        """
        Remove files that are older than their workspace keeps them, and all files of deleted workspaces.

        The file goes first, then its row. Returns their number.
        """
        now = int(self._clock())
        removed = await self._remove("created_at < :before", before=now - self._keep_days * _DAY_SECONDS)
        for workspace_id, before in await list_media_ends(self._database, now=now):
            own = "workspace_id = :workspace_id AND created_at < :before"
            removed += await self._remove(own, workspace_id=workspace_id, before=before)
        return removed

    async def _remove(self, condition: str, **values: str | int) -> int:
        removed = 0
        while True:
            rows = await self._database.fetch_all(
                f"SELECT id FROM media WHERE {condition} LIMIT :most",  # noqa: S608 - the condition is ours
                most=_REMOVED_AT_ONCE,
                **values,
            )
            for row in rows:
                await self._files.remove(row["id"])
                await self._database.execute("DELETE FROM media WHERE id = :id", id=row["id"])
            removed += len(rows)
            if len(rows) < _REMOVED_AT_ONCE:
                return removed

    async def end_forsaken(self) -> int:
        """Fail the jobs that should have ended long ago. Returns their number."""
        return await self._database.execute(
            f"""
            UPDATE media SET status = 'failed', error = :reason, updated_at = {self._moment.sql},
                   completed_at = {self._moment.sql}
             WHERE status IN ('queued', 'in_progress') AND created_at < {self._moment.sql} - :seconds
            """,  # noqa: S608
            reason="The file was not generated in time.",
            now=self._moment.now,
            seconds=int(self._job_seconds) + _FORSAKEN_SECONDS,
        )

    async def _keep_house(self) -> None:
        while True:
            try:
                await self.end_forsaken()
                await self.remove_old()
            except APIError as error:
                log.warning("old media not removed", reason=error.message)
            except Exception as error:
                log.exception("old media not removed", error=type(error).__name__)
            await asyncio.sleep(_HOUSEKEEPING_SECONDS)

    async def find_end(self, media: Media) -> int:
        """Return when the file is removed, in Unix seconds."""
        terms = await list_terms(self._database, media.workspace_id, {"media": self._keep_days})
        days = next(term.days for term in terms if term.kind == "media")
        return media.created_at + (days or self._keep_days) * _DAY_SECONDS

    async def sign_link(self, media_id: str) -> str:
        """Return a URL from which the file can be fetched for a while without a key."""
        expires = int(self._clock()) + self._url_seconds
        signature = await asyncio.to_thread(self._sign, media_id, expires)
        return f"{self._public_url}{_PATH}/{media_id}/content?expires={expires}&signature={signature}"

    async def open_link(self, media_id: str, expires: str, signature: str) -> Media:
        """Return the media of a link. Raises Forbidden if the signature is wrong or old, and NotFound."""
        good = is_cuid(media_id) and expires.isascii() and expires.isdecimal() and len(expires) < 16
        expected = await asyncio.to_thread(self._sign, media_id, int(expires)) if good else ""
        if not hmac.compare_digest(expected.encode(), signature.encode()) or not good:
            raise Forbidden("This link is not valid.")
        if int(expires) < self._clock():
            raise Forbidden("This link has expired. Get a new one with GET /api/v1/media/{id}.")
        row = await self._database.fetch_one(
            f"""
            SELECT {_COLUMNS} FROM media
             WHERE id = :id AND status = 'completed'
               AND NOT EXISTS (SELECT 1 FROM workspaces
                                WHERE id = media.workspace_id AND deleted_at IS NOT NULL)
            """,  # noqa: S608
            id=media_id,
        )
        if row is None:
            raise NotFound("This file no longer exists.")
        return Media.from_row(row)

    def pieces(self, media: Media, start: int, length: int) -> AsyncIterator[bytes]:
        """Yield a part of the file. Raises NotFound or ServiceUnavailable before the first piece."""
        return self._files.pieces(media.id, start, length)

    async def read(self, media_id: str, workspace_id: str) -> bytes:
        """Return the bytes of a file of `workspace_id`. Raises NotFound."""
        media = await self.get(media_id, workspace_id)
        if media.status != "completed":
            raise NotFound(f"The media {media_id[:60]} is not ready yet.")
        return b"".join([piece async for piece in self.pieces(media, 0, media.bytes or 0)])

    def _sign(self, media_id: str, expires: int) -> str:
        if self._secret is None:
            self._secret = self._read_secret()
        return hmac.new(self._secret, f"{media_id}:{expires}".encode(), hashlib.sha256).hexdigest()

    def _read_secret(self) -> bytes:
        """Return the secret that signs links: that of the bucket, or of a file beside the media."""
        if self._files.link_secret is not None:
            return self._files.link_secret
        return read_or_make_secret(self._folder / "secret")


async def _all_at_once(data: bytes) -> AsyncIterator[bytes]:
    yield data
