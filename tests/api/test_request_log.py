"""GET /requests: every call is found by its id, failed and refused ones too, and pages reach all of them."""

import asyncio
import time
from typing import Any

import httpx2 as httpx
import pytest

from mavera.accounts import requests
from mavera.accounts.requests import RequestSearch, list_requests
from mavera.errors import ServiceUnavailable
from mavera.models.scripted import ScriptedModel
from tests.conftest import Serve
from tests.support.opening import Open
from tests.support.team import ASK, Team, serve_on, team


class Broken(ScriptedModel):
    """Fails at every turn, as a server of a model does that is gone."""

    def stream(self, *_: Any, **__: Any) -> Any:
        raise ServiceUnavailable("The model's server is gone.")


CHAT = {"model": "mavera-1", "messages": [{"role": "user", "content": "Would you pay?"}]}


def find(owner: Team, identifier: str) -> httpx.Response:
    """Look a request up, and wait for the log to be written."""
    deadline = time.monotonic() + 10
    while True:
        found = owner.get(f"/requests/{identifier}")
        if found.status_code == 200 or time.monotonic() > deadline:
            return found
        time.sleep(0.05)


def test_a_call_is_found_by_the_ids_that_its_client_has(serve: Serve, database_url: str) -> None:
    owner = team(serve_on(serve, database_url, ScriptedModel(["Yes."])))
    for path, body in (("/responses", ASK), ("/chat/completions", CHAT)):
        answer = owner.post(path, body)
        by_header = find(owner, answer.headers["x-request-id"]).json()
        assert by_header == find(owner, answer.json()["id"]).json() == find(owner, by_header["id"]).json()
        assert by_header["status"] == "completed"
        assert by_header["operation"] == path.strip("/").replace("/", "_")
        assert (by_header["key_id"], by_header["key_name"]) == (owner.key_id, "tests")
        assert by_header["credits_used"] == answer.json()["usage"]["credits_used"]


def test_requests_that_fail_before_and_during_a_run_are_found(serve: Serve, database_url: str) -> None:
    model = Broken()
    owner = team(serve_on(serve, database_url, model), credits=3)
    refused = owner.post("/responses", {"model": "mavera-1", "input": 5})
    assert refused.status_code == 422
    logged = find(owner, refused.headers["x-request-id"]).json()
    assert (logged["status"], logged["http_status"], logged["error_code"]) == (
        "refused",
        422,
        "validation_error",
    )
    assert logged["operation"] == "responses"
    failed = owner.post("/responses", ASK)
    assert failed.status_code == 503
    logged = find(owner, failed.headers["x-request-id"]).json()
    assert (logged["status"], logged["error_code"]) == ("failed", "service_unavailable")
    poor = owner.post("/responses", {**ASK, "analysis_mode": True})
    if poor.status_code == 402:
        assert find(owner, poor.headers["x-request-id"]).json()["error_code"] == "credits_exhausted"


def test_the_log_belongs_to_its_workspace(serve: Serve) -> None:
    served = serve(ScriptedModel(["Yes."]))
    owner, stranger = team(served), team(served)
    request_id = owner.post("/responses", ASK).headers["x-request-id"]
    assert find(owner, request_id).status_code == 200
    assert stranger.get(f"/requests/{request_id}").status_code == 404
    assert stranger.get("/requests").json()["data"] == []
    for odd in ("nobody", "req_" + "f" * 24, "req_" + "0" * 24, "c" + "z" * 24, "%00"):
        assert owner.get(f"/requests/{odd}").status_code == 404
    assert owner.get("/requests?status=odd").status_code == 422
    assert owner.get("/requests?cursor=odd").status_code == 400
    assert team(served, scopes=("responses",)).get("/requests").status_code == 403


def test_pages_reach_every_call_once_and_a_search_finds_the_rare_one(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests, "MOST_SEARCHED", 30)

    async def main() -> None:
        async with opened() as database:
            for number in range(100):
                await database.execute(
                    """
                    INSERT INTO usage (workspace_id, created_at, run_id, key_id, status, input_tokens,
                                       output_tokens, credits, milliseconds, rolled)
                    VALUES ('w', :at, :id, :key, 'completed', 0, 0, 0, 0, 1)
                    """,
                    at=number // 7,
                    id=f"c{number:03}",
                    key="rare" if number == 4 else "often",
                )
                await database.execute(
                    """
                    INSERT INTO refused_requests VALUES ('w', :at, :id, :key, '/responses', 422, 'code', 1)
                    """,
                    at=number // 5,
                    id=f"req_{number:03}",
                    key="rare" if number == 9 else "often",
                )
            everything = await read_pages(RequestSearch("w", limit=17))
            assert len(everything) == len(set(everything)) == 200
            assert await read_pages(RequestSearch("w", key_id="rare", limit=17)) == ["req_009", "c004"]
            refused = await read_pages(RequestSearch("w", status="refused", limit=17))
            assert refused == [f"req_{number:03}" for number in reversed(range(100))]
            assert await read_pages(RequestSearch("w", status="cancelled")) == []
            assert await read_pages(RequestSearch("nobody")) == []

    async def read_pages(search: RequestSearch) -> list[str]:
        found: list[str] = []
        before: tuple[int, str] | None = None
        async with opened() as database:
            for _ in range(100):
                page, before = await list_requests(
                    database,
                    RequestSearch(search.workspace_id, search.key_id, search.status, before, search.limit),
                )
                assert len(page) <= search.limit
                found += [one.id for one in page]
                if before is None:
                    return found
        raise AssertionError("the pages do not end")

    asyncio.run(main())


def test_a_client_in_a_loop_does_not_fill_the_log(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "MOST_A_MINUTE", 3)
    owner = team(serve())
    seen = [owner.post("/responses", {"input": 5}).status_code for _ in range(9)]
    assert set(seen) <= {400, 422}
    time.sleep(0.6)
    assert 1 <= len(owner.get("/requests?status=refused").json()["data"]) <= 6
