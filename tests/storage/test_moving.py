"""`mavera db copy`: everything arrives on the other kind of database, and the source is closed."""

import asyncio
import json
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from mavera.accounts.first_run import make_first_key
from mavera.accounts.keys.keyring import Keyring
from mavera.errors import ConfigurationError, ServiceUnavailable
from mavera.settings import Settings
from mavera.storage.database import Database
from mavera.storage.engine import parse_url
from mavera.storage.moving.closing import close_to_writers, find_mark, open_to_writers, refuse_moving
from mavera.storage.moving.copying import CopyReport, Ends, copy_database
from mavera.storage.moving.shapes import list_copied_tables
from mavera.storage.schema import ensure_schema
from tests.conftest import Serve
from tests.support import servers
from tests.support.command import Mavera
from tests.support.processes import ASK
from tests.support.tables import load_released, make_tables


@pytest.fixture
def target_url(engine: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """Return the URL of a new database of the other kind than `database_url`."""
    if engine == "postgres":
        yield f"sqlite:///{tmp_path}/target/mavera.db"
        return
    with servers.new_database(request.getfixturevalue("postgres_url")) as url:
        yield url


class Interrupted(Exception):
    pass


async def copy(source_url: str, target_url: str, *, stop_after: int | None = None) -> CopyReport:
    """Copy, and raise Interrupted once `stop_after` rows were copied."""
    copied = 0

    def note(_: str, rows: int) -> None:
        nonlocal copied
        copied += rows
        if stop_after is not None and copied >= stop_after:
            raise Interrupted

    path = Path(source_url.removeprefix("sqlite:///")) if source_url.startswith("sqlite") else None
    source, target = Database.at(parse_url(source_url)), Database.at(parse_url(target_url))
    async with source, target:
        return await copy_database(Ends(source, target, path), note_total=lambda _: None, note=note)


async def read_all(url: str) -> dict[str, list[dict[str, Any]]]:
    async with Database.at(parse_url(url)) as database:
        return {
            table.name: sorted(
                (
                    {
                        name: bytes(value) if isinstance(value, memoryview) else value
                        for name, value in row.items()
                    }
                    for row in await database.fetch_all(
                        f"SELECT {', '.join(table.column_names)} FROM {table.name}"
                    )
                ),
                key=repr,
            )
            for table in list_copied_tables()
        }


async def execute(url: str, sql: str, **values: Any) -> None:
    async with Database.at(parse_url(url)) as database:
        await database.execute(sql, **values)


@pytest.fixture
def released(database_url: str, engine: str) -> str:
    """Return the URL of a database with a row or two in each table of release 0.1.0."""
    load_released(database_url, engine)

    async def upgrade() -> None:
        async with Database.at(parse_url(database_url)) as database:
            await ensure_schema(database)

    asyncio.run(upgrade())
    return database_url


def test_every_row_arrives_and_new_rows_get_new_numbers(released: str, target_url: str) -> None:
    before = asyncio.run(read_all(released))
    report = asyncio.run(copy(released, target_url))

    assert asyncio.run(read_all(target_url)) == before
    assert report.rows == sum(map(len, before.values())) > 10
    assert not report.resumed
    insert = (
        "INSERT INTO ledger (workspace_id, kind, reference, credits, created_at)"
        " VALUES ('w', 'grant', 'new', 1, 1)"
    )
    asyncio.run(execute(target_url, insert))
    numbers = [row["id"] for row in asyncio.run(read_all(target_url))["ledger"]]
    assert len(set(numbers)) == len(before["ledger"]) + 1


def test_the_copy_of_a_copy_is_the_same(released: str, target_url: str, tmp_path: Path) -> None:
    before = asyncio.run(read_all(released))
    asyncio.run(copy(released, target_url))
    asyncio.run(copy(target_url, f"sqlite:///{tmp_path}/back.db"))
    assert asyncio.run(read_all(f"sqlite:///{tmp_path}/back.db")) == before


def test_the_source_is_closed_until_it_is_opened_again(released: str, target_url: str) -> None:
    asyncio.run(copy(released, target_url))

    async def main() -> None:
        async with Database.at(parse_url(released)) as source:
            for sql in (
                "INSERT INTO milestones (name, reached_at) VALUES ('late', 1)",
                "UPDATE workspaces SET balance = balance + 1",
                "DELETE FROM api_keys",
            ):
                with pytest.raises(ServiceUnavailable, match="being moved"):
                    await source.execute(sql)
            with pytest.raises(ConfigurationError, match="mavera db reopen"):
                await refuse_moving(source)
            await open_to_writers(source)
            await source.execute("INSERT INTO milestones (name, reached_at) VALUES ('late', 1)")
            await refuse_moving(source)
        async with Database.at(parse_url(target_url)) as target:
            await refuse_moving(target)

    asyncio.run(main())


def test_an_interrupted_copy_goes_on_for_its_own_source_only(
    released: str, target_url: str, tmp_path: Path
) -> None:
    before = asyncio.run(read_all(released))
    with pytest.raises(Interrupted):
        asyncio.run(copy(released, target_url, stop_after=6))

    async def check_closed() -> None:
        async with Database.at(parse_url(target_url)) as target:
            with pytest.raises(ConfigurationError, match="unfinished copy"):
                await refuse_moving(target)

    asyncio.run(check_closed())
    other = f"sqlite:///{tmp_path}/other.db"
    make_tables(other)
    with pytest.raises(ConfigurationError, match="another source"):
        asyncio.run(copy(other, target_url))

    assert asyncio.run(copy(released, target_url)).resumed
    assert asyncio.run(read_all(target_url)) == before
    assert asyncio.run(copy(released, target_url)).already_copied


def test_a_source_that_was_open_in_between_does_not_resume(released: str, target_url: str) -> None:
    with pytest.raises(Interrupted):
        asyncio.run(copy(released, target_url, stop_after=6))

    async def reopen() -> None:
        async with Database.at(parse_url(released)) as source:
            await open_to_writers(source)

    asyncio.run(reopen())
    with pytest.raises(ConfigurationError, match="before it was opened again"):
        asyncio.run(copy(released, target_url))


def test_a_target_in_use_is_refused_before_the_source_is_closed(released: str, target_url: str) -> None:
    make_tables(target_url)
    asyncio.run(
        execute(
            target_url,
            "INSERT INTO ledger (workspace_id, kind, reference, credits, created_at)"
            " VALUES ('w', 'grant', 'r', 1, 1)",
        )
    )
    with pytest.raises(ConfigurationError, match=r"in use: it has rows in ledger \(1\)"):
        asyncio.run(copy(released, target_url))
    asyncio.run(execute(released, "INSERT INTO milestones (name, reached_at) VALUES ('still open', 1)"))


def test_a_target_with_a_living_server_is_refused(released: str, target_url: str) -> None:
    make_tables(target_url)
    insert = (
        "INSERT INTO processes (id, host, role, version, connections, state, started_at, expires_at)"
        " VALUES ('p', 'h', 'server', '1', 1, '{}', 1, :soon)"
    )
    asyncio.run(execute(target_url, insert, soon=int(time.time()) + 600))
    with pytest.raises(ConfigurationError, match=r"Servers or workers still run on the target \(1\)"):
        asyncio.run(copy(released, target_url))


@pytest.mark.parametrize("used", [False, True])
def test_the_workspace_of_a_first_start_counts_as_empty_until_its_key_is_used(
    released: str, target_url: str, used: bool
) -> None:
    make_tables(target_url)

    async def start() -> None:
        async with Database.at(parse_url(target_url)) as target:
            await make_first_key(target)
            if used:
                await target.execute("UPDATE api_keys SET last_used_at = 5")

    asyncio.run(start())
    if used:
        with pytest.raises(ConfigurationError, match="in use"):
            asyncio.run(copy(released, target_url))
        return
    before = asyncio.run(read_all(released))
    asyncio.run(copy(released, target_url))
    assert asyncio.run(read_all(target_url)) == before


@pytest.mark.sqlite
@pytest.mark.parametrize(
    ("value", "fault"),
    [
        ("'a' || char(0) || 'b'", "NUL character"),
        ("CAST(x'ff41' AS TEXT)", "not UTF-8"),
        ("x'4142'", "a value of type bytes in a column of type text"),
    ],
)
def test_a_text_that_postgres_refuses_is_named_before_anything_is_written(
    released: str, target_url: str, value: str, fault: str
) -> None:
    path = released.removeprefix("sqlite:///")
    with sqlite3.connect(path) as connection:
        connection.execute(f"UPDATE workspaces SET name = {value}")
    connection.close()

    with pytest.raises(ConfigurationError, match=rf"table workspaces, row '.+', column name: .*{fault}"):
        asyncio.run(copy(released, target_url))

    async def main() -> None:
        async with Database.at(parse_url(target_url)) as target:
            assert await find_mark(target) is None
        async with Database.at(parse_url(released)) as source:
            await refuse_moving(source)

    asyncio.run(main())


def test_a_difference_at_the_end_is_named(released: str, target_url: str) -> None:
    rows = sum(map(len, asyncio.run(read_all(released)).values()))
    with pytest.raises(Interrupted):
        asyncio.run(copy(released, target_url, stop_after=rows))
    asyncio.run(execute(target_url, "UPDATE workspaces SET balance = balance + 1"))
    asyncio.run(execute(target_url, "DELETE FROM usage"))
    with pytest.raises(ConfigurationError, match=r"differs[\s\S]*  usage: [\s\S]*  balances of "):
        asyncio.run(copy(released, target_url))


def test_unfinished_studies_may_be_taken_at_once(released: str, target_url: str) -> None:
    row = {
        "id": "fg_1",
        "workspace_id": "w",
        "mode": "live",
        "key_id": "k",
        "name": "n",
        "status": "PROCESSING",
        "program": 1,
        "study": "{}",
        "panel": "{}",
        "model": "m",
        "method": "{}",
        "cells_total": 1,
        "price": 1,
        "adoptions": 1,
        "worker_id": "laptop-1",
        "fence": 4,
        "lease_until": int(time.time()) + 3600,
        "created_at": 1,
    }
    names = ", ".join(row)
    values = ", ".join(f":{name}" for name in row)
    asyncio.run(execute(released, f"INSERT INTO focus_groups ({names}) VALUES ({values})", **row))
    assert asyncio.run(copy(released, target_url)).studies_continued == 1
    [study] = asyncio.run(read_all(target_url))["focus_groups"]
    assert (study["lease_until"], study["worker_id"], study["fence"], study["adoptions"]) == (0, None, 5, 0)


@pytest.mark.sqlite
def test_a_server_on_the_closed_source_answers_503_and_is_not_ready(serve: Serve) -> None:
    served = serve()
    url = f"{served.base_url}/responses"
    assert httpx.post(url, json=ASK, headers=served.headers).status_code == 200

    async def close() -> None:
        async with Database.open(served.settings) as database:
            await close_to_writers(database)

    asyncio.run(close())
    answer = httpx.post(url, json=ASK, headers=served.headers)
    assert answer.status_code == 503
    assert "being moved" in answer.json()["error"]["message"]
    deadline = time.monotonic() + 20
    while httpx.get(f"{served.url}/health/ready").status_code != 503:
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.sqlite
def test_the_commands_copy_check_and_reopen(
    mavera: Mavera, environment: dict[str, str], target_url: str
) -> None:
    file = f"{environment['MAVERA_DATA_DIR']}/mavera.db"
    assert "does not exist" in mavera("db", "copy", file, target_url, code=1).stderr
    mavera("db", "check", code=1)
    assert json.loads(mavera("db", "upgrade", "--json").stdout)["before"] is None
    mavera("db", "check")
    mavera("workspaces", "create", "Team")
    report = json.loads(mavera("db", "copy", file, target_url, "--json").stdout)
    assert report["tables"]["workspaces"] == 1
    assert "moved" in mavera("workspaces", "list", code=1).stderr
    assert json.loads(mavera("db", "check", "--json", code=1).stdout)["mark"]["role"] == "source"
    assert len(json.loads(mavera("workspaces", "list", "--json", MAVERA_DATABASE_URL=target_url).stdout)) == 1
    assert "nothing to do" in mavera("db", "copy", file, target_url).stdout
    mavera("db", "reopen")
    mavera("workspaces", "list")
    assert "in use" in mavera("db", "copy", file, target_url, code=1).stderr


@pytest.mark.sqlite
def test_a_check_waits_for_a_database_and_then_names_the_fault(mavera: Mavera) -> None:
    url = f"postgresql://nobody@127.0.0.1:{servers.free_port()}/none"
    done = mavera("db", "check", "--wait", "1", code=1, MAVERA_DATABASE_URL=url)
    assert "cannot be reached" in done.stdout


def test_keys_work_after_the_move(database_url: str, target_url: str, settings: Settings) -> None:
    async def main() -> None:
        make = Database.at(parse_url(database_url))
        async with make as database:
            await ensure_schema(database)
            text = await make_first_key(database)
        assert text is not None
        await copy(database_url, target_url)
        async with Database.at(parse_url(target_url)) as target, Keyring(target) as keyring:
            assert (await keyring.authenticate(f"Bearer {text}")).scopes

    asyncio.run(main())
