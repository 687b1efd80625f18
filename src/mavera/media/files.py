"""
Keep the bytes of images and videos in a folder. If the settings name an S3 bucket, `bucket.py` does it.

    keep(name, pieces)            write a whole file or nothing: a reader never sees half a file
    pieces(name, start, length)   yield a part of a file, a piece at a time
    remove(name)

Names are ids that this server made. No operation holds a whole video in memory.
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
    """A store of files. All methods raise ServiceUnavailable if the files cannot be reached."""

    @property
    def link_secret(self) -> bytes | None:
        """The secret that signs links. None if the servers of these files share none, so one must be made."""
        ...

    async def keep(self, name: str, pieces: AsyncIterable[bytes]) -> int:
        """Write a file, and return its size in bytes. Errors of `pieces` pass through."""
        ...

    def pieces(self, name: str, start: int, length: int) -> AsyncIterator[bytes]:
        """Yield `length` bytes from `start`. Raises NotFound before the first byte."""
        ...

    async def remove(self, name: str) -> None:
        """Remove a file. A missing file is not an error."""
        ...

    async def close(self) -> None: ...


class FolderFiles:
    """Files in `folder`, which is made with the first file and closed to other users."""

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
                file = _create(partial)  # not in a thread, which would still open it after a cancellation
            with file:
                async for piece in pieces:
                    with _folder_errors():
                        size += await asyncio.to_thread(file.write, piece)
            with _folder_errors():
                await asyncio.to_thread(partial.rename, self._folder / name)
        except BaseException:
            partial.unlink(missing_ok=True)  # without an await, so that no second cancellation prevents it
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
    """Make a file that other users cannot read, whatever the folder and the umask are."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    os.fchmod(descriptor, 0o600)
    return os.fdopen(descriptor, "wb")


@contextmanager
def _folder_errors() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise NotFound("This file no longer exists.") from error
    except OSError as error:
        raise build_unavailable() from error


def build_unavailable() -> ServiceUnavailable:
    return ServiceUnavailable("Images and videos cannot be stored or read at the moment.", retry_after=30)
