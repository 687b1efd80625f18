"""
Read images in a child process that is there only while images come.

    first image → spawn → ready → image → reading → … → 60 s without one → end

One image at a time: reading takes all cores as it is. Readings are kept by the image's
digest, because a conversation sends its images again with every turn.
"""

import asyncio
import hashlib
import importlib.util
import os
import sys
from collections import OrderedDict
from contextlib import suppress

import msgspec
import structlog

from mavera.errors import ServiceUnavailable
from mavera.tools.image_reading import ImageReading, Unreadable

log = structlog.get_logger()

MODULE = "mavera.tools.image_reader_process"
START_SECONDS = 60.0
READ_SECONDS = 120.0
IDLE_SECONDS = 60.0
KEPT_READINGS = 256
_NEEDED = ("PIL", "rapidocr", "onnxruntime")

Answer = ImageReading | Unreadable


def is_installed() -> bool:
    """Whether `mavera[ocr]` is there; nothing of it is imported to find out."""
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
        self._arguments = (str(threads), str(max_pixels))
        self._idle_seconds = idle_seconds
        self._read_seconds = read_seconds
        self._turn = asyncio.Lock()
        self._process: asyncio.subprocess.Process | None = None
        self._idle: asyncio.Task[None] | None = None
        self._kept: OrderedDict[bytes, Answer] = OrderedDict()

    @property
    def pid(self) -> int | None:
        """The child's, while there is one."""
        return self._process.pid if self._process is not None else None

    async def read(self, data: bytes) -> Answer:
        """Return what can be read of an image. Raises ServiceUnavailable where the reader fails."""
        digest = await asyncio.to_thread(_digest, data)
        async with self._turn:
            if digest not in self._kept:
                self._kept[digest] = await self._ask(data)
            self._kept.move_to_end(digest)
            while len(self._kept) > KEPT_READINGS:
                self._kept.popitem(last=False)
            return self._kept[digest]

    async def close(self) -> None:
        async with self._turn:
            self._postpone_end(None)
            await self._end()

    async def _ask(self, data: bytes) -> Answer:
        self._postpone_end(None)
        try:
            process = self._process or await self._start()
            async with asyncio.timeout(self._read_seconds):
                frame = await _exchange(process, data)
            return _decoder().decode(frame)
        except (OSError, EOFError, msgspec.DecodeError) as error:  # OSError: TimeoutError too
            await self._end()
            log.error("the image reader failed", error=type(error).__name__)
            raise ServiceUnavailable("The image could not be read just now.", retry_after=5) from error
        except BaseException:  # the client has gone: nobody waits for the answer that is still to come
            await self._end()
            raise
        finally:
            self._postpone_end(self._idle_seconds)

    async def _start(self) -> asyncio.subprocess.Process:
        """Start the child. Its stderr is this process's own, so what stops it is in the log."""
        pipe = asyncio.subprocess.PIPE
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", MODULE, *self._arguments),
            stdin=pipe,
            stdout=pipe,
            start_new_session=True,
            env={name: value for name, value in os.environ.items() if not name.startswith("MAVERA_")},
        )
        async with asyncio.timeout(START_SECONDS):
            await _next_frame(self._process)
        return self._process

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        if process.stdin is not None:
            process.stdin.close()
            with suppress(BrokenPipeError, ConnectionResetError):
                await process.stdin.wait_closed()

    def _postpone_end(self, seconds: float | None) -> None:
        """End the child after `seconds` without another image; None: not at all."""
        if self._idle is not None:
            self._idle.cancel()
        self._idle = asyncio.create_task(self._end_when_idle(seconds)) if seconds is not None else None

    async def _end_when_idle(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        async with self._turn:
            await self._end()


def _decoder() -> msgspec.msgpack.Decoder[Answer]:
    return msgspec.msgpack.Decoder(Answer)


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


async def _exchange(process: asyncio.subprocess.Process, data: bytes) -> bytes:
    assert process.stdin is not None  # noqa: S101 - it was asked for as a pipe
    process.stdin.write(len(data).to_bytes(4, "big"))
    process.stdin.write(data)
    await process.stdin.drain()
    return await _next_frame(process)


async def _next_frame(process: asyncio.subprocess.Process) -> bytes:
    assert process.stdout is not None  # noqa: S101 - it was asked for as a pipe
    head = await process.stdout.readexactly(4)
    return await process.stdout.readexactly(int.from_bytes(head, "big"))
