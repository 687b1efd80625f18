"""
The process that runs studies: `python -m mavera.server.study_worker [LINK]`.

`mavera serve` starts it when there is a study to run, with a socket to itself. Over that link the process
asks for the settings and for the embedded model's engine, so both use one model. It ends after a minute
without a study. `mavera worker` starts it without a link: it opens its own model, and runs until a signal.

DBOS, its threads and its drivers are in this process only, away from HTTP.
"""

import asyncio
import ctypes
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import structlog

from mavera.accounts.credits.holds import Credits
from mavera.api.metrics_port import open_metrics_port
from mavera.focus_groups.engine import StudyEngine
from mavera.focus_groups.interviewing import Models
from mavera.focus_groups.program import StudyProgram
from mavera.focus_groups.webhooks import Webhooks
from mavera.focus_groups.worker import StudyWorker, claim_worker_id
from mavera.focus_groups.workflow_pruning import WorkflowPruning
from mavera.link import Link
from mavera.logs import configure_logs
from mavera.metrics import format_gauges
from mavera.models.embedded.model import EmbeddedModel
from mavera.models.model import Model
from mavera.server.endings import one_line_endings
from mavera.server.linked import LinkedEngine
from mavera.server.questions import GetSettings
from mavera.services import Components, open_study_parts
from mavera.settings import Settings, from_values, load_settings
from mavera.storage.moment import moment_of

PR_SET_PDEATHSIG = 1
IDLE_SECONDS = 60.0
LOOK_SECONDS = 1.0

log = structlog.get_logger()


def main() -> None:
    with one_line_endings():
        os.umask(0o077)
        if len(sys.argv) > 1:
            if sys.platform == "linux":
                ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            asyncio.run(_work_for_server(socket.socket(fileno=int(sys.argv[1]))))
        else:
            asyncio.run(_work_alone(load_settings()))


async def _work_for_server(link_socket: socket.socket) -> None:
    link = await Link.open(link_socket, lost=lambda: os._exit(1))
    settings = from_values(await link.fetch_reply(GetSettings(), dict[str, Any]))
    model: Model | None = None
    if settings.backend == "embedded":
        model = EmbeddedModel(LinkedEngine(link, context_tokens=settings.embedded_context_tokens))
    await work_on_studies(settings, model, ends_when_idle=True)


async def _work_alone(settings: Settings) -> None:
    await work_on_studies(settings, None, ends_when_idle=False)


async def work_on_studies(settings: Settings, model: Model | None, *, ends_when_idle: bool) -> None:
    """Run studies until a signal or, if so wanted, a minute without any. `model` replaces the settings'."""
    configure_logs(settings)
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping.set)
    with claim_worker_id(settings.data_dir) as worker_id:
        async with (
            _open_worker(settings, model, worker_id) as worker,
            _open_metrics(settings, worker, alone=not ends_when_idle),
        ):
            log.info("study_worker_started", worker=worker_id)
            watcher = asyncio.create_task(_stop_when_idle(worker, stopping)) if ends_when_idle else None
            try:
                await worker.run(stopping)
            finally:
                if watcher is not None:
                    watcher.cancel()


@asynccontextmanager
async def _open_worker(settings: Settings, model: Model | None, worker_id: str) -> AsyncIterator[StudyWorker]:
    components = Components.of(settings, model=model)
    async with open_study_parts(settings, components) as parts, Credits(parts.database) as credits:
        moment = moment_of(parts.database, None)
        webhooks = Webhooks(parts.database, components.fetch, parts.secrets, moment=moment)
        models = Models(parts.library, parts.models, parts.named_models, parts.images)
        program = StudyProgram(
            parts.database,
            credits,
            models.open_interviewer,
            worker_id=worker_id,
            moment=moment,
            places=max(1, settings.running_at_once // 2) if settings.backend == "upstream" else 1,
            on_end=webhooks.send,
        )
        engine = StudyEngine(program, settings)
        await engine.launch()
        try:
            async with WorkflowPruning(parts.database, settings.workflow_days):
                yield StudyWorker(program, engine, webhooks)
        finally:
            await engine.close()
            await webhooks.close()


@asynccontextmanager
async def _open_metrics(settings: Settings, worker: StudyWorker, *, alone: bool) -> AsyncIterator[None]:
    """Answer `/metrics` on its own port, unless the worker belongs to a server, which has that port."""

    async def read() -> bytes:
        return format_gauges(worker.read_gauges())

    if not alone or not settings.metrics_port:
        yield
        return
    async with open_metrics_port(settings.host, settings.metrics_port, read):
        yield


async def _stop_when_idle(worker: StudyWorker, stopping: asyncio.Event) -> None:
    idle = 0.0
    while idle < IDLE_SECONDS:
        await asyncio.sleep(LOOK_SECONDS)
        idle = idle + LOOK_SECONDS if worker.is_idle else 0.0
    stopping.set()


if __name__ == "__main__":
    main()
