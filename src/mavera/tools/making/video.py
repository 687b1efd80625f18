"""
Follow the jobs that make videos. They outlive the requests that started them.

    generateVideo, imageToVideo → begin → a row in `media`, and a task that follows the job
    the task: poll → progress … → fetch the result → completed | failed

After a restart, the server takes over the jobs that no process follows. The interface is `VideoProvider`,
and `runway.py` is the only implementation.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar

import structlog

from mavera.errors import APIError
from mavera.fetch.guarded_fetch import GuardedFetch
from mavera.media.store import Media, MediaStore, detect_content_type
from mavera.tools.making.images_server import Picture
from mavera.tools.tool import CallContext, ToolFailed, ToolResult, one_line

T = TypeVar("T")

log = structlog.get_logger()

SETTING = "set MAVERA_RUNWAY_API_KEY"
# If a job was not polled for this long, its process has ended.
ORPHANED_SECONDS = 120
_TYPES = frozenset({"video/mp4", "video/webm", "application/octet-stream", "binary/octet-stream"})
_MOST_FAILED_POLLS = 5
# Less than ORPHANED_SECONDS, so that no other process takes the job over meanwhile.
_DOWNLOAD_SECONDS = 100.0
# Enough bytes to recognise the type of a file.
_TELLING_BYTES = 16


@dataclass(frozen=True, slots=True)
class VideoState:
    """A job's state. `progress` is 0 to 100. A success has a `url`, and a failure an `error`."""

    status: Literal["queued", "in_progress", "succeeded", "failed"]
    progress: int = 0
    url: str | None = None
    error: str | None = None


class VideoProvider(Protocol):
    """A service that makes videos. All methods raise ToolFailed."""

    @property
    def name(self) -> str: ...

    async def begin(self, prompt: str, image: Picture | None, seconds: int) -> str:
        """Return the id of a new job."""
        ...

    async def state(self, job_id: str) -> VideoState: ...

    async def close(self) -> None: ...


class NoVideo:
    """The provider if none is set up."""

    name = ""

    async def begin(self, prompt: str, image: Picture | None, seconds: int) -> str:
        raise ToolFailed("No service for videos is set up.")

    async def state(self, job_id: str) -> VideoState:
        raise ToolFailed("No service for videos is set up.")

    async def close(self) -> None:
        return None


@dataclass(frozen=True, slots=True)
class VideoLimits:
    poll_seconds: float = 5.0
    job_seconds: float = 1800.0
    max_bytes: int = 200 * 1024 * 1024


class VideoJobs:
    """Starts jobs and follows them. Both tools share it, and each may start and close it."""

    def __init__(
        self, provider: VideoProvider, media: MediaStore, fetch: GuardedFetch, limits: VideoLimits
    ) -> None:
        self._provider = provider
        self._media = media
        self._fetch = fetch
        self._limits = limits
        self._tasks: set[asyncio.Task[Any]] = set()
        self._started = False

    @property
    def name(self) -> str:
        return self._provider.name

    async def start(self) -> None:
        if self.name and not self._started:
            self._started = True
            self._spawn(self._take_up_orphans())

    async def close(self) -> None:
        """Stop following the jobs. They continue at the provider, and the next start takes them over."""
        tasks, self._tasks = self._tasks, set()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._provider.close()

    async def begin(
        self, tool: str, prompt: str, image: Picture | None, seconds: int, context: CallContext
    ) -> ToolResult:
        """
        Start a job, and return the result for the model and the caller. Raises ToolFailed.

        If the caller is cancelled, the job continues and is followed like any other.
        """
        beginning = self._spawn(self._begin(tool, prompt, image, seconds, context.principal.workspace_id))
        media = await asyncio.shield(beginning)
        address = f"/api/v1/media/{media.id}"
        return ToolResult(
            f"Began a video: {one_line(prompt, 120)}; follow it at {address}",
            text=f"The video is being made (id {media.id}); that takes minutes. "
            f"Tell the user that it is on its way at {address}.",
            media_url=address,
        )

    async def _begin(
        self, tool: str, prompt: str, image: Picture | None, seconds: int, workspace_id: str
    ) -> Media:
        """Start a job at the provider, store it, and follow it."""
        job_id = await self._provider.begin(prompt, image, seconds)
        try:
            media = await self._media.begin(workspace_id, tool, provider_id=job_id)
        except BaseException:
            log.error("media job lost", provider=self.name, job=job_id)  # it continues there, and costs money
            raise
        self._spawn(self._follow(media))
        return media

    def _spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._discard)
        return task

    def _discard(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # retrieved here, because the caller may be gone

    async def _take_up_orphans(self) -> None:
        while True:
            try:
                for media in await self._media.claim_unfinished(idle_seconds=ORPHANED_SECONDS):
                    self._spawn(self._follow(media))
            except APIError as error:
                log.warning("media jobs not looked after", reason=error.message)
            except Exception as error:
                log.exception("media jobs not looked after", error=type(error).__name__)
            await asyncio.sleep(ORPHANED_SECONDS / 2)

    async def _follow(self, media: Media) -> None:
        try:
            await self._wait_until_done(media)
        except (ToolFailed, APIError) as error:
            await self._fail(media, str(error))
        except Exception as error:
            log.exception("media job failed", media=media.id, error=type(error).__name__)
            await self._fail(media, "The video could not be made.")

    async def _wait_until_done(self, media: Media) -> None:
        """Poll a job that was just begun or claimed. Raises ToolFailed or APIError."""
        failed_polls = 0
        # The row was written a moment ago, and both of its times come from the clock of the database, which
        # may differ from the one here.
        age_seconds = media.updated_at - media.created_at
        deadline = time.monotonic() + self._limits.job_seconds - age_seconds
        while time.monotonic() < deadline:
            await asyncio.sleep(self._limits.poll_seconds)
            try:
                if await self._is_done(media):
                    return
                failed_polls = 0
            except (ToolFailed, APIError):
                failed_polls += 1
                if failed_polls >= _MOST_FAILED_POLLS:
                    raise
        raise ToolFailed("The video was not made in time.")

    async def _is_done(self, media: Media) -> bool:
        """Read the progress of the job once, and store it. Raises ToolFailed or APIError to try again."""
        state = await self._provider.state(media.provider_id or "")
        match state:
            case VideoState("succeeded", url=str(url)):
                await self._keep(media, url)
                return True
            case VideoState("failed" | "succeeded", error=reason):
                await self._fail(media, reason or "The video could not be made.")
                return True
            case _:
                await self._media.progress(media.id, state.progress)
                return False

    async def _keep(self, media: Media, url: str) -> None:
        await self._media.progress(media.id, 99)  # shows that a process still follows the job
        async with self._fetch.open(
            url,
            caller=media.workspace_id,
            content_types=_TYPES,
            max_bytes=self._limits.max_bytes,
            param=None,
            total_seconds=_DOWNLOAD_SECONDS,
        ) as pieces:
            begun = bytearray()
            while len(begun) < _TELLING_BYTES and (piece := await anext(pieces, b"")):
                begun += piece
            content_type = detect_content_type(bytes(begun))
            if content_type is None or not content_type.startswith("video/"):
                raise ToolFailed("The provider sent a file that is not a video.")
            await self._media.complete(media.id, _after(bytes(begun), pieces), content_type)

    async def _fail(self, media: Media, reason: str) -> None:
        try:
            await self._media.fail(media.id, reason)
        except APIError as error:
            log.warning("media job not marked as failed", media=media.id, reason=error.message)


async def _after(begun: bytes, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield begun
    async for piece in pieces:
        yield piece
