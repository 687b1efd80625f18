"""
Close a database to all writers, those of running servers included, and open it again.

    close_to_writers   a trigger on each table refuses every change; a row has the state's fingerprint
    open_to_writers    the triggers and the row are gone, and with them the fingerprint

A server on a closed database answers requests that write with 503, and is not ready. No new server starts
on it. The fingerprint is new with each closing, so a copy that was begun before the database was open for a
while cannot be resumed by mistake.
"""

import secrets
import time
from dataclasses import dataclass
from typing import Literal, Self

from mavera.errors import ConfigurationError
from mavera.storage.database import Database, Queries, Row, Statements
from mavera.storage.faults import CLOSED, CLOSED_STATE
from mavera.storage.moving.shapes import COPIES, list_written_tables

Role = Literal["source", "target"]

_LOCK_SECONDS = 5
_EVENTS = ("INSERT", "UPDATE", "DELETE")


@dataclass(frozen=True, slots=True)
class CopyMark:
    """The row that says of a database that it is the source or the target of a copy."""

    role: Role
    fingerprint: str
    began_at: int
    ended_at: int | None

    @classmethod
    def from_row(cls, row: Row) -> Self:
        return cls(row["role"], row["fingerprint"], row["began_at"], row["ended_at"])


async def find_mark(db: Queries) -> CopyMark | None:
    """Return the mark of a database, whose tables must be up to date. None if it has none."""
    row = await db.fetch_one(
        f"SELECT role, fingerprint, began_at, ended_at FROM {COPIES} WHERE id = 1"  # noqa: S608
    )
    return CopyMark.from_row(row) if row else None


async def refuse_moving(database: Database) -> None:
    """Raise ConfigurationError if no server may run on the database, because its data is being moved."""
    mark = await find_mark(database) if await database.has_table(COPIES) else None
    if mark is None:
        return
    if mark.role == "source":
        raise ConfigurationError(
            "The database is closed, because `mavera db copy` moved its data to another one. Point"
            " MAVERA_DATABASE_URL at that one, or open this one again: mavera db reopen"
        )
    if mark.ended_at is None:
        raise ConfigurationError(
            "The database holds an unfinished copy of another one. Repeat the command `mavera db copy`."
        )


async def close_to_writers(database: Database) -> str:
    """
    Refuse all changes from now on, and return the fingerprint of the closed database.

    A database that is closed already keeps its fingerprint. Raises ServiceUnavailable if writers hold the
    tables for too long.
    """
    tables = list_written_tables()

    def close(statements: Statements) -> str:
        rows = statements.fetch_all(
            f"SELECT fingerprint FROM {COPIES} WHERE id = 1 AND role = 'source'",  # noqa: S608
            {},
        )
        if rows:
            return str(rows[0]["fingerprint"])
        fingerprint = secrets.token_hex(16)
        if not database.is_file:
            statements.execute(f"SET LOCAL lock_timeout = '{_LOCK_SECONDS}s'", {})
            _make_refusing_function(statements)
        for table in tables:
            _add_triggers(statements, table, is_file=database.is_file)
        write_mark(statements, "source", fingerprint)
        return fingerprint

    return await database.batch(close)


async def open_to_writers(database: Database) -> None:
    """Undo `close_to_writers`. Does nothing on a database that is open."""
    tables = list_written_tables()

    def open_again(statements: Statements) -> None:
        for table in tables:
            if database.is_file:
                for event in _EVENTS:
                    statements.execute(f"DROP TRIGGER IF EXISTS closed_{table}_{event.lower()}", {})
            else:
                statements.execute(f"DROP TRIGGER IF EXISTS closed_{table} ON {table}", {})
        if not database.is_file:
            statements.execute("DROP FUNCTION IF EXISTS refuse_change()", {})
        statements.execute(f"DELETE FROM {COPIES} WHERE role = 'source'", {})  # noqa: S608

    await database.batch(open_again)


def write_mark(statements: Statements, role: Role, fingerprint: str) -> None:
    """Record in a database that it is an end of a copy. The mark of an earlier copy is replaced."""
    statements.execute(f"DELETE FROM {COPIES}", {})  # noqa: S608
    row = (1, role, fingerprint, int(time.time()))
    statements.insert(f"{COPIES} (id, role, fingerprint, began_at)", [row])


def _make_refusing_function(statements: Statements) -> None:
    statements.execute(
        f"""
        CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION '{CLOSED}' USING ERRCODE = '{CLOSED_STATE}';
        END $$
        """,
        {},
    )


def _add_triggers(statements: Statements, table: str, *, is_file: bool) -> None:
    if is_file:
        for event in _EVENTS:
            statements.execute(
                f"""
                CREATE TRIGGER closed_{table}_{event.lower()} BEFORE {event} ON {table}
                BEGIN
                    SELECT RAISE(ABORT, '{CLOSED}');
                END
                """,
                {},
            )
        return
    statements.execute(
        f"""
        CREATE TRIGGER closed_{table} BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON {table}
        FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()
        """,
        {},
    )
