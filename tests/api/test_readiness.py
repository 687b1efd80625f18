"""When a server says that it is ready, and what it says of a database that is not the one it had."""

import shutil
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from tests.conftest import Serve, Served


def ready(served: Served) -> tuple[int, dict[str, Any]]:
    answer = httpx.get(f"{served.url}/health/ready", timeout=30)
    return answer.status_code, answer.json()


def until_ready(served: Served) -> None:
    deadline = time.monotonic() + 30
    while ready(served)[0] != 200:
        assert time.monotonic() < deadline
        time.sleep(0.2)


def file_of(served: Served) -> Path:
    return served.settings.data_dir / "mavera.db"


def change(served: Served, sql: str) -> None:
    connection = sqlite3.connect(file_of(served), timeout=10)
    with connection:
        connection.execute(sql)
    connection.close()
    time.sleep(1.1)  # what is known of the store is known for a second


def test_a_locked_database_makes_a_server_unready_until_it_is_free(serve: Serve) -> None:
    served = serve()
    assert ready(served)[0] == 200
    time.sleep(1.1)
    holder = sqlite3.connect(file_of(served), isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    status, body = ready(served)
    holder.execute("ROLLBACK")
    holder.close()
    assert (status, body["database"]) == (503, "unavailable")
    assert "busy" in body["database_detail"]
    until_ready(served)


def test_newer_tables_leave_a_server_ready_unless_they_need_a_newer_one(serve: Serve) -> None:
    served = serve()
    change(served, "INSERT INTO mavera_migrations (name, applied_at) VALUES ('9998_more', 0)")
    assert ready(served)[0] == 200
    change(served, "UPDATE schema_state SET lowest_schema = '9998_more', lowest_version = '7.5.0'")
    status, body = ready(served)
    assert status == 503
    assert "7.5.0" in body["database_detail"]
    change(served, "UPDATE schema_state SET lowest_schema = '0004_tools'")
    assert ready(served)[0] == 200


def put_garbage(path: Path) -> None:
    path.write_bytes(b"not a database " * 1000)


def put_nothing(path: Path) -> None:
    path.touch()


def put_a_folder(path: Path) -> None:
    path.mkdir()


def put_another_program(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE recipes (name TEXT)")
    connection.close()


def put_a_part(path: Path) -> None:
    path.write_bytes((path.parent / "away" / path.name).read_bytes()[:9_000])


def put_a_damaged_one(path: Path) -> None:
    whole = (path.parent / "away" / path.name).read_bytes()
    path.write_bytes(whole[:4096] + b"\xff" * (len(whole) - 4096))


@pytest.mark.parametrize(
    "put",
    [put_garbage, put_nothing, put_a_folder, put_another_program, put_a_part, put_a_damaged_one],
)
def test_what_lies_in_the_place_of_the_database_is_named_and_the_server_unready(
    serve: Serve, put: Callable[[Path], None]
) -> None:
    served = serve()
    client = httpx.Client(headers=served.headers, timeout=30)
    body = {"model": "mavera-1", "input": "Hm?"}
    assert client.post(f"{served.base_url}/responses", json=body).status_code == 200
    path = file_of(served)
    away = path.parent / "away"
    away.mkdir()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    for file in path.parent.glob("mavera.db*"):
        shutil.move(file, away)
    put(path)
    time.sleep(1.1)
    refused = client.post(f"{served.base_url}/responses", json=body)
    assert refused.status_code == 503, refused.text
    assert refused.json()["error"]["code"] == "service_unavailable"
    assert "cannot be reached" not in refused.json()["error"]["message"]
    assert int(refused.headers["retry-after"]) >= 1
    status, told = ready(served)
    assert (status, told["database"]) == (503, "unavailable")
    assert "operator" in told["database_detail"]
    for file in path.parent.glob("mavera.db*"):
        shutil.rmtree(file) if file.is_dir() else file.unlink()
    for file in away.iterdir():
        shutil.move(file, path.parent)
    until_ready(served)
    assert client.post(f"{served.base_url}/responses", json=body).status_code == 200
    client.close()


def test_a_dead_redis_is_told_of_and_leaves_the_server_ready(serve: Serve) -> None:
    status, body = ready(serve(rate_limit_url="redis://127.0.0.1:1/0"))
    assert (status, body["rate_limits"]) == (200, "unavailable")
    assert ready(serve())[1]["rate_limits"] == "local"
