"""`mavera doctor` asks the servers that images and searches need, if there are any."""

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from aiohttp import web
from typer.testing import CliRunner

from mavera.cli.doctor import app
from tests.support.dialect_stubs import speaks
from tests.support.requirements import require_module
from tests.support.servers import free_port, on_postgres, running_redis
from tests.support.tables import make_tables
from tests.support.upstream_stub import refuses, running_upstream

NOWHERE = "postgresql://127.0.0.1:1/none"


@contextmanager
def answering(status: int, body: Any) -> Iterator[str]:
    """Answer each GET with `status` and `body`, at the address that this yields."""
    loop, stop, address = asyncio.new_event_loop(), asyncio.Event(), []
    started = threading.Event()

    async def handle(_: web.Request) -> web.Response:
        return web.json_response(body, status=status)

    async def serve() -> None:
        application = web.Application()
        application.router.add_get("/{path:.*}", handle)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        address.append(f"http://127.0.0.1:{runner.addresses[0][1]}")
        started.set()
        await stop.wait()
        await runner.cleanup()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    try:
        assert started.wait(10)
        yield address[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        loop.close()


async def shift_clock(database_url: str, seconds: int) -> None:
    """Let connections that are made from now on read a clock that is so many seconds ahead."""
    name = urlsplit(database_url).path.removeprefix("/")
    await on_postgres(
        database_url,
        "CREATE SCHEMA shifted",
        f"""
        CREATE FUNCTION shifted.clock_timestamp() RETURNS timestamptz LANGUAGE sql
            AS $$ SELECT pg_catalog.clock_timestamp() + interval '{seconds} seconds' $$
        """,
        f"ALTER DATABASE {name} SET search_path = shifted, pg_catalog, public",
    )


def names_of_findings(tmp_path: Path, settings: dict[str, str]) -> set[str]:
    return {found["what"] for found in run_doctor(tmp_path, settings)}


def finding(tmp_path: Path, what: str, **settings: str) -> dict[str, Any]:
    [found] = [found for found in run_doctor(tmp_path, settings) if found["what"] == what]
    return dict(found)


def run_doctor(tmp_path: Path, settings: dict[str, str]) -> list[dict[str, Any]]:
    environment = {f"MAVERA_{name.upper()}": value for name, value in settings.items()}
    environment = {"MAVERA_MODEL_BACKEND": "scripted", "MAVERA_DATA_DIR": str(tmp_path), **environment}
    return list(json.loads(CliRunner().invoke(app, ["--json"], env=environment).stdout))


@pytest.mark.parametrize(
    ("status", "ok", "words"), [(200, True, "eyes"), (401, False, "refuses"), (502, False, "502")]
)
def test_the_vision_model_is_asked(tmp_path: Path, status: int, ok: bool, words: str) -> None:
    with answering(status, {"data": [{"id": "eyes"}]}) as url:
        found = finding(tmp_path, "vision", vision_base_url=f"{url}/v1", vision_model="eyes")
    assert found["ok"] is ok
    assert words in found["detail"]
    assert ok or found["advice"]


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (503, {"error": {"code": "no_models_available"}}, "no engine behind it"),
        (200, {"data": []}, "no engine behind it"),
        (200, {"data": [{"id": "other"}]}, "lists other, and not eyes"),
    ],
)
def test_a_router_without_engines_is_told_from_a_wrong_name(
    tmp_path: Path, status: int, body: dict[str, Any], words: str
) -> None:
    with answering(status, body) as url:
        found = finding(tmp_path, "vision", vision_base_url=f"{url}/v1", vision_model="eyes")
    assert words in found["detail"]


def test_a_vision_model_that_is_away_is_found_out(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}/v1"
    found = finding(tmp_path, "vision", vision_base_url=url, vision_model="eyes")
    assert (found["ok"], found["advice"]) == (False, "check MAVERA_VISION_BASE_URL")


@pytest.mark.parametrize(
    ("status", "ok", "words"),
    [(200, True, "SearXNG at"), (403, False, "search.formats"), (500, False, "500")],
)
def test_the_search_server_is_asked(tmp_path: Path, status: int, ok: bool, words: str) -> None:
    with answering(status, {"results": []}) as url:
        found = finding(tmp_path, "search", searxng_url=url)
    assert found["ok"] is ok
    assert words in found["detail"]


@pytest.mark.parametrize("path", ["", "/", "/chat/completions"])
def test_the_dialect_of_an_upstream_is_found_and_shown(tmp_path: Path, path: str) -> None:
    with running_upstream() as upstream:
        upstream.script = [speaks("openai", '{"ok": true}')]
        found = finding(
            tmp_path, "model", model_backend="upstream", upstream_base_url=upstream.url + path,
            upstream_model="reasoner",
        )  # fmt: skip
    assert found["ok"] is True
    for words in ("dialect auto", "max_completion_tokens", "leaves out temperature, top_logprobs"):
        assert words in found["detail"]


def test_an_upstream_that_cannot_answer_is_found_out(tmp_path: Path) -> None:
    with running_upstream() as upstream:
        upstream.script = [refuses(403)]
        found = finding(
            tmp_path, "model", model_backend="upstream", upstream_base_url=upstream.url, upstream_model="m"
        )
    assert found["ok"] is False
    assert "firewall" in found["detail"]


def test_a_base_url_that_cannot_work_is_shown_with_the_right_one(tmp_path: Path) -> None:
    url = "https://api.openai.com"
    found = finding(tmp_path, "model", model_backend="upstream", upstream_base_url=url, upstream_model="m")
    assert found["ok"] is False
    assert f"{url}/v1" in found["detail"]


def test_a_search_server_that_is_away_is_found_out(tmp_path: Path) -> None:
    found = finding(tmp_path, "search", searxng_url=f"http://127.0.0.1:{free_port()}")
    assert (found["ok"], found["advice"]) == (False, "check MAVERA_SEARXNG_URL")


@pytest.mark.parametrize(
    ("settings", "ok", "words"),
    [
        ({}, True, "kept.secret"),
        ({"key_pepper": "pepper"}, True, "MAVERA_KEY_PEPPER"),
        ({"database_url": NOWHERE}, False, "Idempotency-Key only"),
        (
            {"database_url": "postgresql://127.0.0.1:1/none", "key_pepper": "pepper"},
            True,
            "MAVERA_KEY_PEPPER",
        ),
    ],
)
def test_the_secret_of_kept_answers_is_named(
    tmp_path: Path, settings: dict[str, str], ok: bool, words: str
) -> None:
    found = finding(tmp_path, "kept answers", **settings)
    assert found["ok"] is ok
    assert words in found["detail"]
    assert ok or "MAVERA_KEY_PEPPER" in found["advice"]


def test_a_store_of_limits_that_forgets_counts_is_found_out(tmp_path: Path) -> None:
    redis = require_module("redis")
    with running_redis(free_port()) as url, redis.Redis.from_url(url) as store:
        assert finding(tmp_path, "rate limits", rate_limit_url=url)["ok"]
        store.config_set("maxmemory-policy", "allkeys-lru")
        found = finding(tmp_path, "rate limits", rate_limit_url=url)
    assert not found["ok"]
    assert "allkeys-lru" in found["detail"]
    assert "noeviction" in found["advice"]


@pytest.mark.postgres
@pytest.mark.parametrize(("seconds", "words"), [(90, "90 s behind"), (-90, "90 s ahead of")])
def test_a_database_whose_clock_is_off_is_found_out(
    tmp_path: Path, database_url: str, seconds: int, words: str
) -> None:
    make_tables(database_url)
    settings = {"database_url": database_url, "key_pepper": "p" * 32}
    assert names_of_findings(tmp_path, settings).isdisjoint({"clock"})
    asyncio.run(shift_clock(database_url, seconds))
    found = finding(tmp_path, "clock", **settings)
    assert not found["ok"]
    assert words in found["detail"]
    assert "time service" in found["advice"]
