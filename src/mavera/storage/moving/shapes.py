"""
List the tables that mavera's migrations make: their columns, keys and order of dependence.

The list is read from an empty database in memory, so it includes the table of the newest migration, and no
table of another program that shares a database of Postgres.
"""

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from graphlib import TopologicalSorter

from mavera.storage.migrations import MIGRATIONS
from mavera.storage.sqlite import FileStatements
from mavera.storage.tables import Tables

COPIES = "database_copies"
_LIST_TABLES = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%' ORDER BY 1"
# Each database has its own rows in these tables. Those of processes end with them.
_OWN_TABLES = frozenset({COPIES, "schema_state", "mavera_migrations", "processes", "run_slots"})


@dataclass(frozen=True, slots=True)
class Column:
    """`kind` is TEXT, BIGINT or BLOB."""

    name: str
    kind: str


@dataclass(frozen=True, slots=True)
class Table:
    """A table. `is_numbered` is true if the database numbers its rows. `key` is its primary key."""

    name: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    is_numbered: bool

    @property
    def column_names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)


def list_written_tables() -> tuple[str, ...]:
    """Return the names of all tables that servers write."""
    return (*(table.name for table in list_copied_tables()), "schema_state")


def list_copied_tables() -> tuple[Table, ...]:
    """Return the tables whose rows a copy carries over. A table comes after those it refers to."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        tables = Tables(FileStatements(connection), "sqlite")
        for migration in MIGRATIONS:
            migration(tables)
        names = [row[0] for row in connection.execute(_LIST_TABLES).fetchall() if row[0] not in _OWN_TABLES]
        parents = {name: _list_parents(connection, name) for name in names}
        return tuple(_read_table(connection, name) for name in TopologicalSorter(parents).static_order())


def _list_parents(connection: sqlite3.Connection, name: str) -> set[str]:
    rows = connection.execute('SELECT "table" FROM pragma_foreign_key_list(?)', (name,))
    return {row[0] for row in rows} - {name}


def _read_table(connection: sqlite3.Connection, name: str) -> Table:
    rows = connection.execute("SELECT name, type, pk FROM pragma_table_info(?)", (name,)).fetchall()
    key = tuple(column for column, _, place in sorted(rows, key=lambda row: row[2]) if place)
    numbered = any(kind == "INTEGER" and place for _, kind, place in rows)
    columns = tuple(Column(column, "BIGINT" if kind == "INTEGER" else kind) for column, kind, _ in rows)
    return Table(name, columns, key, numbered)
