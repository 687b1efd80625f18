"""Studies survive 50 deaths of their worker: nothing is asked twice, lost, or charged twice."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from signal import SIGKILL
from typing import Any, TypeVar, get_args

import pytest
from msgspec.structs import replace

from mavera.focus_groups import reports
from mavera.focus_groups.exports import FORMATS, Format
from mavera.focus_groups.repository import StudyRow
from mavera.focus_groups.service import FocusGroups, Record
from mavera.focus_groups.study import OpenEnded, Study, YesNo
from mavera.settings import Settings
from mavera.storage.database import Database
from tests.focus_groups.test_program import STUDY
from tests.support.mortal_worker import KEPT_MARK, PRIOR_MARK, Death, When, start_worker
from tests.support.processes import books, make_key
from tests.support.study_service import find_principal, use_service
from tests.support.tables import make_tables

# Fifty processes start in turn: a loaded machine needs longer for them than for other tests.
pytestmark = [pytest.mark.proof, pytest.mark.timeout(900)]

T = TypeVar("T")
QUESTIONS = 6
WHENS: tuple[When, ...] = get_args(When)
STEPS = (
    Death("read", "before"),
    Death("read", "inside"),
    Death("read", "after"),
    Death("write", "before"),
    Death("write", "after"),
)
# The end of a study in its order: a life that begins after one of these deaths goes on from there.
ENDINGS = (
    Death("finish", "before"),
    Death("finish", "after"),
    Death("charge", "before"),
    Death("charge", "inside"),
    Death("charge", "after"),
    Death("settle", "before"),
    Death("settle", "after"),
)


def make_study(number: int) -> Study:
    """Return a short study whose questions no other study asks."""
    closed = [YesNo(id=f"q{n}", text=f"Would you do thing {n} of {number}?") for n in range(QUESTIONS)]
    last = OpenEnded(id="why", text=f"Why thing {number}?", verbatims=2)
    return replace(STUDY, name=f"Study {number}", questions=(*closed, last))


class Desk:
    """One database with its studies. Each use opens it as another process would."""

    def __init__(self, settings: Settings, database_url: str) -> None:
        self.settings = settings
        make_tables(database_url)
        asyncio.run(make_key(settings, 10_000))
        self.principal = self.use(find_principal)
        self.rows: list[StudyRow] = []
        self._workers = 0

    def create(self, number: int) -> None:
        self.rows.append(self.use(lambda service, _: service.create(self.principal, make_study(number))))

    def use(self, scene: Callable[[FocusGroups, Database], Awaitable[T]]) -> T:
        return use_service(self.settings, scene)

    def read(self) -> list[StudyRow]:
        async def read(service: FocusGroups, _: Database) -> list[StudyRow]:
            return [await service.get(self.principal, row.id) for row in self.rows]

        found: list[StudyRow] = self.use(read)
        return found

    def list_open(self) -> list[StudyRow]:
        return [row for row in self.read() if not row.is_finished or row.settled_at is None]

    def replace_worker(self) -> None:
        """Let the leases of a dead worker expire. Another one adopts its studies, without its name."""
        self._workers += 1

        async def expire(_: FocusGroups, database: Database) -> int:
            return await database.execute(
                "UPDATE focus_groups SET lease_until = 0 WHERE status = 'PROCESSING'"
            )

        self.use(expire)

    def start_worker(self, log: Path, **options: Any) -> BaseProcess:
        settings, name = self.settings, f"w{self._workers}"
        return start_worker(settings.data_dir, settings.database_url, log, worker_id=name, **options)

    def run_to_the_end(self, log: Path) -> None:
        process = self.start_worker(log)
        try:
            deadline = time.monotonic() + 180
            while self.list_open():
                assert time.monotonic() < deadline, self.list_open()
                time.sleep(0.3)
        finally:
            process.kill()
            process.join(20)

    def export_all(self) -> list[dict[Format, bytes]]:
        """Return the bytes of every export of each study, with equal ids, dates and times of reads."""

        async def export(service: FocusGroups, _: Database) -> list[dict[Format, bytes]]:
            made = []
            for number, row in enumerate(await asyncio.gather(*map(self._get_of(service), self.rows))):
                record = _forget_times(await service.read(row), f"fg_{number}")
                # All files are made of one record, so the other studies have only three of them.
                kinds = FORMATS if number == 0 else ("csv", "json", "cells")
                made.append({kind: reports.export(record, kind).content for kind in kinds})
            return made

        found: list[dict[Format, bytes]] = self.use(export)
        return found

    def _get_of(self, service: FocusGroups) -> Any:
        return lambda row: service.get(self.principal, row.id)


def _forget_times(record: Record, study_id: str) -> Record:
    rows = [
        replace(
            row, answered_at=0, reading=None if row.reading is None else replace(row.reading, milliseconds=0)
        )
        for row in record.rows
    ]
    row = replace(record.row, id=study_id, created_at=0)
    members = {name: getattr(record, name) for name in Record.__slots__}
    return Record(**{**members, "row": row, "rows": rows})


def choose_deaths(chance: random.Random, number: int, kills: int) -> list[Death | float]:
    """Return the deaths during one study, in the order of its life: at steps, or after some seconds."""
    first = [Death("claim", chance.choice(WHENS))]
    if number == 0:
        first += [Death("prior", "before"), Death("prior", "after")]
    last = sorted(chance.sample(range(len(ENDINGS)), 3))
    between: list[Death | float] = []
    while len(first) + len(between) + len(last) < kills:
        if len(between) % 3 == 2:
            between.append(chance.uniform(0.3, 1.5))
        else:
            between.append(replace(chance.choice(STEPS), skip=chance.randrange(4)))
    return [*first, *between, *(ENDINGS[at] for at in last)]


def list_cells(log: Path) -> dict[str, str]:
    """Return the cell of each question, from the log of an unbroken run: questions, then their cell."""
    cells: dict[str, str] = {}
    waiting: list[str] = []
    for line in log.read_text().splitlines():
        if line.startswith(KEPT_MARK):
            cells |= dict.fromkeys(waiting, line.removeprefix(KEPT_MARK))
            waiting = []
        elif not line.startswith(PRIOR_MARK):
            waiting.append(line)
    return cells


def check_questions(log: Path, cells: dict[str, str]) -> None:
    """Check that each cell was asked and kept, and that none was asked again after it was kept."""
    kept: list[str] = []
    asked = set()
    for line in log.read_text().splitlines():
        if line.startswith(KEPT_MARK):
            kept.append(line.removeprefix(KEPT_MARK))
        elif not line.startswith(PRIOR_MARK):
            assert cells[line] not in kept
            asked.add(line)
    assert asked == cells.keys()
    # A worker that is killed between its statement and its line in the log leaves no line.
    assert len(kept) == len(set(kept))


def die(desk: Desk, log: Path, death: Death | float) -> None:
    """Run a worker until its death."""
    at, seconds = (death, 60.0) if isinstance(death, Death) else (None, death)
    pace = 0.002 if at else 0.05
    process = desk.start_worker(log, seconds=pace, death=at)
    try:
        process.join(seconds)
        assert process.exitcode == (-SIGKILL if at else None), death
    finally:
        process.kill()
        process.join(20)


def test_studies_whose_worker_is_killed_end_as_if_nothing_had_happened(
    settings: Settings, database_url: str, engine: str, tmp_path: Path
) -> None:
    studies, kills = (5, 10) if engine == "sqlite" else (2, 6)
    whole = Desk(Settings(data_dir=tmp_path / "whole"), f"sqlite:///{tmp_path}/whole/mavera.db")
    for number in range(studies):
        whole.create(number)
    whole.run_to_the_end(tmp_path / "whole.log")

    chance = random.Random(20)
    desk = Desk(settings, database_url)
    log = tmp_path / "asked.log"
    for number in range(studies):
        desk.create(number)
        for at, death in enumerate(choose_deaths(chance, number, kills)):
            die(desk, log, death)
            # A claim leaves nothing but a lease. After most other deaths, a worker of the same name goes on,
            # because a study may be adopted four times and not more.
            if at in (0, 3, 5, 8):
                desk.replace_worker()
        desk.run_to_the_end(log)

    done = desk.read()
    assert [row.status for row in done] == ["COMPLETED"] * studies, done
    assert [row.credits_charged for row in done] == [row.price for row in done]
    for made, wanted in zip(desk.export_all(), whole.export_all(), strict=True):
        assert made.keys() == wanted.keys()
        for kind, content in made.items():
            assert content == wanted[kind], kind
    check_questions(log, list_cells(tmp_path / "whole.log"))
    balance, added_up, held = asyncio.run(books(settings))
    assert balance == added_up
    assert held == 0
