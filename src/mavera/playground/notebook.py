"""
Keep forms behind links, and each person's own runs, for a limited time.

    save_form(workspace, form)        an id; everybody of the workspace can open the form
    note_run(author, run)             an id; only its author sees the run
    list_runs(author)                 newest first, page by page

A run is a row of `playground_runs` with numbers and names, and no word of its question or answer. Forms and
contents of runs are kept encrypted in `storage/kept.py`, and only if this server keeps answers at all.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from mavera.core.ids import is_cuid, new_cuid
from mavera.errors import Forbidden, InvalidRequest, NotFound
from mavera.playground import repository
from mavera.playground.repository import Author, NewRun, NotedRun
from mavera.storage.database import Database
from mavera.storage.kept import KeptAnswers, Purpose

__all__ = ["FORMS", "RUNS", "Author", "NewRun", "Notebook", "NotedRun"]

_DAY = 86_400
FORM_SECONDS = 90 * _DAY
RUN_SECONDS = 30 * _DAY
MOST_FORM_BYTES = 4 * 1024 * 1024
# Larger contents, such as long answers of ten personas, are not kept. The row is.
MOST_RUN_BYTES = 1024 * 1024
MOST_RUNS = 2_000
FORMS = Purpose("playground_forms", 2_000, 64 * 1024 * 1024)
RUNS = Purpose("playground_runs", 10_000, 128 * 1024 * 1024)


@dataclass(frozen=True, slots=True)
class OpenedRun:
    """A run, and its contents as JSON. `contents` is None if they are not kept, or no longer."""

    run: NotedRun
    contents: bytes | None


class Notebook:
    """`keeps_contents` says whether this server keeps questions and answers. `clock` is in Unix seconds."""

    def __init__(
        self,
        database: Database,
        kept: KeptAnswers,
        *,
        keeps_contents: bool,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._kept = kept
        self._keeps_contents = keeps_contents
        self._clock = clock

    @property
    def keeps_contents(self) -> bool:
        """Whether questions, answers and forms are kept."""
        return self._keeps_contents and self._kept.serves(RUNS)

    async def save_form(self, workspace_id: str, form: bytes) -> str:
        """
        Keep a form for 90 days, and return its id.

        Raises Forbidden if this server keeps no contents, and InvalidRequest for a form of more than 4 MiB.
        """
        if len(form) > MOST_FORM_BYTES:
            raise InvalidRequest("This form is too large for a link. Remove an image.", param="form")
        form_id = new_cuid()
        if not self.keeps_contents or not await self._kept.keep(
            workspace_id, FORMS, form_id, form, seconds=FORM_SECONDS
        ):
            raise Forbidden(
                "This server keeps no questions, so it cannot make a link to a form of this length."
            )
        return form_id

    async def find_form(self, workspace_id: str, form_id: str) -> bytes:
        """Return a saved form. Raises NotFound, even if another workspace has it."""
        form = await self._kept.find(workspace_id, FORMS, form_id) if is_cuid(form_id) else None
        if form is None:
            raise NotFound("This link has expired, or it belongs to another workspace.")
        return form

    async def note_run(self, author: Author, run: NewRun, contents: bytes | None) -> str:
        """Note a run that has ended, and keep its contents if that is allowed. Return its id."""
        now = int(self._clock())
        run_id = new_cuid()
        kept = (
            contents is not None
            and self.keeps_contents
            and len(contents) <= MOST_RUN_BYTES
            and await self._kept.keep(author.workspace_id, RUNS, run_id, contents, seconds=RUN_SECONDS)
        )
        async with self._database.transaction() as transaction:
            await repository.insert_run(
                transaction, run_id, author, run, has_contents=kept, now=now, expires_at=now + RUN_SECONDS
            )
            await repository.delete_old(transaction, author, now=now, most=MOST_RUNS)
        return run_id

    async def list_runs(self, author: Author, *, before: str = "", limit: int = 25) -> list[NotedRun]:
        """Return the author's runs, newest first. `before` is the last id of the page before."""
        now = int(self._clock())
        return await repository.list_runs(self._database, author, before=before, limit=limit, now=now)

    async def open_run(self, author: Author, run_id: str) -> OpenedRun:
        """Return a run with its contents. Raises NotFound, even if somebody else noted it."""
        run = await repository.find_run(self._database, author, run_id, now=int(self._clock()))
        if run is None:
            raise NotFound("There is no such run in your history.")
        contents = await self._kept.find(author.workspace_id, RUNS, run_id) if run.has_contents else None
        return OpenedRun(run, contents)

    async def forget_run(self, author: Author, run_id: str) -> None:
        """Remove a run and its contents. A run that does not exist is no error."""
        if await repository.delete_run(self._database, author, run_id):
            await self._kept.forget(author.workspace_id, RUNS, run_id)
