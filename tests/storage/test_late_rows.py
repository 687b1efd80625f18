"""Rows are written a moment later, and one that cannot be written stops no other."""

import asyncio
from pathlib import Path

from mavera.settings import Settings
from mavera.storage.database import Database
from mavera.storage.late_rows import LateRows

INSERT = "INSERT INTO notes (text) VALUES (:text)"


def test_rows_are_written_soon_and_the_rest_at_the_end(tmp_path: Path) -> None:
    async def main() -> list[str]:
        async with Database.open(Settings(data_dir=tmp_path)) as database:
            await database.execute("CREATE TABLE notes (text TEXT NOT NULL)")
            async with LateRows(database, INSERT, "notes") as rows:
                rows.add({"text": "one"})
                await rows.wait_until_written()
                rows.add({"text": None})  # the table takes no NULL
                await rows.wait_until_written()
                rows.add({"text": "two"})
            found = await database.fetch_all("SELECT text FROM notes ORDER BY text")
            return [row["text"] for row in found]

    assert asyncio.run(main()) == ["one", "two"]
