"""
Read images in child processes that are there only while images come.

    image → kept reading, or a child (`child_reader.py`) → ImageReading, or Unreadable

Images of two callers are read side by side, if the machine has the memory; those of one caller after each
other, because reading takes all cores as it is. Readings are kept by the image's digest, because a
conversation sends its images again with every turn.
"""

import asyncio
import hashlib
import importlib.util
import os
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path

import msgspec

from mavera.errors import ServiceUnavailable
from mavera.fetch.child_reader import Budget, ReaderPool, TooHeavy
from mavera.fetch.image_description import ImageReading, Unreadable

MODULE = "mavera.fetch.image_reader_child"
# docs/operations.md states these.
IMAGE_BUDGET = Budget(cpu_seconds=90, clock_seconds=120, memory_bytes=1536 * 1024 * 1024)
# Each thread reserves memory; more than these read hardly faster.
MOST_THREADS = 4
# A machine with less than this has no room for a second child beside the embedded model.
ROOM_FOR_TWO_BYTES = 6 * 1024**3
IDLE_SECONDS = 60.0
KEPT_READINGS = 256
_NEEDED = ("PIL", "rapidocr", "onnxruntime")

Answer = ImageReading | Unreadable


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
        """`children`: how many images are read at the same time, 0 for what the memory allows."""
        self._pool = ReaderPool(
            MODULE,
            (str(min(threads, MOST_THREADS)), str(max_pixels)),
            budget=budget,
            idle_seconds=idle_seconds,
            children=children or _fitting_children(),
        )
        self._kept: OrderedDict[bytes, Answer] = OrderedDict()

    @property
    def pids(self) -> tuple[int, ...]:
        """Those of the child processes that there are now."""
        return self._pool.pids

    async def read(self, data: bytes, *, caller: str = "") -> Answer:
        """Return what can be read of an image; `caller` is a workspace's id. Raises ServiceUnavailable."""
        digest = await asyncio.to_thread(_digest, data)
        if digest not in self._kept:
            self._keep(digest, await self._read(data, caller))
        self._kept.move_to_end(digest)
        return self._kept[digest]

    async def close(self) -> None:
        await self._pool.close()

    def _keep(self, digest: bytes, answer: Answer) -> None:
        self._kept[digest] = answer
        while len(self._kept) > KEPT_READINGS:
            self._kept.popitem(last=False)

    async def _read(self, data: bytes, caller: str) -> Answer:
        try:
            return _decoder().decode(await self._pool.read(data, caller=caller))
        except TooHeavy:
            return Unreadable(too_heavy=True)
        except msgspec.DecodeError as error:
            raise ServiceUnavailable("The image could not be read just now.", retry_after=5) from error


def _decoder() -> msgspec.msgpack.Decoder[Answer]:
    return msgspec.msgpack.Decoder(Answer)


def _fitting_children() -> int:
    return 2 if _memory_bytes() >= ROOM_FOR_TWO_BYTES else 1


def _memory_bytes() -> int:
    """Return what this machine has, or this container may use."""
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # Windows
        return ROOM_FOR_TWO_BYTES
    with suppress(OSError, ValueError):  # no container, or one without a limit, which says "max"
        memory = min(memory, int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii")))
    return memory


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()
