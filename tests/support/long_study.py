"""A study that can be broken off in its middle, and a slow worker for it in a process of its own."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from mavera.accounts.principal import Principal
from mavera.focus_groups.repository import StudyRow
from mavera.focus_groups.study import YesNo
from mavera.settings import Settings
from tests.focus_groups.test_program import STUDY
from tests.support.processes import make_key
from tests.support.study_service import find_principal, use_service
from tests.support.tables import make_tables

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
