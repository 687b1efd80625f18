"""
The commands of docs/how-to/disaster-recovery.md run as they stand: a backup is restored after a disaster.

Its keys work, its ledger adds up, and a study that was running goes on. On Postgres, mavera's role owns its
database and nothing else, as on the page for one machine.
"""

import asyncio
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2 as httpx
import pytest

from mavera.focus_groups import repository
from mavera.focus_groups.repository import StudyRow
from mavera.focus_groups.service import FocusGroups
from mavera.settings import Settings
from mavera.storage.database import Database
from tests.docs.pages import DOCS, ROOT, sections
from tests.support.long_study import LONG, worker
from tests.support.own_postgres import Server, running_server, wait_until
from tests.support.processes import ASK, books, make_key, serving
from tests.support.requirements import require_program
from tests.support.servers import on_postgres
from tests.support.study_service import find_principal, use_service
from tests.support.tables import make_tables

pytestmark = pytest.mark.proof

PAGE = DOCS / "how-to" / "disaster-recovery.md"
PEPPER = "p" * 32
ASKED_BEFORE = 40


def read_commands(heading: str) -> str:
    """Return the indented lines under a heading of the page."""
    return "\n".join(line[4:] for line in sections(PAGE)[heading].splitlines() if line.startswith("    "))


@dataclass
class Place:
    """Where mavera's data is, and a shell in which the commands of the page run."""

    settings: Settings
    environ: dict[str, str]
    end: Callable[[], None]

    def run(self, commands: str) -> str:
        done = subprocess.run(
            ["bash", "-euc", commands],
            env={**os.environ, **self.environ},
            cwd=self.settings.data_dir.parent,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@contextmanager
def on_sqlite(folder: Path) -> Iterator[Place]:
    require_program("sqlite3", "apt install sqlite3")
    home = folder / "home"
    home.mkdir()

    def end() -> None:
        for path in home.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    yield Place(Settings(data_dir=home, key_pepper=PEPPER), {"MAVERA_DATA_DIR": str(home)}, end)


@contextmanager
def on_own_postgres(folder: Path) -> Iterator[Place]:
    home = folder / "home"
    home.mkdir()
    with running_server() as server:
        asyncio.run(
            on_postgres(server.url, "CREATE ROLE mavera LOGIN", "CREATE DATABASE mavera OWNER mavera")
        )
        url = f"postgresql://mavera@127.0.0.1:{server.port}/mavera"
        environ = {"MAVERA_DATABASE_URL": url, "MAVERA_DATA_DIR": str(home), **_connect(folder, server)}

        def end() -> None:
            asyncio.run(on_postgres(server.url, "DROP DATABASE mavera WITH (FORCE)"))

        yield Place(Settings(data_dir=home, key_pepper=PEPPER, database_url=url), environ, end)


def _connect(folder: Path, server: Server) -> dict[str, str]:
    """Let `sudo -u postgres` run its command as the superuser of `server`: the tests have no sudo."""
    programs = folder / "programs"
    programs.mkdir()
    sudo = programs / "sudo"
    sudo.write_text('#!/bin/sh\n[ "$1 $2" = "-u postgres" ] && shift 2 && PGUSER=postgres exec "$@"\n')
    sudo.chmod(0o755)
    path = f"{programs}:{server.programs}:{os.environ['PATH']}"
    return {"PATH": path, "PGHOST": "127.0.0.1", "PGPORT": str(server.port)}


PLACES = {"Postgres": on_own_postgres, "SQLite": on_sqlite}


@pytest.mark.parametrize("name", PLACES)
def test_a_restored_backup_has_its_keys_its_ledger_and_goes_on_with_its_study(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, pepper = tmp_path / "asked.log", tmp_path / "key_pepper"
    pepper.write_text(PEPPER)
    with PLACES[name](tmp_path) as place:
        place.environ |= {
            "BACKUP": str(tmp_path / "backup"),
            "PATH": f"{Path(sys.executable).parent}:{place.environ.get('PATH', os.environ['PATH'])}",
        }
        monkeypatch.setenv("MAVERA_KEY_PEPPER_FILE", str(pepper))
        if place.settings.database_url:
            monkeypatch.setenv("MAVERA_DATABASE_URL", place.settings.database_url)
        make_tables(place.settings.database_url or f"sqlite:///{place.settings.data_dir}/mavera.db")
        key = asyncio.run(make_key(place.settings, 10_000))
        row = use_service(place.settings, _begin)
        with worker(place.settings.data_dir, log, 0.05):
            wait_until(lambda: log.exists() and len(log.read_text().splitlines()) >= ASKED_BEFORE)
            place.run(read_commands(f"Back up {name}"))  # while the worker runs, as the page says

        place.end()
        place.run(read_commands(f"Restore on {name}"))

        looked = read_commands("Look at the result").split("# on ")
        printed = place.run(looked[0])
        assert "Team" in printed
        [sums] = [part for part in looked[1:] if part.startswith(name)]
        assert place.run("# on " + sums).strip() == "", "a balance is not the sum of its ledger"
        assert asyncio.run(_count_answered(place.settings, row)) > 0
        _assert_answers(place, key)
        with worker(place.settings.data_dir, log, 0.0):
            wait_until(lambda: asyncio.run(_find(place.settings, row)).settled_at is not None, seconds=150)
        done = asyncio.run(_find(place.settings, row))
        assert done.status == "COMPLETED"
        assert done.credits_charged == done.price
        asked = log.read_text().splitlines()
        # The answers between the backup and the disaster are asked for again, and no others.
        assert 0 < len(asked) - len(set(asked)) < ASKED_BEFORE
        balance, added_up, _ = asyncio.run(books(place.settings))
        assert balance == added_up


async def _begin(service: FocusGroups, database: Database) -> StudyRow:
    return await service.create(await find_principal(service, database), LONG)


async def _find(settings: Settings, row: StudyRow) -> StudyRow:
    async with Database.open(settings) as database:
        found = await repository.find(database, row.id)
        assert found is not None
        return found


async def _count_answered(settings: Settings, row: StudyRow) -> int:
    async with Database.open(settings) as database:
        return sum(cell.status == "answered" for cell in await repository.read_cells(database, row.id))


def _assert_answers(place: Place, key: str) -> None:
    environ = {"MAVERA_STUDY_WORKER": "off", **place.environ}
    with serving(environ, place.settings.data_dir) as (responses, _):
        answer = httpx.post(responses, json=ASK, headers={"Authorization": f"Bearer {key}"})
        assert answer.status_code == 200, answer.text


def test_the_unit_for_backups_writes_what_the_page_writes(tmp_path: Path) -> None:
    """`ExecStart` of the unit runs with systemd's `%` and paths filled in, and leaves one dump."""
    text = (ROOT / "deploy" / "systemd" / "mavera-backup.service").read_text(encoding="utf-8")
    [start] = re.findall(r"^ExecStart=/bin/sh -c '(.+)'$", text, flags=re.MULTILINE)
    with on_own_postgres(tmp_path) as place:
        make_tables(place.settings.database_url)
        (tmp_path / "database_url").write_text(place.settings.database_url + "\n")
        start = start.replace("%%", "%").replace("%d", str(tmp_path))
        start = start.replace("/var/lib/mavera", str(tmp_path / "state"))
        (tmp_path / "state").mkdir()
        place.run(start)
        [dump] = (tmp_path / "state" / "backups").iterdir()
        listed = place.run(f"pg_restore --list {dump}")
        dump.unlink()
        (tmp_path / "database_url").write_text("postgresql://nobody@127.0.0.1:1/nothing\n")
        with pytest.raises(AssertionError, match="port 1 failed"):
            place.run(start)
    assert "TABLE DATA public ledger mavera" in listed
    left = [path.name for path in (tmp_path / "state" / "backups").glob("*.dump")]
    assert left == [], "a backup that failed looks like one"
