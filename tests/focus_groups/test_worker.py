"""Workers on one database, SQLite and Postgres: a study runs to its end, and two workers share the work."""

import asyncio
import os
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from mavera.focus_groups.repository import StudyRow
from mavera.focus_groups.service import FocusGroups
from mavera.settings import Settings
from mavera.storage.database import Database
from tests.focus_groups.test_program import STUDY
from tests.support.long_study import LONG
from tests.support.processes import books, make_key
from tests.support.study_service import find_principal, use_service
from tests.support.tables import make_tables

pytestmark = pytest.mark.proof

STUDIES = 5


def start_worker(
    settings: Settings, data_dir: Path, log: Path, seconds: float = 0.02
) -> "subprocess.Popen[bytes]":
    environ = {
        **os.environ,
        "MAVERA_DATA_DIR": str(data_dir),
        "MAVERA_MODEL_BACKEND": "scripted",
        "MAVERA_LOG_LEVEL": "error",
        "MAVERA_DATABASE_URL": settings.database_url,
    }
    command = [sys.executable, "-m", "tests.support.slow_study_worker", str(log), str(seconds)]
    return subprocess.Popen(command, env=environ)


def test_two_workers_share_the_studies_of_one_database(
    settings: Settings, database_url: str, tmp_path: Path
) -> None:
    make_tables(database_url)
    asyncio.run(make_key(settings, 10_000))
    log = tmp_path / "asked.log"

    async def begin(service: FocusGroups, database: Database) -> list[StudyRow]:
        principal = await find_principal(service, database)
        return [await service.create(principal, STUDY) for _ in range(STUDIES)]

    async def look(service: FocusGroups, _: Database) -> list[StudyRow]:
        found = [await service.get(principal, row.id) for row in rows]
        return [row for row in found if not row.is_finished or row.settled_at is None]

    rows = use_service(settings, begin)
    principal = use_service(settings, find_principal)
    with ExitStack() as stack:
        # On SQLite the two share a data directory, as they must; on Postgres each machine has its own.
        folders = [settings.data_dir, settings.data_dir if not settings.database_url else tmp_path / "other"]
        for folder in folders:
            process = start_worker(settings, folder, log)
            stack.callback(process.wait, 30)
            stack.callback(process.terminate)
        deadline = time.monotonic() + 150
        while use_service(settings, look):
            assert time.monotonic() < deadline, use_service(settings, look)
            time.sleep(0.5)

    async def read(service: FocusGroups, _: Database) -> list[StudyRow]:
        return [await service.get(principal, row.id) for row in rows]

    done = use_service(settings, read)
    assert {row.status for row in done} == {"COMPLETED"}
    assert all(row.credits_charged == row.price and row.adoptions == 0 for row in done)
    balance, added_up, held = asyncio.run(books(settings))
    assert balance == added_up
    assert held == 0


@pytest.mark.postgres
def test_two_machines_of_one_name_do_not_run_each_others_studies(
    settings: Settings, database_url: str, tmp_path: Path
) -> None:
    """The data directories differ, and so the numbers of the workers begin anew on each machine."""
    make_tables(database_url)
    asyncio.run(make_key(settings, 10_000))
    log = tmp_path / "asked.log"

    async def begin(service: FocusGroups, database: Database) -> StudyRow:
        return await service.create(await find_principal(service, database), LONG)

    async def look(service: FocusGroups, database: Database) -> StudyRow:
        return await service.get(await find_principal(service, database), row.id)

    row = use_service(settings, begin)
    with ExitStack() as stack:
        for name in ("one", "other"):
            process = start_worker(settings, tmp_path / name, log, seconds=0.2)
            stack.callback(process.wait, 30)
            stack.callback(process.terminate)
            deadline = time.monotonic() + 150
            # The second begins while the first one asks.
            while not log.exists() or len(log.read_text().splitlines()) < 3:
                assert time.monotonic() < deadline
                time.sleep(0.1)
        while not (done := use_service(settings, look)).is_finished:
            assert time.monotonic() < deadline
            time.sleep(0.5)
    asked = log.read_text().splitlines()
    assert len(asked) == len(set(asked)), "both have asked the same"
    assert (done.fence, done.adoptions) == (1, 0)
