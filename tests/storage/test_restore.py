"""The steps of docs/how-to/disaster-recovery.md: a backup is restored, and keys, ledger and a study go on."""

import asyncio
import shutil
import sqlite3
import time
from pathlib import Path

import httpx2 as httpx
import pytest

from mavera.settings import Settings
from tests.focus_groups.test_kills import study, wait, worker
from tests.support.processes import ASK, books, make_key, serving

pytestmark = pytest.mark.proof


def test_a_restored_backup_has_its_keys_its_ledger_and_goes_on_with_its_study(tmp_path: Path) -> None:
    home, log, backup = tmp_path / "home", tmp_path / "asked.log", tmp_path / "backup.db"
    with study(home) as (use, principal, row):
        settings = Settings(data_dir=home)
        key = asyncio.run(make_key(settings, 500))
        with worker(home, log, 0.05):
            deadline = time.monotonic() + 90
            while not log.exists() or len(log.read_text().splitlines()) < 40:
                assert time.monotonic() < deadline
                time.sleep(0.05)
            # While the worker runs, as the page says.
            with sqlite3.connect(home / "mavera.db") as source, sqlite3.connect(backup) as target:
                source.backup(target)
            source.close()
            target.close()
        asked_before = len(log.read_text().splitlines())

        for path in home.iterdir():  # the disaster
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        shutil.copy(backup, home / "mavera.db")

        balance, added_up, _ = asyncio.run(books(settings))
        assert balance == added_up
        with serving({"MAVERA_STUDY_WORKER": "off"}, home) as (responses, _process):
            answer = httpx.post(responses, json=ASK, headers={"Authorization": f"Bearer {key}"})
            assert answer.status_code == 200, answer.text
        with worker(home, log, 0.0):
            done = wait(use, principal, row, 180)
        assert done.status == "COMPLETED"
        assert done.credits_charged == done.price
        asked = log.read_text().splitlines()
        # What was answered between the backup and the disaster is asked again, and nothing else.
        assert len(asked) - len(set(asked)) < asked_before
        balance, added_up, _ = asyncio.run(books(settings))
        assert balance == added_up
