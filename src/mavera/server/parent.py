"""
`mavera serve --workers N`: one parent that serves no requests, and N workers that share its port.

    parent   the listening socket, the embedded model's engine, the counts of requests and runs, the metrics
    worker   accepts from that socket, and asks the parent for the other parts over its link

The parent restarts a worker that ends. When it is asked to stop, it lets all workers finish their requests.
When it is killed, each worker ends because its link does.
"""

import asyncio
import signal
import socket
import time
from asyncio.subprocess import Process
from contextlib import AsyncExitStack, suppress

import structlog

from mavera.accounts.limits.concurrency import RunningHere
from mavera.accounts.limits.windows import MemoryLimiter
from mavera.child_command import build_python_command
from mavera.link import reply_to_all
from mavera.metrics import WorkerTotals
from mavera.models.choice import build_model_of
from mavera.models.embedded.supervisor import EmbeddedEngine
from mavera.server.greeting import Greeting
from mavera.server.questions import Question, SharedParts, WorkerReplies
from mavera.server.studies import keep_study_worker
from mavera.settings import Settings, to_values
from mavera.storage.database import Database

COMMAND = build_python_command("mavera.server.worker")
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS, SETTLED_SECONDS = 0.1, 5.0, 30.0
# This is added to the drain and to the grace that a worker gives its responses.
KILL_AFTER_SECONDS = 5.0

log = structlog.get_logger()


def run_workers(settings: Settings, listener: socket.socket, greeting: Greeting) -> None:
    """Serve until a signal. Raises KeyboardInterrupt if that was a Ctrl-C."""
    parent = Parent(settings, listener, greeting=greeting)
    asyncio.run(parent.run())
    if parent.interrupted:
        raise KeyboardInterrupt


class Parent:
    """`command` starts a worker: see `server/worker.py` for its arguments."""

    def __init__(
        self,
        settings: Settings,
        listener: socket.socket,
        command: tuple[str, ...] = COMMAND,
        *,
        greeting: Greeting | None = None,
    ) -> None:
        self._settings = settings
        self._listener = listener
        self._command = command
        self._greeting = greeting
        self._processes: set[Process] = set()
        self._stopping = asyncio.Event()
        self.interrupted = False

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop, number)
        async with AsyncExitStack() as stack:
            shared = await self._open_shared(stack)
            if self._settings.study_worker == "auto":
                database = await stack.enter_async_context(Database.open(self._settings))
                await stack.enter_async_context(keep_study_worker(self._settings, database, shared.engine))
            keepers = [
                asyncio.create_task(self._keep(number, shared), name=f"mavera-worker-{number}")
                for number in range(1, self._settings.workers + 1)
            ]
            greeter = asyncio.create_task(self._greet(shared), name="mavera-greeting")
            await self._stopping.wait()
            greeter.cancel()
            settings = self._settings
            drain_seconds = 0.0 if self.interrupted else settings.drain_seconds
            patience = drain_seconds + settings.shutdown_grace_seconds + KILL_AFTER_SECONDS
            _, late = await asyncio.wait(keepers, timeout=patience)
            if late:
                self._send_signal(signal.SIGKILL)
                await asyncio.wait(late)

    async def _open_shared(self, stack: AsyncExitStack) -> SharedParts:
        """Open the parts that the workers share."""
        engine = None
        if self._settings.backend == "embedded":
            engine = EmbeddedEngine(self._settings)
            stack.push_async_callback(engine.close)
            await engine.start()
        # Workers that count at a store of rate limits do not ask this limiter.
        return SharedParts(to_values(self._settings), MemoryLimiter(), RunningHere(), WorkerTotals(), engine)

    async def _greet(self, shared: SharedParts) -> None:
        if self._greeting is not None:
            engine = shared.engine
            model = build_model_of(engine, self._settings) if isinstance(engine, EmbeddedEngine) else None
            await self._greeting.greet(model)

    async def _keep(self, number: int, shared: SharedParts) -> None:
        """Run one worker, and start it again whenever it ends, until the parent stops."""
        wait = FIRST_WAIT_SECONDS
        while not self._stopping.is_set():
            born = time.monotonic()
            replies = WorkerReplies(shared, number)
            status: int | str
            try:
                status = await self._run_worker(replies)
            except OSError as error:
                # Memory, processes or descriptors are used up, perhaps only for a moment.
                status = f"not started: {error.strerror or type(error).__name__}"
            except Exception as error:
                log.exception("worker_failed", worker=number, error=type(error).__name__)
                status = "failed"
            finally:
                replies.close()
            if self._stopping.is_set():
                return
            if time.monotonic() - born > SETTLED_SECONDS:
                wait = FIRST_WAIT_SECONDS
            log.error("worker_ended", worker=number, status=status, again_in_seconds=wait)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), wait)
            wait = min(2 * wait, LONGEST_WAIT_SECONDS)

    async def _run_worker(self, replies: WorkerReplies) -> int:
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
        link = asyncio.create_task(reply_to_all(ours, Question, replies.reply))
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

    def _stop(self, number: signal.Signals) -> None:
        """Let the workers finish. The second signal kills them."""
        again = self._stopping.is_set()
        self.interrupted = self.interrupted or number == signal.SIGINT
        self._stopping.set()
        # A worker drains after SIGTERM, and stops at once after a Ctrl-C.
        self._send_signal(signal.SIGKILL if again else number)

    def _send_signal(self, number: signal.Signals) -> None:
        for process in self._processes:
            with suppress(ProcessLookupError):
                process.send_signal(number)
