"""
Read images in a child process that is there only while images come.

    first image → spawn → ready → image → reading → … → 60 s without one → end

One image at a time: reading takes all cores as it is. Readings are kept by the image's
digest, because a conversation sends its images again with every turn.
"""

import asyncio
import hashlib
import importlib.util
from collections import OrderedDict

import msgspec

from mavera.errors import ServiceUnavailable
from mavera.fetch.child_reader import ChildReader
from mavera.fetch.image_description import ImageReading, Unreadable

MODULE = "mavera.fetch.image_reader_child"
READ_SECONDS = 120.0
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
        idle_seconds: float = IDLE_SECONDS,
        read_seconds: float = READ_SECONDS,
    ) -> None:
        arguments = (str(threads), str(max_pixels))
        self._child = ChildReader(MODULE, arguments, read_seconds=read_seconds, idle_seconds=idle_seconds)
        self._kept: OrderedDict[bytes, Answer] = OrderedDict()

    @property
    def pid(self) -> int | None:
        """The child's, while there is one."""
        return self._child.pid

    async def read(self, data: bytes) -> Answer:
        """Return what can be read of an image. Raises ServiceUnavailable where the reader fails."""
        digest = await asyncio.to_thread(_digest, data)
        async with self._child.turn:
            if digest not in self._kept:
                self._kept[digest] = await self._ask(data)
            self._kept.move_to_end(digest)
            while len(self._kept) > KEPT_READINGS:
                self._kept.popitem(last=False)
            return self._kept[digest]

    async def close(self) -> None:
        await self._child.close()

    async def _ask(self, data: bytes) -> Answer:
        try:
            return _decoder().decode(await self._child.ask(data))
        except (ServiceUnavailable, msgspec.DecodeError) as error:
            raise ServiceUnavailable("The image could not be read just now.", retry_after=5) from error


def _decoder() -> msgspec.msgpack.Decoder[Answer]:
    return msgspec.msgpack.Decoder(Answer)


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()
