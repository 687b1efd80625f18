"""
Run a study in the process of `mavera study run`, with a progress bar.

    claim a worker's name → create the study, or go on with the unfinished one → its steps → its results

The study's lease is given up after Ctrl-C, so the same command or a server goes on with it at once.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from msgspec.structs import replace
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mavera.accounts.credits.holds import Credits
from mavera.cli.progress import wait_until_ready
from mavera.cli.study_office import Office, compute_results, open_office
from mavera.core.finish import finish
from mavera.errors import ConfigurationError
from mavera.focus_groups import repository
from mavera.focus_groups.desk import load_study_module
from mavera.focus_groups.repository import StudyRow
from mavera.focus_groups.study import Study
from mavera.models.config import DEFAULT_NAME
from mavera.services import Components, open_study_parts
from mavera.settings import Settings
from mavera.storage.moment import moment_of


async def run_study(
    settings: Settings, study: Study, *, source: StudyRow | None = None, known: StudyRow | None = None
) -> tuple[StudyRow, dict[str, Any]]:
    """
    Run a study in this process, with a bar, and return it with its results.

    `known` is an unfinished study to go on with. Without it, the newest unfinished study with the same
    content goes on, and if there is none, a study is created. Raises ConfigurationError if another process
    runs the study.
    """
    console = Console(stderr=True, highlight=False)
    worker = load_study_module("worker")
    with worker.claim_worker_id(settings.data_dir) as worker_id:
        async with _open_program(settings, worker_id, console) as (office, program):
            row = await _begin(office, study, worker_id, source, known, console)
            if row.worker_id != worker_id or row.fence == 0:
                row = await _take(office, program, row)
            async with _bar(office, row, console):
                try:
                    await program.run(row)
                except BaseException:
                    await finish(program.release(row))
                    console.print(f"{row.id} is interrupted. The same command goes on with it.")
                    raise
            row = await office.service.get(office.principal, row.id)
            return row, await compute_results(office, row)


async def end_cancelled(office: Office, row: StudyRow) -> None:
    """End a cancelled study that no process runs. The process that runs one ends it itself."""
    if row.is_finished:
        return
    program = load_study_module("program")
    worker = load_study_module("worker")
    with worker.claim_worker_id(office.settings.data_dir) as worker_id:
        await program.StudyProgram(
            office.database,
            office.credits,
            _refuse_to_ask,
            worker_id=worker_id,
            moment=moment_of(office.database, None),
        ).end_cancelled(row.id)


async def _refuse_to_ask(row: StudyRow) -> Any:
    raise AssertionError(f"{row.id} was cancelled, so nobody is asked")


async def _begin(
    office: Office,
    study: Study,
    worker_id: str,
    source: StudyRow | None,
    known: StudyRow | None,
    console: Console,
) -> StudyRow:
    if known is None:
        known = await repository.find_unfinished(
            office.database, office.principal, study, study.model or DEFAULT_NAME
        )
        if known is not None:
            console.print(f"Going on with {known.id}.")
    if known is not None:
        return replace(known, worker_id=None)
    row: StudyRow = await office.service.create(office.principal, study, source=source, worker_id=worker_id)
    return row


async def _take(office: Office, program: Any, row: StudyRow) -> StudyRow:
    """Take an unfinished study for this process. Raises ConfigurationError if that cannot be done."""
    taken: StudyRow | None = await program.take(row.id)
    if taken is not None:
        return taken
    now = await office.service.get(office.principal, row.id)
    if now.is_finished:
        raise ConfigurationError(now.error or f"{row.id} has ended: {now.status}.")
    raise ConfigurationError(f"Another process runs {row.id} now. Look: mavera study show {row.id}")


@asynccontextmanager
async def _open_program(
    settings: Settings, worker_id: str, console: Console
) -> AsyncIterator[tuple[Office, Any]]:
    components = Components.of(settings)
    program = load_study_module("program")
    interviewing = load_study_module("interviewing")
    async with open_study_parts(settings, components) as parts, Credits(parts.database) as credits:
        await wait_until_ready(components.model, console)
        models = interviewing.Models(parts.library, parts.models, parts.named_models, parts.images)
        office = await open_office(settings, parts.database, credits, parts.images)
        yield (
            office,
            program.StudyProgram(
                parts.database,
                credits,
                models.open_interviewer,
                worker_id=worker_id,
                moment=moment_of(parts.database, None),
                places=max(1, settings.running_at_once // 2) if settings.backend == "upstream" else 1,
            ),
        )


@asynccontextmanager
async def _bar(office: Office, row: StudyRow, console: Console) -> AsyncIterator[None]:
    """Show how many cells have their answer, during the block."""
    columns = (TextColumn("Asking"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        first = await office.service.count_progress(row)
        task = bar.add_task("", total=first.total, completed=first.done)

        async def follow() -> None:
            while True:
                bar.update(task, completed=(await office.service.count_progress(row)).done)
                await asyncio.sleep(0.5)

        follower = asyncio.create_task(follow())
        try:
            yield
            bar.update(task, completed=first.total)
        finally:
            follower.cancel()
            await asyncio.gather(follower, return_exceptions=True)
