"""Who is let in, what it costs and what is told of it: through the door, in both wire formats."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from mavera.accounts.keys.text import Peppers
from mavera.accounts.plans import DEFAULT_SCOPES, SCOPES, Overrides
from mavera.errors import ServiceUnavailable
from mavera.models.scripted import ScriptedModel
from tests.conftest import Serve
from tests.support.images import data_url, png
from tests.support.team import ASK, Team, team

WORDS = ["I would ", "pay ", "for that."]
CHAT: Any = {"model": "mavera-1", "messages": [{"role": "user", "content": "Would you pay?"}]}


def test_both_formats_say_what_the_answer_cost_streamed_or_not(serve: Serve) -> None:
    t = team(serve(ScriptedModel(WORDS)))
    client = t.client()

    response = client.responses.create(**ASK)
    completion = client.chat.completions.create(**CHAT)
    events: Any = list(client.responses.create(**ASK, stream=True, reasoning={"effort": "high"}))
    chunks: Any = list(client.chat.completions.create(**CHAT, stream=True))

    costs = [
        u.to_dict()["credits_used"]
        for u in (response.usage, completion.usage, events[-1].response.usage, chunks[-1].usage)
    ]
    assert costs == [1, 1, 2, 1]
    assert t.balance() == 100 - 5
    assert [row["status"] for row in t.settled(4)] == ["completed"] * 4


def test_a_picture_costs_three(serve: Serve) -> None:
    t = team(serve(ScriptedModel(WORDS)))
    picture = {"type": "input_image", "image_url": data_url(png()), "detail": "auto"}
    body = {"model": "mavera-1", "input": [{"role": "user", "content": [picture]}]}
    assert t.post(body=body).json()["usage"]["credits_used"] == 3


def test_a_test_key_pays_nothing_and_needs_no_credit(serve: Serve) -> None:
    t = team(serve(), credits=0, mode="test")
    answer = t.post()
    assert answer.status_code == 200
    assert answer.json()["usage"]["credits_used"] == 0
    assert t.settled(1)[0]["credits"] == 0


@pytest.mark.parametrize("path", ["/responses", "/chat/completions"])
def test_without_credit_nothing_is_done(serve: Serve, path: str) -> None:
    served = serve(ScriptedModel(WORDS))
    t = team(served, credits=0)
    refused = t.post(path, ASK if path == "/responses" else CHAT)
    assert refused.status_code == 402
    assert refused.json()["error"]["code"] == "credits_exhausted"
    assert refused.json()["error"]["type"] == "insufficient_credits"
    assert served.model.prompts == []


def test_a_budget_that_is_spent_is_named(serve: Serve) -> None:
    served = serve()
    assert team(served, budget=0).post().json()["error"]["code"] == "budget_exceeded"
    t = team(served, budget=2)
    assert [t.post().status_code for _ in range(3)] == [200, 200, 402]


def test_two_hundred_at_once_against_credit_for_ten_admit_ten(serve: Serve) -> None:
    t = team(serve(ScriptedModel(WORDS, delay_seconds=0.05)), credits=10)

    async def ask() -> list[int]:
        headers = {"Authorization": f"Bearer {t.key}"}
        limits = httpx.Limits(max_connections=200)
        async with httpx.AsyncClient(headers=headers, limits=limits, timeout=60, verify=False) as client:
            url = t.served.base_url + "/responses"
            answers = await asyncio.gather(*(client.post(url, json=ASK) for _ in range(200)))
            return [answer.status_code for answer in answers]

    statuses = asyncio.run(ask())
    assert sorted(set(statuses)) == [200, 402]
    assert statuses.count(200) == 10
    assert t.balance() == 0
    t.settled(10)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("fail_after", [-1, 1])
def test_a_run_that_fails_costs_nothing(serve: Serve, stream: bool, fail_after: int) -> None:
    failing = ScriptedModel(WORDS, fail_after=fail_after, failure=ServiceUnavailable("Down.", retry_after=7))
    t = team(serve(failing))
    answer = t.post(body={**ASK, "stream": stream})
    assert answer.status_code == (200 if stream and fail_after == 1 else 503)
    [noted] = t.settled(1)
    assert (noted["status"], noted["credits"], t.balance()) == ("failed", 0, 100)


def test_an_unknown_persona_costs_nothing(serve: Serve) -> None:
    t = team(serve())
    assert t.post(body={**ASK, "persona_id": "nobody"}).status_code == 404
    assert t.settled(1)[0]["credits"] == 0
    assert t.balance() == 100


@pytest.mark.parametrize("delay", [0.0, 0.4])
def test_a_client_that_leaves_pays_for_what_was_sent(serve: Serve, delay: float) -> None:
    served = serve(ScriptedModel(["word "] * 200, delay_seconds=0.05))
    t = team(served)
    headers = {"Authorization": f"Bearer {t.key}"}
    with httpx.stream(
        "POST", served.base_url + "/responses", json={**ASK, "stream": True}, headers=headers
    ) as answer:
        lines = answer.iter_lines()
        next(lines)
        time.sleep(delay)
    [noted] = t.settled(1)
    if delay:
        assert (noted["status"], noted["credits"]) == ("cancelled", 1)
        assert 1 <= noted["output_tokens"] < 100
    assert t.balance() == 100 - noted["credits"]
    assert served.model.running == 0


def test_a_client_that_leaves_before_the_first_word_pays_nothing(serve: Serve) -> None:
    t = team(serve(ScriptedModel(["word "], delay_seconds=60)))
    headers = {"Authorization": f"Bearer {t.key}"}

    with httpx.stream(
        "POST", t.served.base_url + "/responses", json={**ASK, "stream": True}, headers=headers
    ):
        pass

    assert t.settled(1)[0]["credits"] == 0
    assert t.balance() == 100


def test_a_client_that_leaves_an_unstreamed_answer_leaves_nothing_held(serve: Serve) -> None:
    served = serve(ScriptedModel(["word "] * 200, delay_seconds=0.05))
    t = team(served)
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(
            served.base_url + "/responses",
            json=ASK,
            headers={"Authorization": f"Bearer {t.key}"},
            timeout=0.5,
        )
    assert t.settled(1)[0]["status"] == "cancelled"
    assert served.model.running == 0


def test_every_answer_says_how_many_requests_are_left(serve: Serve) -> None:
    t = team(serve(ScriptedModel(WORDS)), plan="pro")
    answers = [
        t.post(),
        t.post(body={**ASK, "stream": True}),
        t.post(body={"model": "mavera-1"}),
        t.get("/personas"),
        t.get("/nowhere-to-be-found"),
    ]
    left = [answer.headers.get("x-ratelimit-remaining") for answer in answers]
    assert left == ["59", "58", "57", "56", None]
    for answer in answers[:4]:
        assert answer.headers["x-ratelimit-limit"] == answer.headers["x-ratelimit-limit-requests"] == "60"
        assert 0 < int(answer.headers["x-ratelimit-reset"]) - time.time() <= 61
        assert answer.headers["x-ratelimit-reset-requests"] in {"1m0s", "59s", "58s", "57s", "56s"}


def test_the_eleventh_request_of_a_minute_is_refused_and_told_when_to_come_back(serve: Serve) -> None:
    t = team(serve(), plan="free")
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: t.get("/models"), range(60)))
    statuses = [answer.status_code for answer in answers]
    assert (statuses.count(200), statuses.count(429)) == (10, 50)
    refused = answers[statuses.index(429)]
    assert refused.json()["error"]["code"] == "rate_limit_exceeded"
    assert refused.headers["x-ratelimit-remaining"] == "0"
    assert 55 <= int(refused.headers["retry-after"]) <= 60


def test_past_the_queue_a_request_is_sent_away_at_once(serve: Serve) -> None:
    served = serve(ScriptedModel(WORDS, delay_seconds=0.3), max_running=1, max_waiting=2)
    t = team(served)
    with ThreadPoolExecutor(8) as pool:

        def ask(_: int) -> tuple[int, float, str | None]:
            started = time.monotonic()
            answer = t.post()
            return answer.status_code, time.monotonic() - started, answer.headers.get("retry-after")

        answers = list(pool.map(ask, range(8)))
    statuses = [status for status, _, _ in answers]
    assert (statuses.count(200), statuses.count(503)) == (3, 5)
    assert all(after is not None and 1 <= int(after) <= 60 for status, _, after in answers if status == 503)
    assert max(took for status, took, _ in answers if status == 503) < 0.9
    assert t.balance() == 97
    t.settled(3)


def test_a_workspace_has_so_many_runs_at_once(serve: Serve) -> None:
    served = serve(ScriptedModel(WORDS, delay_seconds=0.2))
    t = team(served, overrides=Overrides(monthly_credits=0, concurrent_runs=2))
    with ThreadPoolExecutor(6) as pool:
        statuses = [answer.status_code for answer in pool.map(lambda _: t.post(), range(6))]
    assert (statuses.count(200), statuses.count(429)) == (2, 4)
    assert t.post().status_code == 200


@pytest.mark.parametrize(
    ("scope", "call"),
    [
        ("responses", lambda t: t.post()),
        ("responses", lambda t: t.post("/chat/completions", CHAT)),
        ("personas:read", lambda t: t.get("/personas")),
        ("usage:read", lambda t: t.get("/usage")),
        ("admin", lambda t: t.get("/api-keys")),
        ("admin", lambda t: t.get(f"/workspaces/{t.workspace_id}")),
    ],
)
def test_a_key_without_the_scope_is_told_which(serve: Serve, scope: str, call: Any) -> None:
    served = serve()
    others = tuple(other for other in SCOPES if other != scope)
    refused = call(team(served, scopes=others))
    assert refused.status_code == 403
    assert f"'{scope}'" in refused.json()["error"]["message"]
    assert refused.json()["error"]["type"] == "permission_error"
    assert call(team(served, scopes=(scope,))).status_code == 200


@pytest.mark.parametrize("stream", [False, True])
def test_the_same_idempotency_key_is_one_run_and_the_same_bytes(serve: Serve, stream: bool) -> None:
    served = serve(ScriptedModel(WORDS))
    t = team(served)
    body = {**ASK, "stream": stream}
    first = t.post(body=body, **{"Idempotency-Key": "once"})
    again = t.post(body=body, **{"Idempotency-Key": "once"})
    assert again.content == first.content
    assert again.headers["idempotent-replayed"] == "true"
    assert again.headers["content-type"] == first.headers["content-type"]
    assert len(served.model.prompts) == 1
    assert t.balance() == 99
    other = t.post(body={**body, "input": "Another?"}, **{"Idempotency-Key": "once"})
    assert other.status_code == 422


def test_an_idempotency_key_in_use_is_a_conflict_and_a_failed_one_is_free(serve: Serve) -> None:
    served = serve(ScriptedModel(WORDS, delay_seconds=0.3))
    t = team(served, credits=1)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(t.post, **{"Idempotency-Key": "k"})
        time.sleep(0.3)
        second = t.post(**{"Idempotency-Key": "k"})
        assert (second.status_code, second.headers["retry-after"]) == (409, "1")
        assert first.result().status_code == 200
    assert [t.post(**{"Idempotency-Key": "poor"}).status_code for _ in range(2)] == [402, 402]


def test_usage_adds_up_by_day_by_key_and_by_persona(serve: Serve) -> None:
    t = team(serve(ScriptedModel(WORDS)))
    persona = t.get("/personas").json()["data"][0]["id"]
    for body in (ASK, ASK, {**ASK, "persona_id": persona}):
        assert t.post(body=body).status_code == 200
    used = t.get("/usage").json()
    assert (
        used["credits"]["used"] == used["api_requests"]["credits_used"] == 100 - used["credits"]["remaining"]
    )
    assert used["api_requests"]["total_requests"] == 3
    assert used["api_requests"]["completion_tokens"] == 9
    assert [row["key_id"] for row in used["by_key"]] == [t.key_id]
    assert {row["persona_id"]: row["total_requests"] for row in used["by_persona"]} == {None: 2, persona: 1}
    assert sum(row["total_requests"] for row in used["by_day"]) == 3
    assert used["rate_limit"]["requests_per_minute"] == 1_000_000
    assert t.get("/usage?month=2020-01").json()["api_requests"]["total_requests"] == 0
    assert t.get("/usage?month=soon").status_code == 422


def test_a_team_makes_lists_and_revokes_its_own_keys_only(serve: Serve) -> None:
    served = serve()
    t, stranger = team(served, scopes=SCOPES), team(served, scopes=SCOPES)
    made = t.post("/api-keys", {"name": "CI", "scopes": ["responses"], "budget": 5})
    assert made.status_code == 201
    new = made.json()
    assert new["scopes"] == ["responses"]
    newcomer = Team(served, t.workspace_id, new["key"], new["id"])
    assert newcomer.post().status_code == 200
    assert newcomer.get("/api-keys").status_code == 403
    assert {key["id"] for key in t.get("/api-keys").json()["data"]} == {t.key_id, new["id"]}
    assert "key" not in t.get("/api-keys").json()["data"][0]
    url = f"{served.base_url}/api-keys/{new['id']}"
    assert httpx.delete(url, headers={"Authorization": f"Bearer {stranger.key}"}).status_code == 404
    assert httpx.delete(url, headers={"Authorization": f"Bearer {t.key}"}).json()["revoked_at"] is not None
    assert newcomer.post().status_code == 401
    for body, status in (
        ({"scopes": ["nope"]}, 422),
        ({"expires_at": 5}, 400),
        ({"expires_at": 10**20}, 422),
        ({"budget": -1}, 422),
        ({"nam": "x"}, 400),
    ):
        assert t.post("/api-keys", body).status_code == status


def test_a_team_names_itself_and_caps_its_spending(serve: Serve) -> None:
    served = serve()
    t, stranger = team(served, scopes=SCOPES), team(served, scopes=SCOPES)
    url, headers = f"{served.base_url}/workspaces/{t.workspace_id}", {"Authorization": f"Bearer {t.key}"}
    changed = httpx.patch(url, headers=headers, json={"name": "Research", "usage_limit": 1}).json()
    assert (changed["name"], changed["usage_limit"], changed["balance"]) == ("Research", 1, 100)
    assert [t.post().status_code for _ in range(2)] == [200, 402]
    assert httpx.patch(url, headers=headers, json={"usage_limit": None}).json()["usage_limit"] is None
    assert t.post().status_code == 200
    for members in ({"plan": "enterprise"}, {"name": "Rich", "monthly_credits": 1_000_000}):
        refused = httpx.patch(url, headers=headers, json=members)
        assert (refused.status_code, refused.json()["error"]["param"]) == (403, [*members][-1])
    assert httpx.patch(url, headers=headers, json={"plam": "pro"}).status_code == 400
    assert httpx.get(url, headers=headers).json()["name"] == "Research"
    assert stranger.get(f"/workspaces/{t.workspace_id}").status_code == 404


def test_a_key_made_before_the_pepper_goes_on_working_and_is_peppered(serve: Serve) -> None:
    served = serve(key_pepper="new", key_pepper_previous="old, older")
    t = team(served, scopes=DEFAULT_SCOPES)
    assert t.get("/models").status_code == 200
    [row] = t.rows("SELECT digest FROM api_keys WHERE id = :id", id=t.key_id)
    assert row["digest"] == Peppers("new").digest(t.key) != Peppers().digest(t.key)


def test_two_servers_on_one_store_admit_ten_together(serve: Serve, tmp_path: Path) -> None:
    one, two = serve(ScriptedModel(WORDS)), serve(ScriptedModel(WORDS))
    t = team(one, credits=10)
    other = Team(two, t.workspace_id, t.key, t.key_id)
    with ThreadPoolExecutor(20) as pool:
        statuses = [answer.status_code for answer in pool.map(lambda n: (t, other)[n % 2].post(), range(60))]
    assert statuses.count(200) == 10
    t.settled(10)
