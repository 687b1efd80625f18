"""
Find the values of an SQLite file that Postgres would refuse, before anything is written.

    a text with a NUL character, or with bytes that are not UTF-8
    a value of another type than its column, which SQLite allows
"""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

from mavera.storage.faults import storage_errors
from mavera.storage.moving.shapes import Column, Table

MOST_NAMED = 20

_TYPES = {"TEXT": "text", "BIGINT": "integer", "BLOB": "bytes"}
# Texts are read as byte arrays, because the driver cannot decode a damaged one.
_NAMES = {bytearray: "text", int: "integer", bytes: "bytes", float: "number"}


def find_unfit_values(path: Path, tables: Iterable[Table]) -> list[str]:
    """
    Describe each value that Postgres would refuse by its table, key, column and fault, at most twenty.

    Reads the whole file, so call it in a thread.
    """
    with storage_errors(), closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        connection.text_factory = bytearray
        return list(islice(_iterate_unfit_values(connection, tables), MOST_NAMED))


def _iterate_unfit_values(connection: sqlite3.Connection, tables: Iterable[Table]) -> Iterator[str]:
    for table in tables:
        for row in connection.execute(f"SELECT {', '.join(table.column_names)} FROM {table.name}"):  # noqa: S608
            for column, value in zip(table.columns, row, strict=True):
                fault = _find_fault(column, value)
                if fault is not None:
                    key = _describe_key(table, row)
                    yield f"table {table.name}, row {key}, column {column.name}: {fault}"


def _find_fault(column: Column, value: Any) -> str | None:
    if value is None:
        return None
    found, wanted = _NAMES[type(value)], _TYPES[column.kind]
    if found != wanted:
        return f"a value of type {found} in a column of type {wanted}"
    if wanted != "text":
        return None
    if b"\0" in value:
        return "a text with a NUL character"
    try:
        value.decode()
    except UnicodeDecodeError:
        return "a text that is not UTF-8"
    return None


def _describe_key(table: Table, row: Sequence[Any]) -> str:
    parts = [row[table.column_names.index(name)] for name in table.key]
    texts = [part.decode(errors="replace") if isinstance(part, bytearray) else str(part) for part in parts]
    return repr(" ".join(texts))
