"""Several models, by name: a request picks one, and usage says what its server charged."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from openai import OpenAI
from websockets.sync.client import connect

from tests.conftest import Served, running_server
from tests.support.command import Mavera
from tests.support.dialect_stubs import speaks
from tests.support.upstream_stub import DONE, FINISH, Upstream, running_upstream, sends, text

KEY = "sk-named-model-3f9a"
FILE = """
[models.reasoner]
base_url = "{url}"
key_variable = "REASONER_KEY"
model = "vendor/reasoner"
context_tokens = 128000
sampling = {{ temperature = 0.7 }}
price_in = 2.0
price_out = 8.0
currency = "USD"

[models.steady]
base_url = "{url}"
sampling = {{ temperature = 0.7 }}

[models.away]
base_url = "http://127.0.0.1:1/v1"
price_in = 1.0
price_out = 1.0
currency = "EUR"
"""


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Served, Upstream]]:
    data_dir = tmp_path_factory.mktemp("data")
    with pytest.MonkeyPatch.context() as patch, running_upstream() as upstream:
        patch.setenv("REASONER_KEY", KEY)
        upstream.script = [speaks("openai", "By the reasoner.")]
        (data_dir / "models.toml").write_text(FILE.format(url=upstream.url), encoding="utf-8")
        with running_server(data_dir, model_backend="scripted") as served:
            yield served, upstream


def ask(served: Served, path: str, model: str, **more: Any) -> httpx.Response:
    body = {"model": model, **more}
    body |= {"messages": [{"role": "user", "content": "Hm?"}]} if "chat" in path else {"input": "Hm?"}
    return httpx.post(served.base_url + path, json=body, headers=served.headers, timeout=30)


@pytest.mark.parametrize("path", ["/responses", "/chat/completions"])
def test_a_request_picks_its_model_by_name(stage: tuple[Served, Upstream], path: str) -> None:
    served, upstream = stage

    answer = ask(served, path, "reasoner")

    assert answer.status_code == 200
    assert "By the reasoner." in answer.text
    assert answer.json()["model"] == "reasoner"
    assert upstream.asked[-1]["model"] == "vendor/reasoner"
    assert upstream.keys[-1] == f"Bearer {KEY}"
    assert "By the reasoner." not in ask(served, path, "mavera-1").text


def test_the_response_repeats_the_sampling_that_was_used(
    stage: tuple[Served, Upstream], monkeypatch: pytest.MonkeyPatch
) -> None:
    served, upstream = stage
    monkeypatch.setattr(upstream, "script", [sends(text("Steady."), FINISH, DONE)])

    recommended = ask(served, "/responses", "steady").json()
    assert upstream.asked[-1]["temperature"] == 0.7
    chosen = ask(served, "/responses", "steady", temperature=1).json()
    assert upstream.asked[-1]["temperature"] == 1
    nothing_sent = ask(served, "/responses", "mavera-1").json()
    streamed = ask(served, "/responses", "steady", stream=True)

    assert [body["temperature"] for body in (recommended, chosen, nothing_sent)] == [0.7, 1, 1]
    assert recommended["top_p"] == 1, "no top_p was sent"
    assert streamed.text.count('"temperature":0.7') == 3, "in created, in_progress and completed"


def test_a_model_is_picked_over_a_websocket_too(stage: tuple[Served, Upstream]) -> None:
    served, _ = stage
    url = served.base_url.replace("http", "ws", 1) + "/responses"
    with connect(url, additional_headers=served.headers) as connection:
        types = []
        for model in ("reasoner", "nobody"):
            connection.send(json.dumps({"type": "response.create", "model": model, "input": "Hm?"}))
            while (event := json.loads(connection.recv(timeout=20)))["type"] not in (
                "response.completed",
                "error",
            ):
                pass
            types.append(event)
    assert "By the reasoner." in json.dumps(types[0])
    assert types[1]["error"]["param"] == "model"


@pytest.mark.parametrize("path", ["/responses", "/chat/completions", "/responses/compact"])
def test_an_unknown_name_is_a_422_that_lists_the_known_ones(
    stage: tuple[Served, Upstream], path: str
) -> None:
    served, _ = stage

    answer = ask(served, path, "gpt-5")

    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (422, "validation_error", "model")
    assert "Known models: mavera-1, reasoner, steady, away." in error["message"]


def test_models_are_listed_under_their_names(stage: tuple[Served, Upstream]) -> None:
    served, _ = stage
    client = OpenAI(base_url=served.base_url, api_key=served.key)

    assert [model.id for model in client.models.list()] == ["mavera-1", "reasoner", "steady", "away"]
    found = client.models.retrieve("reasoner")
    assert (found.id, found.object, found.model_extra) == ("reasoner", "model", {"context_tokens": 128000})


def test_a_test_key_is_answered_by_the_script_whatever_model_it_names(
    stage: tuple[Served, Upstream],
) -> None:
    served, upstream = stage
    asked = len(upstream.asked)
    answer = httpx.post(
        f"{served.base_url}/responses",
        json={"model": "reasoner", "input": "Hm?"},
        headers={"Authorization": f"Bearer {served.test_key}"},
    )

    assert "scripted answer" in answer.text
    assert len(upstream.asked) == asked


def test_a_persona_is_drafted_by_the_model_that_is_named(stage: tuple[Served, Upstream]) -> None:
    served, upstream = stage
    body = {"pipeline_type": "north_star", "name": "Beekeepers", "description": "Hobby beekeepers"}

    httpx.post(
        f"{served.base_url}/personas", json={**body, "model": "reasoner"}, headers=served.headers, timeout=30
    )

    assert upstream.asked[-1]["model"] == "vendor/reasoner"
    assert "Beekeepers" in json.dumps(upstream.asked[-1]["messages"])
    unknown = httpx.post(
        f"{served.base_url}/personas", json={**body, "model": "nobody"}, headers=served.headers
    )
    assert (unknown.status_code, unknown.json()["error"]["param"]) == (422, "model")


def test_usage_adds_up_what_the_servers_charged(stage: tuple[Served, Upstream]) -> None:
    served, _ = stage
    usage = f"{served.base_url}/usage"
    before = httpx.get(usage, headers=served.headers).json()["upstream_costs"]

    ask(served, "/responses", "reasoner")
    ask(served, "/responses", "away")
    ask(served, "/responses", "mavera-1")

    after = httpx.get(usage, headers=served.headers).json()["upstream_costs"]
    assert [cost["currency"] for cost in after] == ["USD"], "a run that failed has no known cost"
    spent = after[0]["amount"] - sum(cost["amount"] for cost in before)
    assert spent == pytest.approx((5 * 2.0 + 3 * 8.0) / 1e6)  # the stub counts 5 tokens in and 3 out


def test_each_model_has_its_state(stage: tuple[Served, Upstream]) -> None:
    served, _ = stage
    ask(served, "/responses", "reasoner")
    ask(served, "/responses", "away")

    ready = httpx.get(f"{served.base_url.removesuffix('/api/v1')}/health/ready")

    assert ready.status_code == 200, "a model that is elsewhere makes no server unready"
    states = {name: model["state"] for name, model in ready.json()["models"].items()}
    assert states == {"mavera-1": "ready", "reasoner": "ready", "steady": "ready", "away": "unavailable"}


def test_the_commands_know_the_names(tmp_path: Path, mavera: Mavera) -> None:
    with running_upstream() as upstream:
        upstream.script = [speaks("openai", "By the reasoner.")]
        (tmp_path / "models.toml").write_text(FILE.format(url=upstream.url), encoding="utf-8")
        environment = {"MAVERA_DATA_DIR": str(tmp_path), "REASONER_KEY": KEY}

        listed = mavera("models", "list", "--json", **environment)
        checked = mavera("models", "check", "--json", code=1, **environment)
        asked = mavera("ask", "Hm?", "--model", "reasoner", "--json", **environment)
        unknown = mavera("ask", "Hm?", "--model", "nobody", code=1, **environment)

    rows = {row["name"]: row for row in json.loads(listed.stdout) if row["kind"] == "upstream"}
    assert rows["reasoner"]["model"] == "vendor/reasoner"
    assert rows["reasoner"]["currency"] == "USD"
    findings = {found["what"]: found["ok"] for found in json.loads(checked.stdout)}
    assert findings == {"reasoner": True, "steady": True, "away": False}
    assert json.loads(asked.stdout)["text"] == "By the reasoner."
    assert "Known models: mavera-1, reasoner, steady, away." in unknown.stderr
    assert KEY not in listed.stdout + checked.stdout + asked.stdout + checked.stderr + asked.stderr
