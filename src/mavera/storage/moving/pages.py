"""
Read the rows of a table in the order of its key, page by page, within a bound on memory.

A page holds at most a thousand rows. The pages of a table with large texts become smaller, so that a page
stays near eight megabytes.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Any

from mavera.storage.database import Queries, Row
from mavera.storage.moving.shapes import Table

_FIRST_ROWS, _MOST_ROWS = 16, 1000
_PAGE_BYTES = 8 * 1024 * 1024


async def iterate_pages(
    db: Queries, table: Table, after: Sequence[Any] | None = None
) -> AsyncIterator[list[Row]]:
    """Yield pages of the rows whose key comes after `after`, or of all rows."""
    names = ", ".join(table.key)
    selected = ", ".join(table.column_names)
    limit = _FIRST_ROWS
    while True:
        values = {f"key{place}": value for place, value in enumerate(after or ())}
        beyond = f"WHERE ({names}) > ({', '.join(f':{name}' for name in values)})" if values else ""
        rows = await db.fetch_all(
            f"SELECT {selected} FROM {table.name} {beyond} ORDER BY {names} LIMIT :rows",  # noqa: S608 - our names
            **values,
            rows=limit,
        )
        if not rows:
            return
        after = key_of(table, rows[-1])
        yield rows
        limit = _choose_limit(limit, rows)


def key_of(table: Table, row: Row) -> list[Any]:
    return [row[name] for name in table.key]


def _choose_limit(limit: int, rows: list[Row]) -> int:
    size = sum(len(value) for row in rows for value in row.values() if isinstance(value, str | bytes))
    if size > _PAGE_BYTES:
        return max(1, limit // 2)
    return min(_MOST_ROWS, limit * 2) if size < _PAGE_BYTES // 4 else limit
