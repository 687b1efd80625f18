"""
Serve until a signal, and then stop in steps, so that no request is refused and no stream is cut.

    SIGTERM                                    readiness is false at once; requests are still answered
    + MAVERA_DRAIN_SECONDS                     the listener closes; running answers go on
    + MAVERA_SHUTDOWN_GRACE_SECONDS at most    the rest ends with an error event, and is settled
    + 5 seconds at most                        the process ends

Kubernetes takes a pod out of its endpoints whatever its readiness says, and the signal races that. So new
requests still arrive for a moment after the signal. A Ctrl-C, and a second signal, skip the drain.
"""

import asyncio
import signal
import socket
import time
from types import FrameType

import structlog
import uvicorn

from mavera.api.http.drain import Drain

# Answers that were cancelled at the end of the grace send their error and settle their run in this time.
GOODBYE_SECONDS = 4.0

log = structlog.get_logger()


class DrainingServer(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, drain: Drain, *, drain_seconds: float) -> None:
        super().__init__(config)
        self._drain = drain
        self._drain_seconds = drain_seconds
        self._exit_at: float | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        first = not self._drain.is_draining
        self._drain.begin()
        if first and sig == signal.SIGTERM and self._drain_seconds:
            self._captured_signals.append(sig)
            self._exit_at = time.monotonic() + self._drain_seconds
            log.info("draining", seconds=self._drain_seconds)
            return
        super().handle_exit(sig, frame)

    async def on_tick(self, counter: int) -> bool:
        if self._exit_at is not None and time.monotonic() >= self._exit_at:
            self.should_exit = True
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._drain.begin()
        await super().shutdown(sockets)

    async def _wait_tasks_to_complete(self) -> None:
        """Do as uvicorn does, but let cancelled answers end before the services close."""
        try:
            await super()._wait_tasks_to_complete()
        except asyncio.CancelledError:
            # The grace is over. uvicorn would cancel the tasks, and close the services beneath them at once.
            tasks = set(self.server_state.tasks)
            for task in tasks:
                task.cancel()
            if tasks:
                log.warning("answers_cut", number=len(tasks))
                await asyncio.wait(tasks, timeout=GOODBYE_SECONDS)
            raise
