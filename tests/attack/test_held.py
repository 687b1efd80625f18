"""
Attacks that have always failed, so that they go on failing.

    another workspace's keys on every route, on both stores
    200 turns at once against credit for 10
    streams that are cut at any moment
    SIGTERM in the middle of streams
    a mix of good, bad and broken requests

Others of that kind stand where their code is tested: spellings and redirects of addresses in tests/fetch,
kills of servers in tests/server/test_many_processes.py and test_workers.py.
"""

import asyncio
import json
import random
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx2 as httpx
import pytest
from aiohttp import web

from mavera.api.http.operations import Operation
from mavera.app import OPERATIONS
from tests.attack.conftest import Attack
from tests.attack.serving import AttackedServer, Keys, wait_for
from tests.attack.wire import request_bytes
from tests.support import servers
from tests.support.processes import ASK, ask_at_once, books
from tests.support.upstream_stub import Upstream, answers_slowly

SECRET = "only the owner may read this"
PERSONA = {
    "pipeline_type": "intermediate",
    "name": SECRET,
    "type": "B2C",
    "description": SECRET,
    "goals": [SECRET],
}
STUDY = {
    "name": SECRET,
    "persona_ids": ["cmwqagvb8bptiksd9igrduufz"],
    "questions": [{"id": "q1", "type": "yes_no", "text": SECRET}],
    "sample_size": 10,
}
STREAM = json.dumps({**ASK, "stream": True}).encode()


OWNED = ("key", "workspace", "focus_group", "share", "request")


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param == "sqlite":
        yield ""
        return
    with servers.postgres() as server_url, servers.new_database(server_url) as url:
        yield url


def test_no_route_shows_or_changes_what_belongs_to_another_workspace(
    attack: Attack, database_url: str
) -> None:
    server = attack(database_url=database_url)
    owner, stranger = server.keys, server.make_keys()
    before = state_of(server, owner)
    ids = {
        "persona_id": before["personas"][0]["id"],
        "key_id": before["keys"][0]["id"],
        "workspace_id": owner.workspace_id,
        "media_id": "c" + "0" * 24,
        "model_id": "mavera-1",
        "focus_group_id": before["studies"][0]["id"],
        **make_share_and_request(server, owner, before["studies"][0]["id"]),
    }
    keys = {"live": stranger.live, "test": stranger.test, "admin": stranger.admin, "unknown": "mvra_live_x"}
    for operation in OPERATIONS:
        if operation.absolute:
            continue
        path = "/api/v1" + operation.path.format_map(ids)
        for name, key in {**keys, "none": ""}.items():
            with server.client(key) as client:
                answer = client.request(operation.method, path, json=body_for(operation))
            told = (name, operation.method, path, answer.status_code, answer.text[:300])
            assert SECRET not in answer.text, told
            assert answer.status_code < 500, told
            if operation.needs_key and name in ("unknown", "none"):
                assert answer.status_code == 401, told
            elif any(f"{{{named}_id}}" in operation.path for named in OWNED):
                assert answer.status_code in (403, 404), told
    assert state_of(server, owner) == before


def make_share_and_request(server: AttackedServer, owner: Keys, study_id: object) -> dict[str, object]:
    """Share the study, and return the ids of the link and of a request in the owner's log."""
    with server.client(owner.admin) as client:
        shared = client.post(f"/api/v1/focus-groups/{study_id}/shares", json={"expires_in_days": 1})
        assert shared.status_code == 201, shared.text
        body = {"model": "mavera-1", "input": "Hm?"}
        assert client.post("/api/v1/responses", json=body).status_code == 200
        deadline = time.monotonic() + 20
        while not (logged := client.get("/api/v1/requests").json()["data"]):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        return {"share_id": shared.json()["id"], "request_id": logged[0]["id"]}


def body_for(operation: Operation) -> object:
    if operation.method == "DELETE" or operation.request is None:
        return None
    return operation.example or {}


def state_of(server: AttackedServer, keys: Keys) -> dict[str, list[dict[str, object]]]:
    """Return the workspace's personas, studies (one of each is made the first time) and keys."""
    with server.client(keys.admin) as client:
        found = client.get("/api/v1/personas", params={"search": SECRET}).json()["data"]
        if not found:
            created = client.post("/api/v1/personas", json=PERSONA)
            assert created.status_code in (200, 201), created.text
            found = [created.json()]
        personas = [client.get(f"/api/v1/personas/{each['id']}").json() for each in found]
        keys_listed = client.get("/api/v1/api-keys").json()["data"]
        studies = client.get("/api/v1/focus-groups").json()["data"]
        if not studies:
            created = client.post("/api/v1/focus-groups", json=STUDY)
            assert created.status_code == 202, created.text
            studies = [created.json()]
    names = ("id", "name", "scopes", "revoked_at")
    return {
        "personas": personas,
        "keys": [{name: key.get(name) for name in names} for key in keys_listed],
        "studies": [{"id": study["id"], "name": study["name"]} for study in studies],
    }


def test_two_hundred_at_once_get_the_ten_answers_that_are_paid_for(attack: Attack) -> None:
    server = attack()
    before = asyncio.run(books(server.settings))
    poor = server.make_keys(credits=10)

    statuses = ask_at_once([server.responses_url], poor.live, 200)

    assert sorted(statuses) == [200] * 10 + [402] * 190
    assert asyncio.run(books(server.settings)) == before


def test_cut_streams_leave_no_credits_held_and_no_run_behind(attack: Attack, upstream: Upstream) -> None:
    ended = []

    async def answer(request: web.Request) -> web.StreamResponse:
        response = await answers_slowly(0.5)(request)
        ended.append(response)
        return response

    upstream.script = [answer]
    server = attack(model_backend="upstream", upstream_base_url=upstream.url, upstream_model="stub")
    at_rest = server.resources()
    random_bytes = random.Random(7)
    with ThreadPoolExecutor(20) as pool:
        list(pool.map(lambda _: cut_stream(server, random_bytes.randrange(2000)), range(200)))

    wait_for(lambda: asyncio.run(books(server.settings))[2] == 0)
    balance, added_up, held = asyncio.run(books(server.settings))
    assert (balance, held) == (added_up, 0)
    upstream.wait_until_busy(0)
    assert len(ended) < 100
    server.wait_for(lambda: server.resources().open_files <= at_rest.open_files + 30)
    assert server.is_alive()


def cut_stream(server: AttackedServer, read_bytes: int) -> None:
    """Begin a stream, read some of it and reset the connection."""
    with server.connect() as connection:
        connection.send(request_bytes("POST", "/api/v1/responses", key=server.keys.live, body=STREAM))
        received = 0
        while received < read_bytes:
            piece = connection.receive(0.2)
            if not piece:
                break
            received += len(piece)
        connection.abort()


def test_streams_end_properly_when_the_server_is_told_to_stop(attack: Attack, upstream: Upstream) -> None:
    upstream.script = [answers_slowly(1.0)]
    server = attack(model_backend="upstream", upstream_base_url=upstream.url, upstream_model="stub")
    with ThreadPoolExecutor(40) as pool:
        streams = [pool.submit(read_stream, server) for _ in range(40)]
        wait_for(lambda: upstream.busy == 40)
        server.process.send_signal(signal.SIGTERM)
        ends = [stream.result(60) for stream in streams]

    assert ends == ["response.completed"] * 40
    assert server.process.wait(40) in (0, -signal.SIGTERM)
    balance, added_up, held = asyncio.run(books(server.settings))
    assert (balance, held) == (added_up, 0)


def read_stream(server: AttackedServer) -> str:
    """Return the type of the last event before `[DONE]` or the end."""
    last = ""
    with server.client() as client, client.stream("POST", "/api/v1/responses", content=STREAM) as answer:
        for line in answer.iter_lines():
            if line.startswith("event: "):
                last = line.removeprefix("event: ")
    return last


def test_mixed_traffic_meets_no_unexpected_error_of_the_server(attack: Attack) -> None:
    server = attack()
    choose = random.Random(11)
    deadline = time.monotonic() + 15
    with ThreadPoolExecutor(16) as pool:
        seeds = [choose.getrandbits(32) for _ in range(64)]
        statuses = [
            each for part in pool.map(lambda s: send_mixed(server, s, deadline), seeds) for each in part
        ]

    assert len(statuses) >= 64
    assert {200, 401, 404, 422} <= set(statuses), sorted(set(statuses))
    assert not [status for status in statuses if status >= 500], sorted(set(statuses))
    wait_for(lambda: asyncio.run(books(server.settings))[2] == 0)
    assert server.is_alive()


def send_mixed(server: AttackedServer, seed: int, deadline: float) -> list[int]:
    """Send up to 25 requests that follow from `seed`: valid ones, wrong ones, and random JSON."""
    choose = random.Random(seed)
    statuses = []
    with httpx.Client(base_url=f"{server.url}/api/v1", timeout=30, verify=False) as client:
        for _ in range(25):
            if time.monotonic() > deadline:
                break
            keys = [server.keys.live, server.keys.test, server.keys.admin, "mvra_live_" + "x" * 32]
            method, path, body = choose.choice(
                [
                    ("POST", "/responses", ASK),
                    ("POST", "/responses", {**ASK, "stream": True}),
                    ("POST", "/chat/completions", {"model": "mavera-1", "messages": random_json(choose)}),
                    ("POST", "/responses", random_json(choose)),
                    ("POST", "/responses/compact", random_json(choose)),
                    ("GET", f"/personas/{choose.randrange(10**9)}", None),
                    ("GET", "/usage", None),
                    ("PATCH", "/personas/none", random_json(choose)),
                    ("POST", "/api-keys", {"name": random_json(choose)}),
                ]
            )
            headers = {"Authorization": f"Bearer {choose.choice(keys)}", "Content-Type": "application/json"}
            content = None if body is None else json.dumps(body)  # lone surrogates as escapes
            statuses.append(client.request(method, path, content=content, headers=headers).status_code)
    return statuses


def random_json(choose: random.Random, depth: int = 3) -> object:
    leaves = [None, True, -1, 0, 2**63, 1.5, "", "a\x00b", "\ud83d\ude00", "x" * choose.randrange(300)]
    kind = choose.randrange(4) if depth else 3
    if kind == 0:
        return [random_json(choose, depth - 1) for _ in range(choose.randrange(4))]
    if kind == 1:
        names = ["model", "input", "messages", "role", "content", "type", "tools", "persona_id", "\u0000"]
        return {choose.choice(names): random_json(choose, depth - 1) for _ in range(choose.randrange(5))}
    return choose.choice(leaves)
