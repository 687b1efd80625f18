"""Files that are written for the server are their owner's alone, whatever the umask and the folder allow."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from mavera.media.files import FolderFiles
from mavera.tools.search.index import Document, SearchIndex


@pytest.fixture(autouse=True)
def _open_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def open_to_others(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*") if path.is_file() and path.stat().st_mode & 0o077]


def test_media_are_closed_while_they_are_written_and_after(tmp_path: Path) -> None:
    seen: list[str] = []

    async def pieces() -> AsyncIterator[bytes]:
        yield b"half"
        seen.extend(open_to_others(tmp_path))
        yield b"whole"

    # One that was left open by a version before.
    (tmp_path / "c1.partial").touch(mode=0o644)
    assert asyncio.run(FolderFiles(tmp_path).keep("c1", pieces())) == 9
    assert [path.name for path in tmp_path.iterdir()] == ["c1"]
    assert seen + open_to_others(tmp_path) == []


def test_the_search_index_and_its_log_are_closed(tmp_path: Path) -> None:
    index = SearchIndex(tmp_path / "search.db")
    index.add(Document("index:a", "A", "Forty-five days.", "2026-01-01"))
    assert (tmp_path / "search.db").exists()
    assert open_to_others(tmp_path) == []
