"""Rows of DBOS that no study needs go after some days, in batches, and those of a living study never do."""

import asyncio
import contextlib
import sqlite3
import time
from types import SimpleNamespace
from typing import Any, cast

import asyncpg
import pytest

from mavera.focus_groups import workflow_pruning
from mavera.focus_groups.engine import StudyEngine, studies_path
from mavera.focus_groups.program import StudyProgram
from mavera.focus_groups.workflow_pruning import WorkflowPruning
from mavera.settings import Settings
from mavera.storage.database import Database
from tests.support.tables import make_tables

pytestmark = pytest.mark.proof

OLD, NEW = 31, 29
WORKFLOWS = {
    # id: (status, days)
    "fg_running.3": ("PENDING", OLD),
    "fg_waiting.1": ("PENDING", OLD),
    "fg_running.2": ("PENDING", OLD),
    "fg_ended.1": ("PENDING", OLD),
    "fg_gone.1": ("SUCCESS", OLD),
    "fg_gone.2": ("ERROR", NEW),
    "fg_ended.2": ("PENDING", NEW),
    "another": ("SUCCESS", OLD),
}
STUDIES = {"fg_running": ("PROCESSING", 3), "fg_waiting": ("PENDING", 1), "fg_ended": ("COMPLETED", 2)}
KEPT = ["another", "fg_ended.2", "fg_gone.2", "fg_running.3", "fg_waiting.1"]

ADD_WORKFLOW = """
    INSERT INTO {schema}workflow_status (workflow_uuid, status, name, executor_id, created_at, updated_at,
                                         priority)
    VALUES ('{id}', '{status}', 'study', 'a-worker-that-is-gone', {moment}, {moment}, 0)
    """
ADD_STEP = """
    INSERT INTO {schema}operation_outputs (workflow_uuid, function_id, function_name, retention_timestamp)
    VALUES ('{id}', 1, 'cells', {moment})
    """
ADD_STUDY = """
    INSERT INTO focus_groups (id, workspace_id, mode, key_id, name, status, program, study, panel, model,
                              method, cells_total, price, fence, created_at)
    VALUES (:id, 'w', 'live', 'key', 'name', :status, 1, '', '', 'm', '', 1, 1, :fence, 1)
    """


async def run_on_dbos(settings: Settings, statements: list[str]) -> list[str]:
    """Run statements on the tables of DBOS, and return the first column of the last one's rows."""
    if settings.database_url:
        connection = await asyncpg.connect(settings.database_url)
        try:
            for sql in statements[:-1]:
                await connection.execute(sql)
            return [row[0] for row in await connection.fetch(statements[-1])]
        finally:
            await connection.close()
    with contextlib.closing(sqlite3.connect(studies_path(settings))) as file, file:
        for sql in statements[:-1]:
            file.execute(sql)
        return [row[0] for row in file.execute(statements[-1]).fetchall()]


async def list_workflows(settings: Settings, table: str) -> list[str]:
    schema = "dbos." if settings.database_url else ""
    return await run_on_dbos(settings, [f"SELECT workflow_uuid FROM {schema}{table} ORDER BY 1"])


@contextlib.asynccontextmanager
async def launched(settings: Settings) -> Any:
    engine = StudyEngine(cast("StudyProgram", SimpleNamespace(worker_id="this-worker")), settings)
    await engine.launch()
    try:
        yield engine
    finally:
        await engine.close()


def test_old_workflows_that_no_study_needs_are_removed_in_batches(
    settings: Settings, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_tables(database_url)
    monkeypatch.setattr(workflow_pruning, "REMOVED_AT_ONCE", 2)
    schema = "dbos." if settings.database_url else ""

    def fill(sql: str) -> list[str]:
        return [
            sql.format(
                schema=schema, id=name, status=status, moment=int((time.time() - days * 86_400) * 1000)
            )
            for name, (status, days) in WORKFLOWS.items()
        ]

    async def main() -> None:
        async with Database.open(settings) as database, launched(settings):
            for name, (status, fence) in STUDIES.items():
                await database.execute(ADD_STUDY, id=name, status=status, fence=fence)
            await run_on_dbos(settings, [*fill(ADD_WORKFLOW), *fill(ADD_STEP), "SELECT 1"])

            pruning = WorkflowPruning(database, 30)
            monkeypatch.setattr(workflow_pruning, "BATCHES_A_PASS", 1)
            assert await pruning.do_once() <= 2, "a batch is bounded"
            monkeypatch.setattr(workflow_pruning, "BATCHES_A_PASS", 20)
            await pruning.do_once()

            assert await list_workflows(settings, "workflow_status") == KEPT
            assert await list_workflows(settings, "operation_outputs") == KEPT
            assert await pruning.do_once() == 0

    asyncio.run(main())


def test_pruning_begins_at_once(settings: Settings, database_url: str) -> None:
    make_tables(database_url)
    schema = "dbos." if settings.database_url else ""
    old = ADD_WORKFLOW.format(schema=schema, id="fg_gone.1", status="SUCCESS", moment=1_000)

    async def main() -> None:
        async with Database.open(settings) as database, launched(settings):
            await run_on_dbos(settings, [old, "SELECT 1"])
            async with WorkflowPruning(database, 30):
                while await list_workflows(settings, "workflow_status"):  # noqa: ASYNC110 - rows of DBOS
                    await asyncio.sleep(0.05)

    asyncio.run(asyncio.wait_for(main(), 60))
