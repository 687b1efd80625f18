"""
`mavera serve --workers N`: one process that answers nothing, and N that share its port.

    parent   the listening socket, the embedded model's engine, the counts of requests and runs, the metrics
    worker   accepts from that socket, and asks the parent for the others over its link

A worker that ends is started again. Told to stop, the parent lets all of them finish what
they have begun. Killed, it takes them with it: each ends when its link does.
"""

import asyncio
import signal
import socket
import time
from asyncio.subprocess import Process
from collections.abc import Mapping
from contextlib import AsyncExitStack, suppress

import msgspec
import structlog

from mavera.accounts.limits.concurrency import RunningHere, RunsOfWorker
from mavera.accounts.limits.windows import limit_handlers, open_limiter
from mavera.child_command import python_command
from mavera.link import Handler, answer_all
from mavera.metrics import Counted, Shared
from mavera.models.embedded.linked import engine_handlers
from mavera.models.embedded.supervisor import EmbeddedEngine
from mavera.settings import Settings, to_values

COMMAND = python_command("mavera.server.worker")
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS, SETTLED_SECONDS = 0.1, 5.0, 30.0
# Beyond the grace that a worker gives its own answers.
KILL_AFTER_SECONDS = 5.0

log = structlog.get_logger()


def run_workers(settings: Settings, listener: socket.socket) -> None:
    """Serve until told to stop. Raises KeyboardInterrupt where that was a Ctrl-C."""
    parent = Parent(settings, listener)
    asyncio.run(parent.run())
    if parent.interrupted:
        raise KeyboardInterrupt


class Parent:
    """`command` starts a worker: see `server/worker.py` for its arguments."""

    def __init__(
        self, settings: Settings, listener: socket.socket, command: tuple[str, ...] = COMMAND
    ) -> None:
        self._settings = settings
        self._listener = listener
        self._command = command
        self._processes: set[Process] = set()
        self._counts = Shared()
        self._running = RunningHere()
        self._stopping = asyncio.Event()
        self.interrupted = False

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop, number)
        async with AsyncExitStack() as stack:
            handlers = await self._open_handlers(stack)
            keepers = [
                asyncio.create_task(self._keep(number, handlers), name=f"mavera-worker-{number}")
                for number in range(1, self._settings.workers + 1)
            ]
            await self._stopping.wait()
            patience = self._settings.shutdown_grace_seconds + KILL_AFTER_SECONDS
            _, late = await asyncio.wait(keepers, timeout=patience)
            if late:
                self._signal(signal.SIGKILL)
                await asyncio.wait(late)

    async def _open_handlers(self, stack: AsyncExitStack) -> dict[str, Handler]:
        """Open what the workers share, and return what is answered about it."""
        settings = to_values(self._settings)

        async def tell_settings(_: msgspec.Raw) -> dict[str, object]:
            return settings

        handlers: dict[str, Handler] = {"settings": tell_settings}
        if not self._settings.rate_limit_url:
            handlers |= limit_handlers(open_limiter(""))
        if self._settings.backend == "embedded":
            engine = EmbeddedEngine(self._settings)
            stack.push_async_callback(engine.close)
            await engine.start()
            handlers |= engine_handlers(engine)
        return handlers

    async def _keep(self, number: int, handlers: Mapping[str, Handler]) -> None:
        """Give one worker a life after the other, until all are to stop."""
        wait = FIRST_WAIT_SECONDS
        while not self._stopping.is_set():
            born = time.monotonic()
            runs = RunsOfWorker(self._running)
            status: int | str
            try:
                status = await self._live(
                    {**handlers, **runs.handlers(), "metrics": self._counts_of(number)},
                )
            except OSError as error:
                # No memory, process or descriptor is free: one may be a moment later.
                status = f"not started: {error.strerror or type(error).__name__}"
            except Exception as error:
                log.exception("worker_failed", worker=number, error=type(error).__name__)
                status = "failed"
            finally:
                runs.close()
                self._counts.end(number)
            if self._stopping.is_set():
                return
            if time.monotonic() - born > SETTLED_SECONDS:
                wait = FIRST_WAIT_SECONDS
            log.error("worker_ended", worker=number, status=status, again_in_seconds=wait)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), wait)
            wait = min(2 * wait, LONGEST_WAIT_SECONDS)

    async def _live(self, handlers: Mapping[str, Handler]) -> int:
        """
        Run one worker from its start to its end, and return its exit status.

        Raises OSError if the worker cannot be started.
        """
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                process = await self._spawn(theirs)
        except BaseException:
            ours.close()
            raise
        self._processes.add(process)
        link = asyncio.create_task(answer_all(ours, handlers))
        if self._stopping.is_set():
            process.terminate()
        try:
            return await process.wait()
        finally:
            self._processes.discard(process)
            await link

    async def _spawn(self, link: socket.socket) -> Process:
        given = (link.fileno(), self._listener.fileno())
        return await asyncio.create_subprocess_exec(
            *self._command,
            *map(str, given),
            pass_fds=given,
            stdin=asyncio.subprocess.DEVNULL,
            start_new_session=True,  # so that a Ctrl-C reaches the parent alone
        )

    def _counts_of(self, number: int) -> Handler:
        async def note(body: msgspec.Raw) -> Counted:
            return self._counts.note(number, msgspec.json.decode(body, type=Counted))

        return note

    def _stop(self, number: signal.Signals) -> None:
        """Let the workers finish; asked a second time, do not."""
        again = self._stopping.is_set()
        self.interrupted = self.interrupted or number == signal.SIGINT
        self._stopping.set()
        self._signal(signal.SIGKILL if again else signal.SIGTERM)

    def _signal(self, number: signal.Signals) -> None:
        for process in self._processes:
            with suppress(ProcessLookupError):
                process.send_signal(number)
