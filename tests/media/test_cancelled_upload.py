"""An upload into a bucket that is cancelled midway leaves nothing there, and no task behind."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from mavera.media.bucket import S3Files
from mavera.settings import load_settings
from tests.support.bucket import Bucket, running_bucket

PIECE = b"x" * (4 * 1024 * 1024)


@pytest.fixture(scope="module")
def bucket() -> Iterator[Bucket]:
    with running_bucket() as bucket:
        yield bucket


@pytest.mark.parametrize("pieces", [0, 1, 6])
def test_a_cancelled_upload_leaves_nothing_behind(bucket: Bucket, pieces: int) -> None:
    ended = []

    async def cancel_midway() -> int:
        silent = asyncio.Event()

        async def made() -> AsyncIterator[bytes]:
            try:
                for _ in range(pieces):
                    yield PIECE
                silent.set()
                await asyncio.Event().wait()
            finally:
                ended.append(pieces)

        files = S3Files(load_settings({}, **bucket.settings))
        keeping = asyncio.create_task(files.keep("video", made()))
        await silent.wait()
        begun = bucket.unfinished()
        keeping.cancel()
        with pytest.raises(asyncio.CancelledError):
            await keeping
        assert len(asyncio.all_tasks()) == 1
        await files.close()
        return begun

    begun = asyncio.run(cancel_midway())

    assert begun == 1 or not pieces
    assert bucket.unfinished() == 0
    assert bucket.objects() == {}
    assert ended == [pieces]


def test_a_whole_file_is_kept(bucket: Bucket) -> None:
    async def made() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield PIECE

    async def keep() -> int:
        files = S3Files(load_settings({}, **bucket.settings))
        size = await files.keep("whole", made())
        assert len(asyncio.all_tasks()) == 1
        await files.remove("whole")
        await files.close()
        return size

    assert asyncio.run(keep()) == 3 * len(PIECE)
