"""Statements that change tables, for the steps of `migrations.py`."""

from dataclasses import dataclass
from typing import Literal

from mavera.storage.pool import Statements

Dialect = Literal["sqlite", "postgresql"]


@dataclass(frozen=True, slots=True)
class Index:
    """An index of a table that may be large. `on` is the table with the columns, and the condition if any."""

    name: str
    on: str


class Tables:
    """Statements that change tables, on one of the two databases."""

    def __init__(self, statements: Statements, dialect: Dialect) -> None:
        self._statements = statements
        # SQLite numbers rows of INTEGER keys by itself.
        self.numbered_key = "INTEGER NOT NULL PRIMARY KEY" if dialect == "sqlite" else "BIGSERIAL PRIMARY KEY"
        # Without it, SQLite keeps a second tree if the primary key is not a number.
        self.by_key = "WITHOUT ROWID" if dialect == "sqlite" else ""
        self.bytes = "BLOB" if dialect == "sqlite" else "BYTEA"

    def run(self, sql: str) -> None:
        self._statements.execute(sql, {})

    def add_columns(self, table: str, **columns: str) -> None:
        """Add `columns`, each a name with its type and default, to a table that has rows already."""
        for name, definition in columns.items():
            self.run(f"ALTER TABLE {table} ADD COLUMN {name} {definition}")

    def add_indexes(self, *indexes: Index) -> None:
        """Add indexes. On Postgres, `large_indexes.py` may have built them before, beside running servers."""
        for index in indexes:
            self.run(f"CREATE INDEX IF NOT EXISTS {index.name} ON {index.on}")
