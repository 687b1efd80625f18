"""
Remove the rows of DBOS that no study needs any more.

A worker removes a workflow when its study ends. Workflows of a worker that was killed stay: another worker
goes on with the study under a new fence, so nobody continues or removes the old workflow. These go after some
days, in small batches:

    its study is running or waiting under its fence     →  stays
    its study has ended, is gone, or has another fence  →  removed, even if DBOS waits for it: nobody goes on
                                                           with it, and late writes change nothing
"""

import asyncio
from datetime import UTC, datetime
from typing import Self

import structlog
from dbos import DBOS, WorkflowStatus

from mavera.core.background import stop
from mavera.focus_groups.engine import WORKFLOW, name_workflow
from mavera.storage.database import Database, Queries

EVERY_SECONDS = 600.0
REMOVED_AT_ONCE = 200
BATCHES_A_PASS = 20
_DAY_SECONDS = 86_400

log = structlog.get_logger()


class WorkflowPruning:
    """Every worker does this after its start, and every ten minutes. The engine must be launched."""

    def __init__(self, database: Database, days: int, *, seconds: float = EVERY_SECONDS) -> None:
        self._database = database
        self._days = days
        self._seconds = seconds
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._keep_up())
        return self

    async def __aexit__(self, *_: object) -> None:
        await stop(self._task)

    async def do_once(self) -> int:
        """Do one bounded pass, and return the number of workflows that were removed."""
        removed = kept = 0
        for _ in range(BATCHES_A_PASS):
            found = await self._list_old(skipped=kept)
            gone = await self._select_unneeded(found)
            if gone:
                await DBOS.delete_workflows_async(gone)
            removed += len(gone)
            kept += len(found) - len(gone)
            if len(found) < REMOVED_AT_ONCE:
                break
        return removed

    async def _list_old(self, *, skipped: int) -> list[WorkflowStatus]:
        before = datetime.fromtimestamp(self._database.clock() - self._days * _DAY_SECONDS, UTC)
        return await DBOS.list_workflows_async(
            name=WORKFLOW,
            end_time=before.isoformat(),
            limit=REMOVED_AT_ONCE,
            offset=skipped,
            load_input=False,
            load_output=False,
        )

    async def _select_unneeded(self, found: list[WorkflowStatus]) -> list[str]:
        """Return the ids of those that no study needs."""
        studies = {workflow.workflow_id: workflow.workflow_id.rpartition(".")[0] for workflow in found}
        needed = await _list_needed(self._database, sorted(set(studies.values())))
        return [
            workflow.workflow_id
            for workflow in found
            if studies[workflow.workflow_id] and workflow.workflow_id not in needed
        ]

    async def _keep_up(self) -> None:
        while True:
            try:
                removed = await self.do_once()
                if removed:
                    log.info("workflows_pruned", count=removed)
            except Exception as error:
                # Without the next pass, the tables would grow for as long as the process lives.
                log.warning("workflows_not_pruned", error=type(error).__name__)
            await asyncio.sleep(self._seconds)


async def _list_needed(db: Queries, study_ids: list[str]) -> set[str]:
    """Return the names of the workflows of those studies that are running or waiting."""
    names = [f"study{number}" for number in range(len(study_ids))]
    if not names:
        return set()
    rows = await db.fetch_all(
        f"""
        SELECT id, fence FROM focus_groups
         WHERE id IN ({", ".join(f":{name}" for name in names)}) AND status IN ('PENDING', 'PROCESSING')
        """,  # noqa: S608
        **dict(zip(names, study_ids, strict=True)),
    )
    return {name_workflow(row["id"], row["fence"]) for row in rows}
