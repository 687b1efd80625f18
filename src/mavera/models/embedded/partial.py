"""
Collect the bytes of a pull in one file, from any source.

A source appends to the file and may fail at any moment. The next source, or the next run, continues from
`size`. Nothing in the file is trusted: the whole file is hashed before it gets its name.
"""

import os
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from mavera.errors import ConfigurationError

Phase = Literal["downloading", "checking"]
# Called with (bytes done, bytes in all, phase).
Progress = Callable[[int, int, Phase], None]

CHUNK_BYTES = 1024 * 1024


class PullError(ConfigurationError):
    """A model could not be fetched. The message is one line for the terminal."""


class SourceFailed(Exception):
    """This source did not complete the file. Another source may."""


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
        """Truncate the file to `size`."""
        self._file.truncate(size)
        self.size = self._file.seek(0, os.SEEK_END)
        self._reported = self.size

    def report(self, under_way: int = 0) -> None:
        """Report progress. `under_way` bytes are on the disk, but not in this file yet."""
        # Progress never goes backwards, although appended bytes were already counted under way.
        self._reported = max(self._reported, min(self.size + under_way, self.total_bytes))
        self._on_progress(self._reported, self.total_bytes, "downloading")

    def sync(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
