"""
Index the operator's documents for full-text search without a key, in one SQLite file.

    add(document)   split the document into passages, each a row of FTS5
    search(query)   match any of its words, rank by BM25 → the best passages

A query is only a list of words, and nothing in it is syntax. Files are named `index:path`, relative to the
folder that was added, so a caller never sees a path of this machine.
"""

import asyncio
import hashlib
import os
import re
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from mavera.tools.tool import Found, ToolFailed

T = TypeVar("T")

PASSAGE_CHARACTERS = 1200
PASSAGES_PER_DOCUMENT = 2
LOOK_AFTER_SECONDS = 1.0
_MOST_WORDS = 24
_WORD = re.compile(r"\w+")
_SCHEMA = """
    CREATE TABLE IF NOT EXISTS documents (
        id INTEGER PRIMARY KEY, url TEXT NOT NULL UNIQUE, title TEXT NOT NULL, date TEXT NOT NULL,
        digest TEXT NOT NULL, characters INTEGER NOT NULL, added_at INTEGER NOT NULL
    );
    CREATE VIRTUAL TABLE IF NOT EXISTS passages USING fts5 (
        title, text, document_id UNINDEXED, tokenize = 'porter unicode61 remove_diacritics 2'
    );
"""
# These words are in every question and do not distinguish documents.
_COMMON = frozenset(
    _WORD.findall(
        "a an and are as at be by can do does for from has have how i in is it me my of on or our that the "
        "their they this to was we were what when where which who why will with would you your"
    )
)


@dataclass(frozen=True, slots=True)
class Document:
    url: str
    title: str
    text: str
    date: str = ""


@dataclass(frozen=True, slots=True)
class Indexed:
    """A document in the list of the index."""

    url: str
    title: str
    characters: int
    added_at: int


class SearchIndex:
    """The index in the file `path`. The first added document creates the file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._exists, self._looked_at = False, -LOOK_AFTER_SECONDS

    @property
    def name(self) -> str:
        now = time.monotonic()
        if now - self._looked_at >= LOOK_AFTER_SECONDS:  # every request reads this property
            self._exists, self._looked_at = self._path.exists(), now
        return "index" if self._exists else ""

    async def close(self) -> None:
        return None

    async def search(self, query: str, *, most: int) -> tuple[Found, ...]:
        try:
            return await asyncio.to_thread(self._read, lambda db: tuple(_search(db, query, most)))
        except sqlite3.Error as error:
            raise ToolFailed("The search index cannot be read.") from error

    def add(self, document: Document) -> bool:
        """Add or replace a document. Blocks. Returns False if nothing changed."""
        digest = hashlib.sha256(f"{document.title}\0{document.text}".encode()).hexdigest()
        with closing(self._open()) as db, db:
            row = db.execute("SELECT id, digest FROM documents WHERE url = ?", (document.url,)).fetchone()
            if row is not None and row[1] == digest:
                return False
            if row is not None:
                _delete(db, row[0])
            values = (
                document.url,
                document.title,
                document.date,
                digest,
                len(document.text),
                int(time.time()),
            )
            inserted = db.execute(
                "INSERT INTO documents (url, title, date, digest, characters, added_at)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                values,
            )
            db.executemany(
                "INSERT INTO passages (title, text, document_id) VALUES (?, ?, ?)",
                ((document.title, passage, inserted.lastrowid) for passage in split_passages(document.text)),
            )
        return True

    def remove(self, url: str) -> int:
        """Remove the document `url`, or all documents in the folder `url`. Blocks. Returns their number."""
        if not self._path.exists():
            return 0
        with closing(self._open()) as db, db:
            rows = db.execute(
                "SELECT id FROM documents WHERE url = ? OR substr(url, 1, ?) = ?",
                (url, len(url) + 1, f"{url}/"),
            ).fetchall()
            for (document_id,) in rows:
                _delete(db, document_id)
        return len(rows)

    def list_documents(self) -> list[Indexed]:
        """Return all documents, ordered by address. Blocks."""
        if not self._path.exists():
            return []
        return self._read(
            lambda db: [
                Indexed(*row)
                for row in db.execute("SELECT url, title, characters, added_at FROM documents ORDER BY url")
            ]
        )

    def _open(self) -> sqlite3.Connection:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # The file must exist before SQLite opens it, because the WAL's files copy its mode.
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        self._path.chmod(0o600)
        db = sqlite3.connect(self._path, timeout=30)
        db.execute("PRAGMA journal_mode = WAL")
        db.executescript(_SCHEMA)
        return db

    def _read(self, use: Callable[[sqlite3.Connection], T]) -> T:
        uri = f"{self._path.absolute().as_uri()}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, timeout=5)) as db:
            return use(db)


def _delete(db: sqlite3.Connection, document_id: int) -> None:
    db.execute("DELETE FROM passages WHERE document_id = ?", (document_id,))
    db.execute("DELETE FROM documents WHERE id = ?", (document_id,))


def _search(db: sqlite3.Connection, query: str, most: int) -> Iterator[Found]:
    words = match_words(query)
    if not words:
        return
    # A word in the title weighs three times as much as one in the text.
    rows = db.execute(
        "SELECT d.url, d.title, p.text, d.date, d.id"
        "  FROM passages p JOIN documents d ON d.id = p.document_id"
        " WHERE passages MATCH ? ORDER BY bm25(passages, 3.0, 1.0) LIMIT ?",
        (" OR ".join(f'"{word}"' for word in words), most * 4),
    )
    shown: dict[int, int] = {}
    for url, title, text, date, document_id in rows:
        shown[document_id] = shown.get(document_id, 0) + 1
        if shown[document_id] <= PASSAGES_PER_DOCUMENT and most > 0:
            most -= 1
            yield Found(url, title, text, date)


def match_words(query: str) -> list[str]:
    """Return the words to search for: the distinctive ones, or all if there are none."""
    words = list(dict.fromkeys(word.lower() for word in _WORD.findall(query)))
    return ([word for word in words if word not in _COMMON] or words)[:_MOST_WORDS]


def split_passages(text: str) -> Iterator[str]:
    """Split `text` at empty lines into pieces of about PASSAGE_CHARACTERS, and split long paragraphs too."""
    piece = ""
    for paragraph in re.split(r"\n\s*\n", text):
        for part in _split_parts(paragraph.strip()):
            if piece and len(piece) + len(part) > PASSAGE_CHARACTERS:
                yield piece
                piece = ""
            piece = f"{piece}\n\n{part}" if piece else part
    if piece:
        yield piece


def _split_parts(paragraph: str) -> Iterator[str]:
    while len(paragraph) > PASSAGE_CHARACTERS:
        at = paragraph.rfind(" ", PASSAGE_CHARACTERS // 2, PASSAGE_CHARACTERS)
        at = at if at > 0 else PASSAGE_CHARACTERS
        yield paragraph[:at]
        paragraph = paragraph[at:].lstrip()
    if paragraph:
        yield paragraph
