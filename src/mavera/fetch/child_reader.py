"""
Child processes that read hostile bytes, and are there only while some come.

    first frame → spawn → ready → frame → answer → … → a minute without one → end

Each child takes one frame at a time. Callers share the children fairly, so one caller's slow input does
not hold up the others. A child that fails, or takes too long, is killed; the next frame starts another.
It gets nothing of this server's settings or secrets, and a budget of processor time and memory.

    the child used its budget up, or crashed    TooHeavy: the input's fault, and it would happen again
    the child was killed                        another child tries; TooHeavy if that is killed too
    the child is late                           ServiceUnavailable the first time, then TooHeavy
"""

import asyncio
import hashlib
import signal
import sys
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass

import structlog

from mavera.child_command import python_command, scrubbed_environment
from mavera.errors import ServiceUnavailable
from mavera.fetch.fair_places import FairPlaces

log = structlog.get_logger()

START_SECONDS = 60.0
_MOST_ANSWER_BYTES = 64 * 1024 * 1024
_REMEMBERED_INPUTS = 256
_ENDING_SECONDS = 5.0
# These would each reserve address space by the number of cores, and use none of it.
_ENVIRONMENT = {"MALLOC_ARENA_MAX": "2", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
# Endings that come from outside: the kernel when memory runs out, or an operator.
_KILLED = frozenset({-signal.SIGTERM} if sys.platform == "win32" else {-signal.SIGKILL, -signal.SIGTERM})


class TooHeavy(Exception):
    """This input takes more time or memory than one input gets, or crashes its reader."""


class _Killed(Exception):
    """The child was killed from outside."""


@dataclass(frozen=True, slots=True)
class Budget:
    """What one input may take: processor seconds, seconds by the clock, and the child's address space."""

    cpu_seconds: float
    clock_seconds: float
    memory_bytes: int


class ReaderPool:
    """
    `module` is run with the budget's memory and processor seconds, then `arguments`.

    `children` processes at most, shared by callers; one caller uses half of them, rounded up.
    """

    def __init__(
        self,
        module: str,
        arguments: tuple[str, ...] = (),
        *,
        budget: Budget,
        idle_seconds: float,
        children: int,
        patience_seconds: float | None = None,
    ) -> None:
        limits = (str(budget.memory_bytes), str(budget.cpu_seconds))
        command = python_command(module, *limits, *arguments)
        self._children = [_Child(command, module, budget, idle_seconds) for _ in range(children)]
        self._places = FairPlaces(
            children,
            each=(children + 1) // 2,
            patience_seconds=patience_seconds or 2 * budget.clock_seconds,
            busy="Too much is waiting to be read just now.",
        )
        self._late: OrderedDict[bytes, None] = OrderedDict()

    @property
    def pids(self) -> tuple[int, ...]:
        """Those of the children that there are now."""
        return tuple(child.pid for child in self._children if child.pid is not None)

    async def read(self, data: bytes, *, caller: str) -> bytes:
        """Return a child's answer to `data`. Raises TooHeavy, and ServiceUnavailable if there is none."""
        async with self._places.take(caller):
            # All may be locked for a moment while one of them ends for lack of work.
            child = next((one for one in self._children if not one.turn.locked()), self._children[0])
            async with child.turn:
                try:
                    return await child.ask(data)
                except _Killed:
                    return await child.ask_again(data)
                except ServiceUnavailable:
                    if await asyncio.to_thread(self._was_late, data):
                        raise TooHeavy from None
                    raise

    async def close(self) -> None:
        for child in self._children:
            await child.close()

    def _was_late(self, data: bytes) -> bool:
        """Whether `data` has failed before; remembers it."""
        digest = hashlib.sha256(data).digest()
        before = digest in self._late
        self._late[digest] = None
        while len(self._late) > _REMEMBERED_INPUTS:
            self._late.popitem(last=False)
        return before


class _Child:
    def __init__(self, command: tuple[str, ...], module: str, budget: Budget, idle_seconds: float) -> None:
        self._command = command
        self._module = module
        self._budget = budget
        self._idle_seconds = idle_seconds
        self.turn = asyncio.Lock()
        self._process: asyncio.subprocess.Process | None = None
        self._idle: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    async def ask(self, data: bytes) -> bytes:
        """Return the answer; the caller holds `turn`. Raises TooHeavy, _Killed or ServiceUnavailable."""
        self._postpone_end(None)
        try:
            return await self._exchange(data)
        except BaseException:  # also when the client has gone: nobody waits for the answer still to come
            await self._end()
            raise
        finally:
            self._postpone_end(self._idle_seconds)

    async def ask_again(self, data: bytes) -> bytes:
        """Ask another process, after the first was killed. Raises TooHeavy if that one is killed too."""
        try:
            return await self.ask(data)
        except _Killed as error:
            raise TooHeavy from error

    async def close(self) -> None:
        async with self.turn:
            self._postpone_end(None)
            await self._end()

    async def _exchange(self, data: bytes) -> bytes:
        try:
            process = self._process or await self._start()
        except (OSError, EOFError) as error:  # OSError: TimeoutError too
            raise self._failure("it did not start") from error
        try:
            async with asyncio.timeout(self._budget.clock_seconds):
                return await _exchange(process, data)
        except TimeoutError as error:
            raise self._failure("it took too long") from error
        except (OSError, EOFError) as error:
            status = await _exit_status(process)
            if status in _KILLED:
                log.error("a reader was killed", reader=self._module)
                raise _Killed from error
            log.warning("an input was too heavy for its reader", reader=self._module, status=status)
            raise TooHeavy from error

    def _failure(self, reason: str) -> ServiceUnavailable:
        log.error("a reader failed", reader=self._module, reason=reason)
        return ServiceUnavailable("It could not be read just now.", retry_after=5)

    async def _start(self) -> asyncio.subprocess.Process:
        """Start the child. Its stderr is this process's own, so what stops it is in the log."""
        pipe = asyncio.subprocess.PIPE
        environment = {**scrubbed_environment(), **_ENVIRONMENT}
        self._process = await asyncio.create_subprocess_exec(
            *self._command, stdin=pipe, stdout=pipe, start_new_session=True, env=environment
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
        async with self.turn:
            await self._end()


async def _exchange(process: asyncio.subprocess.Process, data: bytes) -> bytes:
    assert process.stdin is not None  # noqa: S101 - it was asked for as a pipe
    process.stdin.write(len(data).to_bytes(4, "big"))
    process.stdin.write(data)
    await process.stdin.drain()
    return await _next_frame(process)


async def _next_frame(process: asyncio.subprocess.Process) -> bytes:
    assert process.stdout is not None  # noqa: S101 - it was asked for as a pipe
    size = int.from_bytes(await process.stdout.readexactly(4), "big")
    if size > _MOST_ANSWER_BYTES:  # whoever took the child over may say anything
        raise EOFError("too large for an answer")
    return await process.stdout.readexactly(size)


async def _exit_status(process: asyncio.subprocess.Process) -> int | None:
    """Return how a child ended that has closed its output, None if it did not end after all."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_ENDING_SECONDS):
            return await process.wait()
    return None
