"""Workers on one database, SQLite and Postgres: a study runs to its end, and two workers share the work."""

import asyncio
import os
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from mavera.accounts.credits.holds import Credits
from mavera.accounts.principal import Principal
from mavera.focus_groups.repository import StudyRow
from mavera.focus_groups.service import FocusGroups
from mavera.models.config import ModelConfig
from mavera.models.named import NamedModel
from mavera.models.scripted import ScriptedModel
from mavera.personas.builtin import PersonaLibrary
from mavera.personas.catalogue import Personas
from mavera.settings import Settings
from mavera.storage.database import Database
from tests.focus_groups.test_program import STUDY
from tests.support.processes import books, make_key
from tests.support.tables import make_tables

pytestmark = pytest.mark.proof

STUDIES = 5


def start_worker(settings: Settings, data_dir: Path, log: Path) -> "subprocess.Popen[bytes]":
    environ = {
        **os.environ,
        "MAVERA_DATA_DIR": str(data_dir),
        "MAVERA_MODEL_BACKEND": "scripted",
        "MAVERA_LOG_LEVEL": "error",
        "MAVERA_DATABASE_URL": settings.database_url,
    }
    command = [sys.executable, "-m", "tests.support.slow_study_worker", str(log), "0.02"]
    return subprocess.Popen(command, env=environ)


def test_two_workers_share_the_studies_of_one_database(
    settings: Settings, database_url: str, tmp_path: Path
) -> None:
    make_tables(database_url)
    asyncio.run(make_key(settings, 10_000))
    log = tmp_path / "asked.log"

    def use(scene: Any) -> Any:
        async def main() -> Any:
            async with Database.open(settings) as database, Credits(database) as credits:
                named = {"mavera-1": NamedModel("mavera-1", ScriptedModel(), "scripted", ModelConfig())}
                people = Personas(PersonaLibrary.load(), database)
                service = FocusGroups(database, credits, people, named, model_digest="scripted")
                return await scene(service, database)

        return asyncio.run(main())

    async def begin(service: FocusGroups, database: Database) -> list[StudyRow]:
        row = await database.fetch_one("SELECT id, workspace_id FROM api_keys")
        assert row is not None
        return [
            await service.create(Principal(f"{row['id']}", row["workspace_id"], "live", "enterprise"), STUDY)
            for _ in range(STUDIES)
        ]

    async def look(service: FocusGroups, _: Database) -> list[StudyRow]:
        found = [await service.get(principal, row.id) for row in rows]
        return [row for row in found if not row.is_finished or row.settled_at is None]

    rows = use(begin)
    principal = Principal(rows[0].key_id, rows[0].workspace_id, "live", "enterprise")
    with ExitStack() as stack:
        # On SQLite the two share a data directory, as they must; on Postgres each machine has its own.
        folders = [settings.data_dir, settings.data_dir if not settings.database_url else tmp_path / "other"]
        for folder in folders:
            process = start_worker(settings, folder, log)
            stack.callback(process.wait, 30)
            stack.callback(process.terminate)
        deadline = time.monotonic() + 150
        while use(look):
            assert time.monotonic() < deadline, use(look)
            time.sleep(0.5)

    async def read(service: FocusGroups, _: Database) -> list[StudyRow]:
        return [await service.get(principal, row.id) for row in rows]

    done = use(read)
    assert {row.status for row in done} == {"COMPLETED"}
    assert all(row.credits_charged == row.price and row.adoptions == 0 for row in done)
    balance, added_up, held = asyncio.run(books(settings))
    assert balance == added_up
    assert held == 0
