"""
Read hostile bytes in child processes, which run only while there is something to read.

    first frame → spawn → ready → frame → answer → … → a minute without one → end

Each child takes one frame at a time. Callers share the children fairly, so one caller's slow input does
not delay the others. A child that fails or takes too long is killed, and the next frame starts another.
A child gets none of this server's settings or secrets, and it has a budget of processor time and memory.

    the child exceeded its budget or crashed    TooHeavy: the input is at fault, so a retry would fail
    the child was killed                        another child tries; TooHeavy if that is killed too
    the child took too long                     ServiceUnavailable the first time, then TooHeavy
"""

import asyncio
import hashlib
import os
import signal
import sys
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import structlog

from mavera.child_command import build_child_environment, build_python_command
from mavera.errors import ServiceUnavailable
from mavera.fetch.fair_places import FairPlaces

log = structlog.get_logger()

START_SECONDS = 60.0
# A machine with less than this has no room for a second child beside the embedded model.
ROOM_FOR_TWO_BYTES = 6 * 1024**3
_MOST_ANSWER_BYTES = 64 * 1024 * 1024
_REMEMBERED_INPUTS = 256
_ENDING_SECONDS = 5.0
# Without these, each library reserves address space per core and uses none of it.
_ENVIRONMENT = {"MALLOC_ARENA_MAX": "2", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
# Signals from outside: the kernel sends one when memory runs out, and an operator may.
_KILLED = frozenset({-signal.SIGTERM} if sys.platform == "win32" else {-signal.SIGKILL, -signal.SIGTERM})


def count_children() -> int:
    """Return how many children of one kind this machine has room for."""
    return 2 if _memory_bytes() >= ROOM_FOR_TWO_BYTES else 1


def _memory_bytes() -> int:
    """Return the memory of this machine, or the limit of this container."""
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # Windows
        return ROOM_FOR_TWO_BYTES
    with suppress(OSError, ValueError):  # not in a container, or in one whose limit is "max"
        memory = min(memory, int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii")))
    return memory


class TooHeavy(Exception):
    """The input takes more time or memory than one input may, or it crashes its reader."""


class _Killed(Exception):
    """The child was killed from outside."""


@dataclass(frozen=True, slots=True)
class Budget:
    """The limits for one input: processor seconds, wall-clock seconds, and the child's address space."""

    cpu_seconds: float
    clock_seconds: float
    memory_bytes: int


class ReaderPool:
    """
    A pool of child processes that run `module`.

    The command line has the budget's memory and processor seconds, then `arguments`. All callers share
    at most `children` processes. One caller uses at most half of them, rounded up.
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
        command = build_python_command(module, *limits, *arguments)
        self._children = [_Child(command, module, budget, idle_seconds) for _ in range(children)]
        self._places = FairPlaces(
            children,
            each=(children + 1) // 2,
            patience_seconds=patience_seconds or 2 * budget.clock_seconds,
            busy="Too many images or pages are waiting to be read.",
        )
        self._late: OrderedDict[bytes, None] = OrderedDict()

    @property
    def pids(self) -> tuple[int, ...]:
        """The process ids of the running children."""
        return tuple(child.pid for child in self._children if child.pid is not None)

    async def read(self, data: bytes, *, caller: str) -> bytes:
        """Return a child's reply to `data`. Raises TooHeavy, and ServiceUnavailable if no reply came."""
        async with self._places.take(caller):
            # All children may be locked for a moment while an idle one ends.
            child = next((one for one in self._children if not one.turn.locked()), self._children[0])
            async with child.turn:
                try:
                    return await child.read(data)
                except _Killed:
                    return await child.retry(data)
                except ServiceUnavailable:
                    if await asyncio.to_thread(self._was_late, data):
                        raise TooHeavy from None
                    raise

    async def close(self) -> None:
        for child in self._children:
            await child.close()

    def _was_late(self, data: bytes) -> bool:
        """Say whether `data` has failed before, and remember it."""
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

    async def read(self, data: bytes) -> bytes:
        """Return the reply. The caller must hold `turn`. Raises TooHeavy, _Killed or ServiceUnavailable."""
        self._postpone_end(None)
        try:
            return await self._exchange(data)
        except BaseException:  # even if the client disconnected: the reply that is to come has no reader
            await self._end()
            raise
        finally:
            self._postpone_end(self._idle_seconds)

    async def retry(self, data: bytes) -> bytes:
        """Read in a new process after the first was killed. Raises TooHeavy if that one is killed too."""
        try:
            return await self.read(data)
        except _Killed as error:
            raise TooHeavy from error

    async def close(self) -> None:
        async with self.turn:
            self._postpone_end(None)
            await self._end()

    async def _exchange(self, data: bytes) -> bytes:
        try:
            process = self._process or await self._start()
        except (OSError, EOFError) as error:  # TimeoutError is an OSError
            raise self._fail("it did not start") from error
        try:
            async with asyncio.timeout(self._budget.clock_seconds):
                return await _exchange(process, data)
        except TimeoutError as error:
            raise self._fail("it took too long") from error
        except (OSError, EOFError) as error:
            status = await _exit_status(process)
            if status in _KILLED:
                log.error("a reader was killed", reader=self._module)
                raise _Killed from error
            log.warning("an input was too heavy for its reader", reader=self._module, status=status)
            raise TooHeavy from error

    def _fail(self, reason: str) -> ServiceUnavailable:
        log.error("a reader failed", reader=self._module, reason=reason)
        return ServiceUnavailable(
            "An image or page could not be read. Retry in a few seconds.", retry_after=5
        )

    async def _start(self) -> asyncio.subprocess.Process:
        """Start the child. It writes to this process's stderr, so the log shows its last words."""
        pipe = asyncio.subprocess.PIPE
        environment = {**build_child_environment(), **_ENVIRONMENT}
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
        """End the child after `seconds` without another frame. With None, it does not end."""
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
    if size > _MOST_ANSWER_BYTES:  # code that took the child over may send anything
        raise EOFError("too large for an answer")
    return await process.stdout.readexactly(size)


async def _exit_status(process: asyncio.subprocess.Process) -> int | None:
    """Return the exit status of a child that has closed its output, None if it is still running."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_ENDING_SECONDS):
            return await process.wait()
    return None
