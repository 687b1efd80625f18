"""Forms behind links, and each person's own runs: who sees them, for how long, and what the tables reveal."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from mavera.errors import Forbidden, InvalidRequest, NotFound
from mavera.playground import notebook
from mavera.playground.notebook import Author, NewRun, Notebook
from mavera.storage.database import Database
from mavera.storage.kept import KeptAnswers
from mavera.storage.sealing import Secrets
from tests.support.opening import Open

RUN = NewRun("mavera-1", "responses", "Boomer", 1, "completed", 10, 20, 3)
ANNE, BERT = Author("w", "link Anne"), Author("w", "link Bert")
MARK = b"a question that nobody else may read"


class Clock:
    seconds = 1_000_000.0

    def __call__(self) -> float:
        return self.seconds


@asynccontextmanager
async def writing(opened: Open, *, keeps: bool = True) -> AsyncIterator[tuple[Notebook, Database, Clock]]:
    clock = Clock()
    async with opened() as database:
        kept = KeptAnswers(database, Secrets(b"a secret of thirty-two bytes, at least"), clock=clock)
        yield Notebook(database, kept, keeps_contents=keeps, clock=clock), database, clock


def test_a_form_is_found_by_its_workspace_until_it_expires(opened: Open) -> None:
    async def main() -> None:
        async with writing(opened) as (notes, database, clock):
            form_id = await notes.save_form("w", MARK)

            assert await notes.find_form("w", form_id) == MARK
            for workspace, other in (("v", form_id), ("w", "c" * 25), ("w", "../x")):
                with pytest.raises(NotFound):
                    await notes.find_form(workspace, other)
            rows = await database.fetch_all("SELECT * FROM kept_answers")
            assert rows
            assert not any(MARK in bytes(str(value), "utf-8") for row in rows for value in row.values())
            clock.seconds += notebook.FORM_SECONDS
            with pytest.raises(NotFound):
                await notes.find_form("w", form_id)

    asyncio.run(main())


def test_a_run_is_seen_by_its_author_only(opened: Open) -> None:
    async def main() -> None:
        async with writing(opened) as (notes, _, clock):
            first = await notes.note_run(ANNE, RUN, MARK)
            clock.seconds += 1
            second = await notes.note_run(ANNE, RUN, None)

            assert sorted(run.id for run in await notes.list_runs(ANNE)) == sorted([first, second])
            assert await notes.list_runs(BERT) == []
            assert (await notes.open_run(ANNE, first)).contents == MARK
            assert (await notes.open_run(ANNE, second)).contents is None
            with pytest.raises(NotFound):
                await notes.open_run(BERT, first)
            with pytest.raises(NotFound):
                await notes.open_run(Author("v", ANNE.name), first)
            await notes.forget_run(BERT, first)
            assert (await notes.open_run(ANNE, first)).run.credits == 3
            await notes.forget_run(ANNE, first)
            with pytest.raises(NotFound):
                await notes.open_run(ANNE, first)

    asyncio.run(main())


def test_runs_are_read_page_by_page_until_they_expire(opened: Open) -> None:
    async def main() -> None:
        async with writing(opened) as (notes, database, clock):
            ids = [await notes.note_run(ANNE, RUN, None) for _ in range(5)]

            page = await notes.list_runs(ANNE, limit=3)
            rest = await notes.list_runs(ANNE, before=page[-1].id, limit=3)
            assert [run.id for run in (*page, *rest)] == sorted(ids, reverse=True)
            clock.seconds += notebook.RUN_SECONDS
            assert await notes.list_runs(ANNE) == []
            await notes.note_run(BERT, RUN, None)
            row = await database.fetch_one("SELECT COUNT(*) AS n FROM playground_runs")
            assert row is not None
            assert row["n"] == 1

    asyncio.run(main())


def test_the_oldest_runs_make_room(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notebook, "MOST_RUNS", 3)

    async def main() -> None:
        async with writing(opened) as (notes, _, _clock):
            await notes.note_run(BERT, RUN, None)
            ids = [await notes.note_run(ANNE, RUN, None) for _ in range(5)]

            assert [run.id for run in await notes.list_runs(ANNE)] == sorted(ids, reverse=True)[:3]
            assert len(await notes.list_runs(BERT)) == 1

    asyncio.run(main())


def test_a_server_that_keeps_no_answers_keeps_rows_without_words(opened: Open) -> None:
    async def main() -> None:
        async with writing(opened, keeps=False) as (notes, database, _):
            run_id = await notes.note_run(ANNE, RUN, MARK)

            assert not (await notes.open_run(ANNE, run_id)).run.has_contents
            with pytest.raises(Forbidden):
                await notes.save_form("w", MARK)
            assert await database.fetch_all("SELECT * FROM kept_answers") == []

    asyncio.run(main())


def test_contents_beyond_the_bounds_are_not_kept(opened: Open) -> None:
    async def main() -> None:
        async with writing(opened) as (notes, _, _clock):
            run_id = await notes.note_run(ANNE, RUN, b"x" * (notebook.MOST_RUN_BYTES + 1))

            assert (await notes.open_run(ANNE, run_id)).contents is None
            with pytest.raises(InvalidRequest):
                await notes.save_form("w", b"x" * (notebook.MOST_FORM_BYTES + 1))

    asyncio.run(main())


@pytest.mark.sqlite
def test_the_history_is_read_from_an_index(opened: Open) -> None:
    async def main() -> None:
        async with opened() as database:
            plan = await database.fetch_all(
                """
                EXPLAIN QUERY PLAN SELECT id FROM playground_runs
                 WHERE workspace_id = 'w' AND author = 'a' AND id < '~' AND expires_at > 0
                 ORDER BY id DESC LIMIT 25
                """
            )
            told = " ".join(str(row["detail"]) for row in plan)
            assert "playground_runs_newest" in told
            assert "TEMP B-TREE" not in told

    asyncio.run(main())
