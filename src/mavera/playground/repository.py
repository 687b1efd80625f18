"""SQL for the runs of the playground."""

from dataclasses import dataclass

from mavera.storage.database import Queries, Row

_LAST_ID = "~"  # sorts after every id
_COLUMNS = """
    id, created_at, model, format, personas, answers, status, input_tokens, output_tokens, credits,
    has_contents
"""


@dataclass(frozen=True, slots=True)
class Author:
    """Somebody in a workspace. `name` tells the people of one workspace apart."""

    workspace_id: str
    name: str


@dataclass(frozen=True, slots=True)
class NewRun:
    """A run without its words. `personas` are names for people, on one line."""

    model: str
    format: str
    personas: str
    answers: int
    status: str
    input_tokens: int
    output_tokens: int
    credits: int


@dataclass(frozen=True, slots=True)
class NotedRun(NewRun):
    """A run of the history. `created_at` is in Unix seconds."""

    id: str
    created_at: int
    has_contents: bool


async def insert_run(
    db: Queries, run_id: str, author: Author, run: NewRun, *, has_contents: bool, now: int, expires_at: int
) -> None:
    await db.execute(
        """
        INSERT INTO playground_runs
               (id, workspace_id, author, created_at, expires_at, model, format, personas, answers, status,
                input_tokens, output_tokens, credits, has_contents)
        VALUES (:id, :workspace_id, :author, :now, :expires_at, :model, :format, :personas, :answers, :status,
                :input_tokens, :output_tokens, :credits, :has_contents)
        """,
        id=run_id,
        workspace_id=author.workspace_id,
        author=author.name,
        now=now,
        expires_at=expires_at,
        model=run.model,
        format=run.format,
        personas=run.personas,
        answers=run.answers,
        status=run.status,
        input_tokens=run.input_tokens,
        output_tokens=run.output_tokens,
        credits=run.credits,
        has_contents=int(has_contents),
    )


async def delete_old(db: Queries, author: Author, *, now: int, most: int) -> None:
    """Delete the runs of everybody that have expired, and those of `author` beyond the newest `most`."""
    await db.execute("DELETE FROM playground_runs WHERE expires_at <= :now", now=now)
    await db.execute(
        """
        DELETE FROM playground_runs
         WHERE workspace_id = :workspace_id AND author = :author AND id <= (
               SELECT id FROM playground_runs
                WHERE workspace_id = :workspace_id AND author = :author
                ORDER BY id DESC LIMIT 1 OFFSET :most)
        """,
        workspace_id=author.workspace_id,
        author=author.name,
        most=most,
    )


async def list_runs(db: Queries, author: Author, *, before: str, limit: int, now: int) -> list[NotedRun]:
    rows = await db.fetch_all(
        f"""
        SELECT {_COLUMNS} FROM playground_runs
         WHERE workspace_id = :workspace_id AND author = :author AND id < :before AND expires_at > :now
         ORDER BY id DESC
         LIMIT :limit
        """,  # noqa: S608 - the columns are ours
        workspace_id=author.workspace_id,
        author=author.name,
        before=before or _LAST_ID,
        limit=limit,
        now=now,
    )
    return [_from_row(row) for row in rows]


async def find_run(db: Queries, author: Author, run_id: str, *, now: int) -> NotedRun | None:
    row = await db.fetch_one(
        f"""
        SELECT {_COLUMNS} FROM playground_runs
         WHERE workspace_id = :workspace_id AND author = :author AND id = :id AND expires_at > :now
        """,  # noqa: S608
        workspace_id=author.workspace_id,
        author=author.name,
        id=run_id,
        now=now,
    )
    return _from_row(row) if row else None


async def delete_run(db: Queries, author: Author, run_id: str) -> bool:
    """Return whether there was such a run."""
    deleted = await db.execute(
        "DELETE FROM playground_runs WHERE workspace_id = :workspace_id AND author = :author AND id = :id",
        workspace_id=author.workspace_id,
        author=author.name,
        id=run_id,
    )
    return bool(deleted)


def _from_row(row: Row) -> NotedRun:
    return NotedRun(**{**dict(row), "has_contents": bool(row["has_contents"])})
