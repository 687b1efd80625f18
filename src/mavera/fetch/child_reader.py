"""
A child process that reads hostile bytes, and is there only while some come.

    first frame → spawn → ready → frame → answer → … → a minute without one → end

One frame at a time. A child that fails, or takes too long, is killed; the next frame
starts another. It gets nothing of this server's settings.
"""

import asyncio
from contextlib import suppress

import structlog

from mavera.child_command import python_command, scrubbed_environment
from mavera.errors import ServiceUnavailable

log = structlog.get_logger()

START_SECONDS = 60.0


class ChildReader:
    """`module` is run with `arguments`; frames are four bytes of length, then that many bytes."""

    def __init__(
        self, module: str, arguments: tuple[str, ...] = (), *, read_seconds: float, idle_seconds: float
    ) -> None:
        self._command = python_command(module, *arguments)
        self._module = module
        self._read_seconds = read_seconds
        self._idle_seconds = idle_seconds
        self._turn = asyncio.Lock()
        self._process: asyncio.subprocess.Process | None = None
        self._idle: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """The child's, while there is one."""
        return self._process.pid if self._process is not None else None

    @property
    def turn(self) -> asyncio.Lock:
        """Held by whoever calls `ask`."""
        return self._turn

    async def ask(self, data: bytes) -> bytes:
        """Return the child's answer. Raises ServiceUnavailable where there is none."""
        self._postpone_end(None)
        try:
            process = self._process or await self._start()
            async with asyncio.timeout(self._read_seconds):
                return await _exchange(process, data)
        except (OSError, EOFError) as error:  # OSError: TimeoutError too
            await self._end()
            log.error("a reader failed", reader=self._module, error=type(error).__name__)
            raise ServiceUnavailable("It could not be read just now.", retry_after=5) from error
        except BaseException:  # the client has gone: nobody waits for the answer that is still to come
            await self._end()
            raise
        finally:
            self._postpone_end(self._idle_seconds)

    async def close(self) -> None:
        async with self._turn:
            self._postpone_end(None)
            await self._end()

    async def _start(self) -> asyncio.subprocess.Process:
        """Start the child. Its stderr is this process's own, so what stops it is in the log."""
        pipe = asyncio.subprocess.PIPE
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=pipe,
            stdout=pipe,
            start_new_session=True,
            env=scrubbed_environment(),
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
        """End the child after `seconds` without another frame; None: not at all."""
        if self._idle is not None:
            self._idle.cancel()
        self._idle = asyncio.create_task(self._end_when_idle(seconds)) if seconds is not None else None

    async def _end_when_idle(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        async with self._turn:
            await self._end()


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
