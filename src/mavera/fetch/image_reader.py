"""
Read images in child processes, which run only while there are images to read.

    image → cached reading, or a child (`child_reader.py`) → ImageReading, or Unreadable

Images of two callers are read side by side if the machine has enough memory. Images of one caller are
read one after the other, because one reading uses all cores. Readings are cached by the image's digest,
because a conversation sends its images again with every turn.
"""

import asyncio
import hashlib
import importlib.util
from collections import OrderedDict

import msgspec

from mavera.errors import ServiceUnavailable
from mavera.fetch.child_reader import Budget, ReaderPool, TooHeavy, count_children
from mavera.fetch.image_description import ImageReading, Unreadable

MODULE = "mavera.fetch.image_reader_child"
# docs/how-to/operations.md states these.
IMAGE_BUDGET = Budget(cpu_seconds=90, clock_seconds=120, memory_bytes=1536 * 1024 * 1024)
# Each thread reserves memory, and more threads than these are hardly faster.
MOST_THREADS = 4
IDLE_SECONDS = 60.0
KEPT_READINGS = 256
_NEEDED = ("PIL", "rapidocr", "onnxruntime")

ReadingResult = ImageReading | Unreadable


def is_installed() -> bool:
    """Say whether the extra `ocr` is installed, without importing any of it."""
    return all(importlib.util.find_spec(name) is not None for name in _NEEDED)


class ImageReader:
    def __init__(
        self,
        *,
        threads: int,
        max_pixels: int,
        budget: Budget = IMAGE_BUDGET,
        children: int = 0,
        idle_seconds: float = IDLE_SECONDS,
    ) -> None:
        """Read at most `children` images at a time. With 0, the memory of the machine decides."""
        self._pool = ReaderPool(
            MODULE,
            (str(min(threads, MOST_THREADS)), str(max_pixels)),
            budget=budget,
            idle_seconds=idle_seconds,
            children=children or count_children(),
        )
        self._kept: OrderedDict[bytes, ReadingResult] = OrderedDict()

    @property
    def pids(self) -> tuple[int, ...]:
        """The process ids of the running children."""
        return self._pool.pids

    async def read(self, data: bytes, *, caller: str = "") -> ReadingResult:
        """Return the reading of an image. `caller` is a workspace's id. Raises ServiceUnavailable."""
        digest = await asyncio.to_thread(_digest, data)
        if digest not in self._kept:
            self._keep(digest, await self._read(data, caller))
        self._kept.move_to_end(digest)
        return self._kept[digest]

    async def close(self) -> None:
        await self._pool.close()

    def _keep(self, digest: bytes, result: ReadingResult) -> None:
        self._kept[digest] = result
        while len(self._kept) > KEPT_READINGS:
            self._kept.popitem(last=False)

    async def _read(self, data: bytes, caller: str) -> ReadingResult:
        try:
            frame = await self._pool.read(data, caller=caller)
            return _decode(frame)
        except TooHeavy:
            return Unreadable(too_heavy=True)
        except msgspec.DecodeError as error:
            raise ServiceUnavailable(
                "The image could not be read. Retry in a few seconds.", retry_after=5
            ) from error


def _decode(frame: bytes) -> ReadingResult:
    decoder: msgspec.msgpack.Decoder[ReadingResult] = msgspec.msgpack.Decoder(ReadingResult)
    return decoder.decode(frame)


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()
