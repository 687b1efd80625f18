"""The plans by which a database runs statements."""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

from mavera.storage.database import Database, Row, Transaction


class RecordingDatabase(Database):
    """A database that keeps its statements, so that their plans can be asked for."""

    def __init__(self, *values: Any, **named: Any) -> None:
        super().__init__(*values, **named)
        self.asked: list[tuple[str, dict[str, Any]]] = []

    async def fetch_one(self, sql: str, /, **values: Any) -> Row | None:
        self.asked.append((sql, values))
        return await super().fetch_one(sql, **values)

    async def fetch_all(self, sql: str, /, **values: Any) -> list[Row]:
        self.asked.append((sql, values))
        return await super().fetch_all(sql, **values)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        async with super().transaction() as transaction:
            yield RecordingTransaction(transaction, self.asked)


class RecordingTransaction(Transaction):
    def __init__(self, transaction: Transaction, asked: list[tuple[str, dict[str, Any]]]) -> None:
        self._transaction = transaction
        self._asked = asked

    async def fetch_all(self, sql: str, /, **values: Any) -> list[Row]:
        self._asked.append((sql, values))
        return await self._transaction.fetch_all(sql, **values)

    async def execute(self, sql: str, /, **values: Any) -> int:
        self._asked.append((sql, values))
        return await self._transaction.execute(sql, **values)


async def read_plan(database: Database, sql: str, **values: Any) -> str:
    """Return the plan as text. Postgres is told to use an index even of a small table."""
    if database.is_file:
        rows = await database.fetch_all(f"EXPLAIN QUERY PLAN {sql}", **values)
        return "\n".join(str(row["detail"]) for row in rows)
    async with database.transaction() as transaction:
        await transaction.execute("SET LOCAL enable_seqscan = off")
        rows = await transaction.fetch_all(f"EXPLAIN {sql}", **values)
    return "\n".join(str(row["QUERY PLAN"]) for row in rows)


async def count_rows_read(database: Database, sql: str, **values: Any) -> int:
    """Run a query on Postgres, and return how many rows it took from tables and indexes."""
    row = await Database.fetch_one(database, f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}", **values)
    assert row is not None
    plan = row["QUERY PLAN"]
    (found,) = json.loads(plan) if isinstance(plan, str) else plan
    return sum(
        round((node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"])
        for node in _walk(found["Plan"])
        if "Scan" in node["Node Type"] and not node["Node Type"].startswith("Subquery")
    )


def _walk(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in node.get("Plans", ()):
        yield from _walk(child)
