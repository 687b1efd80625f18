"""
Start the process that runs studies, whenever there is a study to run.

    every second: is a study waiting, and no process running?  →  start `server/study_worker.py`
    the process ends after a minute without a study            →  nothing runs, and no memory is used

The serving process answers the questions of that process over a link, as a parent answers its workers'.
"""

import asyncio
import socket
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any, assert_never

import structlog

from mavera.app import Beside
from mavera.child_command import build_python_command
from mavera.errors import APIError
from mavera.focus_groups.load import has_work
from mavera.link import reply_to_all
from mavera.models.embedded.engine import Engine
from mavera.models.embedded.model import EmbeddedModel
from mavera.models.embedded.process import EngineAddress
from mavera.models.model import ModelStatus
from mavera.server.questions import GetEngineAddress, GetEngineStatus, GetSettings
from mavera.services import Services
from mavera.settings import Settings, to_values
from mavera.storage.database import Database
from mavera.storage.moment import moment_of

COMMAND = build_python_command("mavera.server.study_worker")
LOOK_SECONDS = 1.0
# A process that ends at once is started again after this.
AGAIN_SECONDS = 5.0
STOP_SECONDS = 10.0

StudyQuestion = GetSettings | GetEngineAddress | GetEngineStatus

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class StudyReplies:
    """The replies to the process for studies. `engine` is None unless the embedded model answers."""

    settings: dict[str, Any]
    engine: Engine | None

    async def reply(self, question: StudyQuestion) -> dict[str, Any] | EngineAddress | ModelStatus:
        match question:
            case GetSettings():
                return self.settings
            case GetEngineAddress():
                return await self._engine.endpoint()
            case GetEngineStatus():
                return self._engine.status()
            case _:
                assert_never(question)

    @property
    def _engine(self) -> Engine:
        if self.engine is None:
            raise RuntimeError("this server has no engine")
        return self.engine


@asynccontextmanager
async def keep_study_worker(
    settings: Settings, database: Database, engine: Engine | None
) -> AsyncIterator[None]:
    """Run studies in a process beside this one during the block, and stop it at its end."""
    keeper = _Keeper(database, StudyReplies(to_values(settings), engine))
    task = asyncio.create_task(keeper.keep(), name="mavera-study-keeper")
    try:
        yield
    finally:
        # A cancellation that meets the end of a query can be lost.
        while not task.done():
            task.cancel()
            await asyncio.wait([task], timeout=STOP_SECONDS + 1)


def run_studies_beside(settings: Settings) -> Beside | None:
    """Return what runs studies beside a server of one process. None if the settings turn that off."""
    if settings.study_worker == "off":
        return None

    def keep(services: Services) -> AbstractAsyncContextManager[None]:
        model = services.models["live"]
        engine = model.engine if isinstance(model, EmbeddedModel) else None
        return keep_study_worker(settings, services.database, engine)

    return keep


class _Keeper:
    def __init__(self, database: Database, replies: StudyReplies) -> None:
        self._database = database
        self._replies = replies
        self._moment = moment_of(database, None)

    async def keep(self) -> None:
        while True:
            try:
                if await has_work(self._database, self._moment):
                    await self._live()
                    await asyncio.sleep(AGAIN_SECONDS)
            except APIError as error:
                log.warning("studies_not_looked_up", reason=error.message)
            except OSError as error:
                log.error("study_worker_not_started", reason=error.strerror or type(error).__name__)
            await asyncio.sleep(LOOK_SECONDS)

    async def _live(self) -> None:
        """Run the process from its start to its end."""
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                process = await asyncio.create_subprocess_exec(
                    *COMMAND,
                    str(theirs.fileno()),
                    pass_fds=(theirs.fileno(),),
                    stdin=asyncio.subprocess.DEVNULL,
                    start_new_session=True,  # so that a Ctrl-C reaches this process alone
                )
        except BaseException:
            ours.close()
            raise
        link = asyncio.create_task(reply_to_all(ours, StudyQuestion, self._replies.reply))
        try:
            status = await process.wait()
            if status != 0:
                log.error("study_worker_ended", status=status)
        finally:
            await _stop(process)
            await link


async def _stop(process: Process) -> None:
    """Let the process give its studies back. Kill it if that takes too long."""
    if process.returncode is not None:
        return
    process.terminate()
    try:
        await asyncio.wait_for(process.wait(), STOP_SECONDS)
    except TimeoutError:
        process.kill()
        await process.wait()
