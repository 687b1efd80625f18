"""
Make studies durable with DBOS. Only this module uses DBOS, so that it can be replaced.

    start     begin the steps of a study that this process took, as a workflow
    launch    open the engine, and continue the workflows that this executor left unfinished
    close     stop the engine

A step's result is a number or keys, never a text: answers, progress and charges are in our own tables. DBOS
runs a step at least once, but a row can get its answer only once. The open edition of DBOS does not take over
the work of a dead executor. `worker.py` does so with a lease: it takes the study with a new fence, and starts
a new workflow for the pending cells.
"""

import asyncio
import contextlib
import sqlite3
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import structlog
from dbos import DBOS, DBOSConfig, SetWorkflowID, WorkflowSerializationFormat

from mavera.focus_groups import repository
from mavera.focus_groups.program import StudyProgram, Work
from mavera.focus_groups.repository import PROGRAM
from mavera.focus_groups.system_database import make_postgres_engine
from mavera.settings import Settings

T = TypeVar("T")

log = structlog.get_logger()
NAME = "mavera"
SCHEMA = "dbos"
WORKFLOW = "study"
POLL_SECONDS = 0.25


class StudyEngine:
    """The engine of this process. DBOS allows one."""

    def __init__(self, program: StudyProgram, settings: Settings) -> None:
        self._program = program
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self._ended: dict[str, asyncio.Event] = {}
        self._postgres = make_postgres_engine(settings) if _is_on_postgres(settings) else None

    async def launch(self) -> None:
        """Open the engine, and continue the workflows that this executor left unfinished."""
        _engines[:] = [self]
        if self._postgres is None:
            _use_write_ahead_log(studies_path(self._settings))
        DBOS(config=self._configure())
        await asyncio.to_thread(DBOS.launch)

    async def start(self, row: repository.StudyRow) -> None:
        """Begin the steps of a study that this process has taken, and return when they have ended."""
        workflow_id = name_workflow(row.id, row.fence)
        with SetWorkflowID(workflow_id):
            handle = await DBOS.start_workflow_async(run_study, row.id, row.fence)
        await handle.get_result()
        await DBOS.delete_workflow_async(workflow_id)

    async def close(self) -> None:
        await asyncio.to_thread(DBOS.destroy)
        if self._postgres is not None:
            self._postgres.dispose()  # DBOS has shut the loop's threads down
        _engines.clear()

    def on_loop(self, work: Awaitable[T]) -> Awaitable[T]:
        """Run `work` on the loop that opened the database, whatever loop DBOS uses."""

        async def run() -> T:
            return await work

        return asyncio.wrap_future(asyncio.run_coroutine_threadsafe(run(), self._loop))

    async def run_steps(self, study_id: str, fence: int) -> str:
        """Run the steps of a study, each of them checkpointed."""
        row = await self.on_loop(self._find(study_id, fence))
        if row is None:
            return "taken over"
        async with _Held(self, row) as work:
            program = self._program
            await self._step("priors", lambda: _count(program.measure_priors(work)))
            keys = await self._step("list", lambda: program.list_pending(work))
            for batch in program.split_batches(work, keys):
                if not await self._step("cells", partial(self._read, work, batch)):
                    break
            return await self._step("finish", lambda: _name(program.finish(work)))

    async def _read(self, work: Work, keys: list[str]) -> bool:
        """Ask for some cells. Returns False if no further cell may begin."""
        if await self._program.find_stop(work) is not None:
            return False
        await self._program.read_cells(work, keys)
        return not work.is_lost

    async def _step(self, name: str, step: Callable[[], Awaitable[T]]) -> T:
        async def run() -> T:
            return await self.on_loop(step())

        return await DBOS.run_step_async({"name": name}, run)

    async def _find(self, study_id: str, fence: int) -> repository.StudyRow | None:
        return await self._program.find_mine(study_id, fence)

    def _configure(self) -> DBOSConfig:
        config = DBOSConfig(
            name=NAME,
            system_database_url=system_database_url(self._settings),
            dbos_system_schema=SCHEMA,
            executor_id=self._program.worker_id,
            application_version=str(PROGRAM),
            use_listen_notify=False,
            notification_listener_polling_interval_sec=POLL_SECONDS,
            log_level="WARNING",
            enable_otlp=False,
        )
        if self._postgres is not None:
            config["system_database_engine"] = self._postgres
        return config


class _Held:
    """A study whose lease is renewed on the loop of the database."""

    def __init__(self, engine: StudyEngine, row: repository.StudyRow) -> None:
        self._engine = engine
        self._held = engine._program.hold(row)

    async def __aenter__(self) -> Work:
        return await self._engine.on_loop(self._held.__aenter__())

    async def __aexit__(self, *error: Any) -> None:
        await self._engine.on_loop(self._held.__aexit__(*error))


_engines: list[StudyEngine] = []


def name_workflow(study_id: str, fence: int) -> str:
    return f"{study_id}.{fence}"


@DBOS.workflow(name=WORKFLOW, serialization_type=WorkflowSerializationFormat.PORTABLE)
async def run_study(study_id: str, fence: int) -> str:
    """The workflow of a study. Its arguments are all that DBOS stores of it."""
    return await _engines[0].run_steps(study_id, fence)


async def _count(work: Awaitable[Any]) -> int:
    return len(await work)


async def _name(work: Awaitable[str | None]) -> str:
    return await work or "goes on elsewhere"


def _use_write_ahead_log(path: Path) -> None:
    """Make writers and readers of the file wait for each other less. The file keeps the setting."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")


def _is_on_postgres(settings: Settings) -> bool:
    return settings.database_url.startswith("postgres")


def system_database_url(settings: Settings) -> str:
    """Return the database of DBOS: a file beside mavera's, or the same Postgres."""
    if _is_on_postgres(settings):
        return "postgresql://" + settings.database_url.split("://", 1)[1]
    return f"sqlite:///{studies_path(settings)}"


def studies_path(settings: Settings) -> Path:
    return settings.data_dir / "studies.db"
