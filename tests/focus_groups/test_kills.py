"""A study survives the death of its worker at any moment: nothing is asked twice, lost, or charged twice."""

import asyncio
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from mavera.accounts.principal import Principal
from mavera.focus_groups.repository import StudyRow
from mavera.focus_groups.study import YesNo
from mavera.settings import Settings
from tests.focus_groups.test_program import STUDY
from tests.support.processes import books, make_key
from tests.support.study_service import find_principal, read_results, use_service
from tests.support.tables import make_tables

pytestmark = pytest.mark.proof

KILLS = 12
QUESTIONS = 15
LONG = replace(
    STUDY,
    questions=tuple(YesNo(id=f"q{n}", text=f"Would you do thing number {n}?") for n in range(QUESTIONS)),
)
READS = 4 * QUESTIONS * 2
PRIOR_READS = 24


@contextmanager
def worker(data_dir: Path, log: Path, seconds: float) -> Iterator["subprocess.Popen[bytes]"]:
    environ = {**os.environ, "MAVERA_DATA_DIR": str(data_dir), "MAVERA_MODEL_BACKEND": "scripted"}
    environ["MAVERA_LOG_LEVEL"] = "error"
    command = [sys.executable, "-m", "tests.support.slow_study_worker", str(log), str(seconds)]
    process = subprocess.Popen(command, env=environ)
    try:
        yield process
    finally:
        process.kill()
        process.wait(20)


@contextmanager
def study(data_dir: Path) -> Iterator[tuple[Any, Principal, StudyRow]]:
    """Store a study, and yield a function that runs something with the service."""
    make_tables(f"sqlite:///{data_dir}/mavera.db")
    settings = Settings(data_dir=data_dir)
    asyncio.run(make_key(settings, 10_000))

    def use(scene: Any) -> Any:
        return use_service(settings, scene)

    principal = use(find_principal)
    yield use, principal, use(lambda service, _: service.create(principal, LONG))


def wait(use: Any, principal: Principal, row: StudyRow, seconds: float) -> StudyRow:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found: StudyRow = use(lambda service, _: service.get(principal, row.id))
        if found.is_finished and found.settled_at is not None:
            return found
        time.sleep(0.25)
    return found


def test_killed_at_random_moments_a_study_ends_as_if_nothing_had_happened(tmp_path: Path) -> None:
    chance = random.Random(20)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    log = tmp_path / "asked.log"
    with study(whole) as (use, principal, row):
        with worker(whole, tmp_path / "whole.log", 0.0):
            done = wait(use, principal, row, 120)
        assert done.status == "COMPLETED"
        expected = read_results(Settings(data_dir=whole), done)
    with study(broken) as (use, principal, row):
        for _ in range(KILLS):
            before = len(log.read_text().splitlines()) if log.exists() else 0
            with worker(broken, log, 0.05) as process:
                deadline = time.monotonic() + 60
                # The time to the first question is the start of a process; the kill is meant for the work.
                while time.monotonic() < deadline and process.poll() is None:
                    asked = len(log.read_text().splitlines()) if log.exists() else 0
                    if asked > before + chance.randrange(1, 12):
                        break
                    if wait(use, principal, row, 0.01).is_finished:
                        break
        with worker(broken, log, 0.0):
            done = wait(use, principal, row, 180)
        assert done.status == "COMPLETED", done
        assert read_results(Settings(data_dir=broken), done) == expected
        assert done.credits_charged == done.price
        questions = Counter(log.read_text().splitlines())
        # A cell that was in flight during a kill is asked again: two reads, and one neutral list.
        assert sum(questions.values()) - len(questions) <= KILLS * (2 + PRIOR_READS)
        assert len(questions) == READS + PRIOR_READS
    balance, added_up, held = asyncio.run(books(Settings(data_dir=broken)))
    assert balance == added_up
    assert held == 0
