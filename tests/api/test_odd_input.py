"""Text and numbers that some part of the house could not store, by the front door, on both stores."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from websockets.sync.client import connect

from tests.conftest import Served, running_server
from tests.support import servers
from tests.support.upstream_stub import DONE, SAID, Upstream, running_upstream, sends, text

BAD = ["a\\u0000b", "\\ud83d", "\\udc00x", "\\ud800\\ud800\\udc00", "\\\\\\u0000"]


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with running_upstream() as upstream:
        yield upstream


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, upstream: Upstream
) -> Iterator[Served]:
    data_dir: Path = tmp_path_factory.mktemp("odd")
    settings: dict[str, Any] = {
        "model_backend": "upstream",
        "upstream_base_url": upstream.url,
        "upstream_model": "stub",
    }
    if request.param == "sqlite":
        with running_server(data_dir, **settings) as served:
            yield served
        return
    with (
        servers.postgres() as server_url,
        servers.new_database(server_url) as url,
        running_server(data_dir, database_url=url, **settings) as served,
    ):
        yield served


def post(served: Served, path: str, body: str, **headers: str) -> httpx.Response:
    headers = {**served.headers, "Content-Type": "application/json", **headers}
    return httpx.post(served.base_url + path, content=body.encode(), headers=headers, timeout=30)


@pytest.mark.parametrize("bad", BAD)
def test_bad_text_in_a_body_is_answered(served: Served, bad: str, upstream: Upstream) -> None:
    bodies = {
        "/responses": f'{{"model": "mavera-1", "input": "{bad}", "instructions": "{bad}", "user": "{bad}"}}',
        "/chat/completions": f'{{"model": "mavera-1", "messages": [{{"role": "user", "content": "{bad}"}}]}}',
    }
    for path, body in bodies.items():
        answer = post(served, path, body)
        assert answer.status_code == 200, answer.text
        sent = json.dumps(upstream.asked[-1], ensure_ascii=False)
        assert "\ufffd" in sent
        assert "\0" not in json.loads(sent)["messages"][-1]["content"]


@pytest.mark.parametrize("bad", BAD)
def test_bad_text_in_a_name_is_no_fault_of_the_server(served: Served, bad: str) -> None:
    missing = post(served, "/responses", f'{{"model": "m", "input": "Hm?", "persona_id": "{bad}"}}')
    assert missing.status_code in (404, 422), missing.text
    made = post(served, "/personas", json.dumps(SHEET).replace("NAME", bad))
    assert made.status_code < 500, made.text


SHEET = {
    "pipeline_type": "intermediate",
    "name": "Nurse NAME",
    "category": "Healthcare",
    "type": "B2C",
    "description": "Works NAME nights.",
}


@pytest.mark.parametrize(
    "path", ["/personas/%00", "/personas?search=%00a", "/personas?cursor=%00", "/media/a%00b"]
)
def test_nul_in_a_path_or_a_query_is_no_fault_of_the_server(served: Served, path: str) -> None:
    answer = httpx.get(served.base_url + path, headers=served.headers)
    assert answer.status_code < 500, answer.text


def test_bad_text_over_a_websocket_is_answered_in_its_lane(served: Served) -> None:
    url = served.base_url.replace("http", "ws") + "/responses"
    with connect(url, additional_headers=served.headers) as connection:
        connection.send(
            '{"type": "response.create", "model": "mavera-1", "input": "\\ud800 \\u0000", "stream_id": "one"}'
        )
        while (event := json.loads(connection.recv(10)))["type"] != "response.completed":
            assert event["type"] != "error", event
        assert event["stream_id"] == "one"


COUNTS: list[Any] = [10**30, 2**63 - 1, 2**63, -5, 1e30, 12.0, "12", None, True, [1]]


def test_absurd_counts_of_an_upstream_spoil_no_request_and_no_sum(served: Served, upstream: Upstream) -> None:
    odd = [
        sends(
            text(SAID),
            b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n',
            b"data: "
            + json.dumps({"choices": [], "usage": {"prompt_tokens": n, "completion_tokens": n}}).encode()
            + b"\n\n",
            DONE,
        )
        for n in COUNTS * 4
    ]
    upstream.script, upstream.asked = odd, []

    async def ask() -> list[int]:
        async with httpx.AsyncClient(headers=served.headers, timeout=60) as client:
            url, body = f"{served.base_url}/responses", {"model": "mavera-1", "input": "Hm?"}
            return [a.status_code for a in await asyncio.gather(*(client.post(url, json=body) for _ in odd))]

    assert asyncio.run(ask()) == [200] * len(odd)
    usage = httpx.get(f"{served.base_url}/usage", headers=served.headers)
    assert usage.status_code == 200
    assert 0 <= usage.json()["api_requests"]["total_tokens"] <= 2 * 10**9 * 100
