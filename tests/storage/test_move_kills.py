"""A move of 100,000 usage rows is killed twice, is whole, and goes back. Keys work, and studies go on."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import httpx2 as httpx
import pytest

from mavera.accounts.credits.holds import Credits
from mavera.accounts.credits.ledger import Reserve
from mavera.focus_groups.repository import StudyRow, find
from mavera.focus_groups.service import FocusGroups
from mavera.settings import Settings
from mavera.storage.database import Database
from tests.focus_groups.test_program import STUDY
from tests.support import servers
from tests.support.long_study import study, worker
from tests.support.processes import ASK, books, make_key, serving
from tests.support.study_service import find_principal, use_service

pytestmark = pytest.mark.proof

USAGE_ROWS = 100_000


async def fill(settings: Settings) -> None:
    """Add usage rows, and a hold of a run whose process is dead."""
    async with Database.open(settings) as database:
        key = await database.fetch_one("SELECT id, workspace_id FROM api_keys ORDER BY id LIMIT 1")
        assert key is not None
        rows = [
            (
                key["workspace_id"],
                1_790_000_000 + n // 10,
                f"run_{n:09}",
                key["id"],
                "completed",
                10,
                20,
                0,
                5,
            )
            for n in range(USAGE_ROWS)
        ]
        columns = "workspace_id, created_at, run_id, key_id, status, input_tokens, output_tokens, credits"
        await database.batch(lambda statements: statements.insert(f"usage ({columns}, milliseconds)", rows))
        async with Credits(database) as credits:
            await credits.reserve(Reserve("run_held", key["workspace_id"], key["id"], 3))


async def count_copied(settings: Settings) -> int:
    async with Database.open(settings) as database:
        if not await database.has_table("usage"):
            return 0
        row = await database.fetch_one("SELECT COUNT(*) AS number FROM usage")
        return int(row["number"]) if row else 0


def kill_copy_after(command: list[str], settings: Settings, rows: int) -> None:
    """Start the copy, and kill it once the target has more than `rows` usage rows."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while asyncio.run(count_copied(settings)) <= rows:
        assert process.poll() is None, "the copy ended before it was killed"
        assert time.monotonic() < deadline
    process.send_signal(signal.SIGKILL)
    process.wait(20)
    assert rows < asyncio.run(count_copied(settings)) < USAGE_ROWS


def wait_for_study(settings: Settings, study_id: str) -> StudyRow:
    async def look() -> StudyRow | None:
        async with Database.open(settings) as database:
            return await find(database, study_id)

    deadline = time.monotonic() + 180
    while True:
        row = asyncio.run(look())
        assert row is not None
        if row.is_finished and row.settled_at is not None:
            return row
        assert time.monotonic() < deadline, row.status
        time.sleep(0.3)


def test_a_move_that_was_killed_twice_is_whole(
    tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    laptop, log = tmp_path / "laptop", tmp_path / "asked.log"
    with servers.new_database(postgres_url) as url, study(laptop) as (_, _, row):
        with worker(laptop, log, 0.05):
            deadline = time.monotonic() + 60
            while not log.exists() or len(log.read_text().splitlines()) < 40:
                assert time.monotonic() < deadline
                time.sleep(0.05)
        asked_before = len(log.read_text().splitlines())
        before = Settings(data_dir=laptop)
        key = asyncio.run(make_key(before, 500))
        asyncio.run(fill(before))
        after = Settings(data_dir=tmp_path / "server", database_url=url)

        copy = [sys.executable, "-m", "mavera", "db", "copy", str(laptop / "mavera.db"), url, "--json"]
        kill_copy_after(copy, after, 5_000)
        kill_copy_after(copy, after, 40_000)
        done = subprocess.run(copy, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        report = json.loads(done.stdout)
        assert report["resumed"]
        assert report["tables"]["usage"] == USAGE_ROWS
        assert report["studies_continued"] == 1
        assert asyncio.run(books(after)) == asyncio.run(books(before))

        monkeypatch.setenv("MAVERA_DATABASE_URL", url)
        with worker(tmp_path / "server", log, 0.0):
            finished = wait_for_study(after, row.id)
        assert finished.status == "COMPLETED"
        assert finished.credits_charged == finished.price
        asked = Counter(log.read_text().splitlines())
        # The cell that was in flight when the first worker ended is asked again.
        assert sum(asked.values()) - len(asked) <= 4 < asked_before, "the study began anew"

        environ = {"MAVERA_DATABASE_URL": url, "MAVERA_LEASE_SECONDS": "6", **_quiet()}
        assert_answers(environ, tmp_path / "server", key)
        balance, added_up, _ = asyncio.run(books(after))
        assert balance == added_up

        waiting = use_service(after, _begin_study)
        monkeypatch.delenv("MAVERA_DATABASE_URL")
        home = Settings(data_dir=tmp_path / "home")
        home.data_dir.mkdir()
        back = [sys.executable, "-m", "mavera", "db", "copy", url, str(home.data_dir / "mavera.db"), "--json"]
        done = subprocess.run(back, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["tables"]["usage"] > USAGE_ROWS
        assert asyncio.run(books(home)) == asyncio.run(books(after))
        with worker(home.data_dir, log, 0.0):
            assert wait_for_study(home, waiting.id).status == "COMPLETED"
        assert_answers(_quiet(), home.data_dir, key)
        balance, added_up, _ = asyncio.run(books(home))
        assert balance == added_up


def assert_answers(environ: dict[str, str], data_dir: Path, key: str) -> None:
    with serving(environ, data_dir) as (responses, _):
        answer = httpx.post(responses, json=ASK, headers={"Authorization": f"Bearer {key}"})
        assert answer.status_code == 200, answer.text


async def _begin_study(service: FocusGroups, database: Database) -> StudyRow:
    return await service.create(await find_principal(service, database), STUDY)


def _quiet() -> dict[str, str]:
    return {"MAVERA_STUDY_WORKER": "off", "PATH": os.environ["PATH"]}
