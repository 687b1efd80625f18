"""
Where the bytes of images and videos lie: a folder, unless the settings name an S3 bucket (`s3_files.py`).

    keep(name, pieces)            all of them or nothing: a reader never sees half a file
    pieces(name, start, length)   a part of one, a piece at a time
    remove(name)

Names are ids of ours. Neither way holds a whole video in memory.
"""

import asyncio
import os
from collections.abc import AsyncIterable, AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol

from mavera.errors import NotFound, ServiceUnavailable

PIECE_BYTES = 1024 * 1024


class MediaFiles(Protocol):
    """All raise ServiceUnavailable where the files cannot be reached."""

    @property
    def link_secret(self) -> bytes | None:
        """What signs links, where all servers of these files know the same secret; None: make one up."""
        ...

    async def keep(self, name: str, pieces: AsyncIterable[bytes]) -> int:
        """Write a file, and return its size in bytes. What `pieces` raises goes through."""
        ...

    def pieces(self, name: str, start: int, length: int) -> AsyncIterator[bytes]:
        """Yield `length` bytes from `start`. Raises NotFound before the first of them."""
        ...

    async def remove(self, name: str) -> None:
        """Remove a file; one that is not there is no error."""
        ...

    async def close(self) -> None: ...


class FolderFiles:
    """`folder` is made with the first file, closed to other users."""

    link_secret: bytes | None = None

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def keep(self, name: str, pieces: AsyncIterable[bytes]) -> int:
        partial = self._folder / f"{name}.partial"
        size = 0
        with _folder_errors():
            await asyncio.to_thread(self._folder.mkdir, mode=0o700, parents=True, exist_ok=True)
        try:
            with _folder_errors():
                file = _create(partial)  # at once: a thread would go on opening it after a cancellation
            with file:
                async for piece in pieces:
                    with _folder_errors():
                        size += await asyncio.to_thread(file.write, piece)
            with _folder_errors():
                await asyncio.to_thread(partial.rename, self._folder / name)
        except BaseException:
            partial.unlink(missing_ok=True)  # at once, because a second cancellation would prevent it
            raise
        return size

    async def pieces(self, name: str, start: int, length: int) -> AsyncIterator[bytes]:
        with _folder_errors():
            file = await asyncio.to_thread((self._folder / name).open, "rb")
        with file:
            await asyncio.to_thread(file.seek, start)
            while length > 0:
                with _folder_errors():
                    piece = await asyncio.to_thread(file.read, min(PIECE_BYTES, length))
                if not piece:
                    return
                length -= len(piece)
                yield piece

    async def remove(self, name: str) -> None:
        with _folder_errors():
            await asyncio.to_thread((self._folder / name).unlink, missing_ok=True)

    async def close(self) -> None:
        return None


def _create(path: Path) -> BinaryIO:
    """Make a file that other users cannot read, whatever the folder and the umask allow."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    os.fchmod(descriptor, 0o600)
    return os.fdopen(descriptor, "wb")


@contextmanager
def _folder_errors() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise NotFound("There is no such file any more.") from error
    except OSError as error:
        raise out_of_reach() from error


def out_of_reach() -> ServiceUnavailable:
    return ServiceUnavailable("Images and videos cannot be kept or read just now.", retry_after=30)
