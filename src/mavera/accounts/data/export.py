"""
Export everything that a workspace keeps, as a zip that is made while it is sent.

    workspace.json            the workspace
    api_keys.jsonl …          one line for each row, without secrets and digests
    kept_answers.jsonl        opened with the server's secret; text as it is, other bytes in base64

The zip needs no file on this server. Rows are read a thousand at a time, so its size does not matter.
"""

import base64
import io
import json
import zipfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from mavera.storage.database import Database, Row
from mavera.storage.sealing import Secrets

ROWS_AT_ONCE = 1_000


@dataclass(frozen=True, slots=True)
class _Table:
    """A table to export: its columns, the key by which it is read in pages, and its condition."""

    name: str
    columns: str
    key: tuple[str, ...]
    condition: str = "workspace_id = :id"


_STUDIES = "study_id IN (SELECT id FROM focus_groups WHERE workspace_id = :id)"
_PERSONAS = "persona_id IN (SELECT id FROM personas WHERE workspace_id = :id)"
_TABLES = (
    _Table(
        "api_keys",
        "id, name, mode, last_four, scopes, budget, ancestors, created_at, expires_at, revoked_at",
        ("id",),
    ),
    _Table("usage", "*", ("created_at", "run_id")),
    _Table("usage_days", "*", ("kind", "day", "value", "zone", "currency")),
    _Table("refused_requests", "*", ("created_at", "request_id")),
    _Table("ledger", "*", ("id",)),
    _Table("alerts", "*", ("subject_id", "month", "percent")),
    _Table("tool_calls", "*", ("id",)),
    _Table("media", "*", ("id",)),
    _Table("personas", "*", ("id",)),
    _Table("persona_versions", "*", ("persona_id", "version"), _PERSONAS),
    _Table("focus_groups", "*", ("id",)),
    _Table("focus_group_cells", "*", ("study_id", "key"), _STUDIES),
    # The bytes are those of the URLs in the study. They are nothing that somebody here has said.
    _Table("focus_group_images", "study_id, digest, kind", ("study_id", "digest"), _STUDIES),
    _Table("playground_runs", "*", ("id",)),
    _Table("audit_log", "*", ("id",)),
    _Table("retention", "*", ("kind",)),
)
_ANSWERS = _Table("kept_answers", "*", ("purpose", "digest"), "workspace_id = :id AND is_claim = 0")
# Columns that would let somebody else in, or that only this server can use.
_SECRET = frozenset({"end_user_digest", "webhook"})


async def export_workspace(database: Database, secrets: Secrets, workspace_id: str) -> AsyncIterator[bytes]:
    """Yield the bytes of the zip."""
    pipe = _Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:
        row = await database.fetch_one("SELECT * FROM workspaces WHERE id = :id", id=workspace_id)
        archive.writestr("workspace.json", json.dumps(dict(row or {}), indent=1))
        for table in (*_TABLES, _ANSWERS):
            with archive.open(f"{table.name}.jsonl", "w", force_zip64=True) as file:
                async for one in _read(database, table, workspace_id):
                    file.write(_encode(_open(secrets, one) if table is _ANSWERS else one))
                    if data := pipe.take():
                        yield data
    yield pipe.take()


async def _read(database: Database, table: _Table, workspace_id: str) -> AsyncIterator[Row]:
    after: Row | None = None
    key = ", ".join(table.key)
    names = ", ".join(f":after_{name}" for name in table.key)
    while True:
        values = {} if after is None else {f"after_{name}": after[name] for name in table.key}
        beyond = "" if after is None else f" AND ({key}) > ({names})"
        rows = await database.fetch_all(
            f"SELECT {table.columns} FROM {table.name} WHERE {table.condition}{beyond}"  # noqa: S608 - ours
            f" ORDER BY {key} LIMIT :most",
            id=workspace_id,
            most=ROWS_AT_ONCE,
            **values,
        )
        for row in rows:
            yield row
        if len(rows) < ROWS_AT_ONCE:
            return
        after = rows[-1]


def _open(secrets: Secrets, row: Row) -> dict[str, Any]:
    opened: bytes | None = None
    for keys in secrets.keys_of(row["workspace_id"]):
        opened = opened or keys.open(row["purpose"], row["digest"], bytes(row["sealed"]))
    shown = {name: row[name] for name in ("purpose", "written_at", "expires_at", "size")}
    if opened is None:
        return {**shown, "unreadable": True}
    try:
        return {**shown, "text": opened.decode()}
    except UnicodeDecodeError:
        return {**shown, "base64": base64.b64encode(opened).decode()}


def _encode(row: Row | dict[str, Any]) -> bytes:
    kept = {name: value for name, value in row.items() if name not in _SECRET}
    return json.dumps(kept, ensure_ascii=False, default=str).encode(errors="replace") + b"\n"


class _Pipe(io.RawIOBase):
    """A file that cannot seek. `take` returns the bytes that were written since the last call."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._at = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        self._pieces.append(bytes(data))
        self._at += len(data)
        return len(data)

    def tell(self) -> int:
        return self._at

    def take(self) -> bytes:
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)
