"""
Take studies and run them, in a process that does nothing else.

    every half second    new studies, and studies with an expired lease → a workflow for each
    every five seconds   charges that a dead worker left over, and calls of webhooks that are due

A worker that shuts down gives up its leases, so that another worker continues its studies at once.
"""

import asyncio
import contextlib
import fcntl
import os
import re
import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

from mavera.errors import APIError
from mavera.focus_groups.engine import StudyEngine
from mavera.focus_groups.program import StudyProgram
from mavera.focus_groups.repository import StudyRow
from mavera.focus_groups.webhooks import Webhooks

log = structlog.get_logger()

LOOK_SECONDS, SETTLE_SECONDS = 0.5, 5.0
# The number of studies that this worker runs at once. Their cells share the places of the model.
MOST_STUDIES = 8
_MOST_WORKERS = 64
_DIGITS = re.compile("[0-9a-f]{8}")


class StudyWorker:
    """Runs the studies of `program` on `engine`, which must be launched, and makes calls of `webhooks`."""

    def __init__(self, program: StudyProgram, engine: StudyEngine, webhooks: Webhooks | None = None) -> None:
        self._program = program
        self._engine = engine
        self._webhooks = webhooks
        self._running: dict[str, asyncio.Task[None]] = {}
        self._rows: dict[str, StudyRow] = {}
        self._looked_at = time.monotonic()

    @property
    def is_idle(self) -> bool:
        return not self._running

    def read_gauges(self) -> dict[str, float]:
        """Return the metrics of this worker."""
        return {
            "mavera_worker_studies": len(self._running),
            "mavera_worker_look_age_seconds": time.monotonic() - self._looked_at,
        }

    async def run(self, stopping: asyncio.Event) -> None:
        """Run studies until `stopping` is set."""
        looks = 0
        try:
            while not stopping.is_set():
                try:
                    if looks % int(SETTLE_SECONDS / LOOK_SECONDS) == 0:
                        await self._program.settle_all()
                        if self._webhooks is not None:
                            await self._webhooks.send_due()
                    await self._take_more()
                    self._looked_at = time.monotonic()
                except APIError as error:
                    log.warning("studies_not_looked_up", reason=error.message)
                looks += 1
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stopping.wait(), LOOK_SECONDS)
        finally:
            await self._give_back()

    async def _take_more(self) -> None:
        for study_id in await self._program.list_work():
            if study_id in self._running or len(self._running) >= MOST_STUDIES:
                continue
            row = await self._program.take(study_id)
            if row is not None:
                task = asyncio.create_task(self._run(row), name=f"mavera-study-{study_id}")
                self._running[study_id], self._rows[study_id] = task, row

    async def _run(self, row: StudyRow) -> None:
        log.info("study_taken", study=row.id, fence=row.fence)
        try:
            await self._engine.start(row)
        except Exception as error:
            # The lease expires, and a worker takes the study again, at most five times.
            log.exception("study_interrupted", study=row.id, error=type(error).__name__)
        finally:
            self._running.pop(row.id, None)
            self._rows.pop(row.id, None)

    async def _give_back(self) -> None:
        rows = list(self._rows.values())
        for task in list(self._running.values()):
            task.cancel()
        await asyncio.gather(*self._running.values(), return_exceptions=True)
        for row in rows:
            with contextlib.suppress(APIError):
                await self._program.release(row)


@contextmanager
def claim_worker_id(data_dir: Path) -> Iterator[str]:
    """
    Hold a name for this worker, such as `host-1-5f0c2a91`.

    It is the machine's name, the lowest number that no other process here holds, and random digits that the
    data directory keeps. A restarted worker gets the same name, and with it its unfinished workflows. Two
    machines of the same name differ in the digits, because one would run the other's workflows again.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    for number in range(1, _MOST_WORKERS + 1):
        file = os.open(data_dir / f"worker-{number}.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            continue
        try:
            yield f"{socket.gethostname()}-{number}-{_read_digits(file)}"
        finally:
            os.close(file)
        return
    raise RuntimeError(f"{_MOST_WORKERS} workers run on this data directory already")


def _read_digits(file: int) -> str:
    """Return the random digits in a lock file that this process holds, and write them if there are none."""
    found = os.pread(file, 64, 0).decode("ascii", "replace")
    if not _DIGITS.fullmatch(found):
        found = secrets.token_hex(4)
        os.ftruncate(file, 0)
        os.pwrite(file, found.encode(), 0)
    return found
