"""
What tools made, and the jobs that make it: images and videos in a folder, told of in the store.

    save(bytes)   a file and its row, completed
    begin(job)    a row that a job fills in: queued → in_progress → completed | failed
    url_of(id)    …/media/{id}/content?expires=…&signature=…, good for a while and without a key

The signature is an HMAC over id and time; its secret lies beside the files, closed to others.
"""

import asyncio
import hashlib
import hmac
import os
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from mavera.core.ids import is_cuid, new_cuid
from mavera.errors import Forbidden, NotFound
from mavera.settings import Settings
from mavera.storage.database import Database, Row

MediaStatus = Literal["queued", "in_progress", "completed", "failed"]

CONTENT_TYPES = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF8": "image/gif",
}
_PATH = "/api/v1/media"


@dataclass(frozen=True, slots=True)
class Media:
    """`progress` is 0 to 100. `error` says why it failed, in words for the caller."""

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


def content_type_of(data: bytes) -> str | None:
    """Return what the first bytes say this is, None for anything but an image or a video."""
    for begun, content_type in CONTENT_TYPES.items():
        if data.startswith(begun):
            return content_type
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    if data[4:8] == b"ftyp":
        return "video/mp4"
    return "video/webm" if data.startswith(b"\x1aE\xdf\xa3") else None


class MediaStore:
    def __init__(
        self, database: Database, settings: Settings, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._database = database
        self._folder = settings.resolved_media_dir
        self._public_url = settings.public_url.rstrip("/")
        self._url_seconds = settings.media_url_seconds
        self._keep_seconds = settings.media_days * 86_400
        self._clock = clock
        self._secret: bytes | None = None

    async def save(self, workspace_id: str, tool: str, data: bytes, content_type: str) -> Media:
        """Keep what was made at once."""
        media = await self.begin(workspace_id, tool, provider_id=None)
        await self.complete(media.id, data, content_type)
        return await self.get(media.id, workspace_id)

    async def begin(self, workspace_id: str, tool: str, *, provider_id: str | None) -> Media:
        now = int(self._clock())
        media_id = new_cuid()
        await self._database.execute(
            """
            INSERT INTO media (id, workspace_id, tool, status, progress, provider_id, created_at, updated_at)
            VALUES (:id, :workspace_id, :tool, 'queued', 0, :provider_id, :now, :now)
            """,
            id=media_id,
            workspace_id=workspace_id,
            tool=tool,
            provider_id=provider_id,
            now=now,
        )
        return await self.get(media_id, workspace_id)

    async def get(self, media_id: str, workspace_id: str) -> Media:
        """Return what `workspace_id` made. Raises NotFound, also for another workspace's."""
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
            """
            UPDATE media SET status = 'in_progress', progress = :percent, updated_at = :now
             WHERE id = :id AND status IN ('queued', 'in_progress')
            """,
            id=media_id,
            percent=max(0, min(99, percent)),
            now=int(self._clock()),
        )

    async def complete(self, media_id: str, data: bytes, content_type: str) -> None:
        await asyncio.to_thread(self._write, media_id, data)
        await self._database.execute(
            """
            UPDATE media SET status = 'completed', progress = 100, content_type = :content_type,
                   bytes = :bytes, updated_at = :now, completed_at = :now
             WHERE id = :id
            """,
            id=media_id,
            content_type=content_type,
            bytes=len(data),
            now=int(self._clock()),
        )

    async def fail(self, media_id: str, reason: str) -> None:
        await self._database.execute(
            """
            UPDATE media SET status = 'failed', error = :reason, updated_at = :now, completed_at = :now
             WHERE id = :id AND status <> 'completed'
            """,
            id=media_id,
            reason=reason[:500],
            now=int(self._clock()),
        )

    async def claim_unfinished(self, *, idle_seconds: int) -> list[Media]:
        """Return jobs that nobody has touched for `idle_seconds`; they are this process's from now on."""
        now = int(self._clock())
        rows = await self._database.fetch_all(
            f"""
            UPDATE media SET updated_at = :now
             WHERE status IN ('queued', 'in_progress') AND provider_id IS NOT NULL AND updated_at <= :before
            RETURNING {_COLUMNS}
            """,  # noqa: S608
            now=now,
            before=now - idle_seconds,
        )
        return [Media.from_row(row) for row in rows]

    async def remove_old(self) -> int:
        """Remove what is older than it is kept. Returns how many."""
        rows = await self._database.fetch_all(
            "DELETE FROM media WHERE created_at < :before RETURNING id",
            before=int(self._clock()) - self._keep_seconds,
        )
        for row in rows:
            await asyncio.to_thread(self._path(row["id"]).unlink, missing_ok=True)
        return len(rows)

    def expires_at(self, media: Media) -> int:
        return media.created_at + self._keep_seconds

    async def url_of(self, media_id: str) -> str:
        """Return where the file can be fetched without a key, for a while."""
        expires = int(self._clock()) + self._url_seconds
        signature = await asyncio.to_thread(self._sign, media_id, expires)
        return f"{self._public_url}{_PATH}/{media_id}/content?expires={expires}&signature={signature}"

    async def signed_file(self, media_id: str, expires: str, signature: str) -> tuple[Path, str]:
        """Return the file and its type. Raises Forbidden for a bad or old signature, NotFound."""
        good = is_cuid(media_id) and expires.isascii() and expires.isdecimal() and len(expires) < 16
        expected = await asyncio.to_thread(self._sign, media_id, int(expires)) if good else ""
        if not hmac.compare_digest(expected.encode(), signature.encode()) or not good:
            raise Forbidden("This link is not valid.")
        if int(expires) < self._clock():
            raise Forbidden("This link has expired. GET /api/v1/media/{id} gives a new one.")
        row = await self._database.fetch_one(
            "SELECT content_type FROM media WHERE id = :id AND status = 'completed'", id=media_id
        )
        path = self._path(media_id)
        if row is None or not await asyncio.to_thread(path.is_file):
            raise NotFound("There is no such file any more.")
        return path, row["content_type"]

    async def read(self, media_id: str, workspace_id: str) -> bytes:
        """Return the bytes of what `workspace_id` made. Raises NotFound."""
        media = await self.get(media_id, workspace_id)
        if media.status != "completed":
            raise NotFound(f"The media {media_id[:60]} is not made yet.")
        return await asyncio.to_thread(self._path(media_id).read_bytes)

    def _path(self, media_id: str) -> Path:
        return self._folder / media_id

    def _write(self, media_id: str, data: bytes) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        partial = self._path(f"{media_id}.partial")
        partial.write_bytes(data)
        partial.rename(self._path(media_id))

    def _sign(self, media_id: str, expires: int) -> str:
        if self._secret is None:
            self._secret = self._read_secret()
        return hmac.new(self._secret, f"{media_id}:{expires}".encode(), hashlib.sha256).hexdigest()

    def _read_secret(self) -> bytes:
        """Return the secret; the first process to need it makes it, and no other can overwrite it."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._folder / "secret"
        partial = self._folder / f"secret.{secrets.token_hex(8)}"
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(32))
        try:
            os.link(partial, path)
        except FileExistsError:
            pass
        finally:
            partial.unlink()
        return path.read_bytes()
