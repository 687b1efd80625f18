"""Jobs that make videos are followed for a time that the database's clock measures."""

import asyncio
import shutil
import time
from pathlib import Path

import pytest

from mavera.fetch.guarded_fetch import FetchPolicy, GuardedFetch
from mavera.media.store import Media, MediaStore
from mavera.settings import load_settings
from mavera.storage.database import Database
from mavera.tools.choice import choose_media_files
from mavera.tools.making.images_server import Picture
from mavera.tools.making.video import ORPHANED_SECONDS, VideoJobs, VideoLimits, VideoState


class DecliningProvider:
    """Says of every job that it has failed."""

    name = "declining"

    async def begin(self, prompt: str, image: Picture | None, seconds: int) -> str:
        return "job"

    async def state(self, job_id: str) -> VideoState:
        return VideoState("failed", error="The provider declined.")

    async def close(self) -> None:
        return None


@pytest.mark.parametrize(
    ("clock_ahead", "job_seconds", "error"),
    [
        (90, ORPHANED_SECONDS + 60, "The provider declined."),
        (-90, ORPHANED_SECONDS - 60, "The video was not made in time."),
    ],
)
def test_a_job_is_as_old_as_the_database_says(
    tmp_path: Path, empty_store: Path, clock_ahead: int, job_seconds: int, error: str
) -> None:
    """`clock_ahead` is by how many seconds the clock of this server is ahead of that of the database."""
    shutil.copy(empty_store, tmp_path)
    settings = load_settings({}, data_dir=tmp_path)
    database_now = time.time() - clock_ahead - ORPHANED_SECONDS

    async def run() -> Media:
        nonlocal database_now
        async with (
            Database.open(settings) as database,
            MediaStore(database, settings, choose_media_files(settings), clock=lambda: database_now) as store,
        ):
            job = await store.begin("w", "generateVideo", provider_id="job")
            database_now += ORPHANED_SECONDS
            limits = VideoLimits(poll_seconds=0.01, job_seconds=job_seconds)
            jobs = VideoJobs(DecliningProvider(), store, GuardedFetch(FetchPolicy()), limits)
            await jobs.start()
            try:
                async with asyncio.timeout(20):
                    while (media := await store.get(job.id, "w")).completed_at is None:  # noqa: ASYNC110 - by the jobs
                        await asyncio.sleep(0.01)
            finally:
                await jobs.close()
            return media

    assert asyncio.run(run()).error == error
