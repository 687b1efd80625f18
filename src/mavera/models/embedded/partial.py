"""
The file a pull grows, wherever its bytes come from.

A source appends to it and may fail at any moment; the next source, or the next run,
goes on from `size`. Nothing here is trusted: the whole is hashed before it gets its name.
"""

import os
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from mavera.errors import ConfigurationError

Phase = Literal["downloading", "checking"]
# Called with (bytes done, bytes in all, what is going on).
Progress = Callable[[int, int, Phase], None]

CHUNK_BYTES = 1024 * 1024


class PullError(ConfigurationError):
    """A model could not be fetched; one line for the terminal."""


class SourceFailed(Exception):
    """This source did not get to the end; another may."""


class PartialFile:
    """An append-only file that reports its growth."""

    def __init__(self, path: Path, total_bytes: int, on_progress: Progress) -> None:
        self.path = path
        self.total_bytes = total_bytes
        self._on_progress = on_progress
        self._file = path.open("ab")
        self._reported = 0
        self.size = self._file.seek(0, os.SEEK_END)
        if self.size > total_bytes:
            self.cut(0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._file.close()

    @property
    def missing(self) -> int:
        return self.total_bytes - self.size

    def append(self, chunk: bytes) -> None:
        self._file.write(chunk)
        self.size += len(chunk)
        self.report()

    def cut(self, size: int) -> None:
        """Drop what lies after `size`."""
        self._file.truncate(size)
        self.size = self._file.seek(0, os.SEEK_END)
        self._reported = self.size

    def report(self, under_way: int = 0) -> None:
        """Tell how far the pull is; `under_way` bytes are on the disk, though not in this file yet."""
        # Never backwards: bytes that were under way are counted once more when they are appended.
        self._reported = max(self._reported, min(self.size + under_way, self.total_bytes))
        self._on_progress(self._reported, self.total_bytes, "downloading")

    def sync(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
