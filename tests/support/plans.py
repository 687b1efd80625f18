"""The plan by which a database runs a statement."""

from typing import Any

from mavera.storage.database import Database


async def read_plan(database: Database, sql: str, **values: Any) -> str:
    """Return the plan as text. Postgres is told to use an index even of a small table."""
    if database.is_file:
        rows = await database.fetch_all(f"EXPLAIN QUERY PLAN {sql}", **values)
        return "\n".join(str(row["detail"]) for row in rows)
    async with database.transaction() as transaction:
        await transaction.execute("SET LOCAL enable_seqscan = off")
        rows = await transaction.fetch_all(f"EXPLAIN {sql}", **values)
    return "\n".join(str(row["QUERY PLAN"]) for row in rows)
