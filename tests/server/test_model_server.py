"""`mavera models serve`: the embedded engine as an upstream with a key, health, metrics and drain."""

import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx2 as httpx
import pytest
import uvicorn

from mavera.api.http.drain import Drain
from mavera.errors import ConfigurationError
from mavera.models.embedded.process import EngineAddress
from mavera.models.model import ModelStatus
from mavera.server.model_server import check_key, create_model_app
from mavera.settings import Settings
from tests.conftest import running_server
from tests.support.upstream_stub import SAID, Upstream, breaks_off, running_upstream, text

KEY = "k" * 32


class Engine:
    """Stands for the embedded engine: an upstream that answers."""

    context_tokens = 8192

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self.state = ModelStatus("ready", "ready")

    async def start(self) -> None:
        pass

    async def close(self) -> None:
        pass

    async def endpoint(self) -> EngineAddress:
        return EngineAddress(self._upstream.url, "the-engines-own-key")

    def status(self) -> ModelStatus:
        return self.state

    def load_progress(self) -> float | None:
        return None


@dataclass
class Stage:
    url: str
    engine: Engine
    upstream: Upstream
    drain: Drain

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {KEY}"}


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with running_upstream() as upstream:
        engine, drain = Engine(upstream), Drain()
        settings = Settings(data_dir=tmp_path, model="qwen", engine_key=KEY)
        app = create_model_app(settings, engine, drain)
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False))
        with socket.create_server(("127.0.0.1", 0)) as listener:
            thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
            thread.start()
            while not server.started:
                thread.join(0.01)
            yield Stage(f"http://127.0.0.1:{listener.getsockname()[1]}", engine, upstream, drain)
            server.should_exit = True
            thread.join(30)


def test_a_server_of_personas_answers_with_it(stage: Stage, tmp_path: Path) -> None:
    with running_server(
        tmp_path / "front",
        model_backend="upstream",
        upstream_base_url=f"{stage.url}/v1",
        upstream_api_key=KEY,
        upstream_model="qwen",
    ) as served:
        body = {"model": "mavera-1", "input": "Would you pay?"}
        answer = httpx.post(f"{served.base_url}/responses", json=body, headers=served.headers)

    assert answer.status_code == 200
    assert SAID in answer.text
    assert stage.upstream.keys == ["Bearer the-engines-own-key"]


@pytest.mark.parametrize(
    "headers", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {KEY}"}]
)
def test_nobody_uses_the_engine_without_the_key(stage: Stage, headers: dict[str, str]) -> None:
    asked = httpx.post(f"{stage.url}/v1/chat/completions", json={"messages": []}, headers=headers)
    listed = httpx.get(f"{stage.url}/v1/models", headers=headers)

    assert (asked.status_code, listed.status_code) == (401, 401)
    assert stage.upstream.asked == []


def test_its_list_names_the_model(stage: Stage) -> None:
    listed = httpx.get(f"{stage.url}/v1/models", headers=stage.headers).json()

    assert [one["id"] for one in listed["data"]] == ["qwen"]


def test_health_says_whether_the_engine_answers_and_the_server_stays(stage: Stage) -> None:
    assert httpx.get(f"{stage.url}/health").status_code == 200
    stage.engine.state = ModelStatus("starting", "It loads.")
    assert httpx.get(f"{stage.url}/health").status_code == 503
    stage.engine.state = ModelStatus("ready", "ready")
    stage.drain.begin()
    assert httpx.get(f"{stage.url}/health").status_code == 503


def test_an_answer_that_the_engine_cuts_ends_without_a_finish_reason(stage: Stage) -> None:
    stage.upstream.script = [breaks_off(text("I would "))]
    body = {"messages": [], "stream": True}

    answer = httpx.post(f"{stage.url}/v1/chat/completions", json=body, headers=stage.headers)

    assert "I would" in answer.text
    assert '"stop"' not in answer.text
    metrics = httpx.get(f"{stage.url}/metrics").text
    assert 'mavera_engine_requests_total{status="200"} 1.0' in metrics
    assert "mavera_engine_requests_in_progress 0.0" in metrics
    assert "mavera_engine_ready 1.0" in metrics


def test_an_address_that_others_reach_needs_a_key(tmp_path: Path) -> None:
    check_key(Settings(data_dir=tmp_path))
    check_key(Settings(data_dir=tmp_path, host="10.0.0.1", engine_key=KEY))
    with pytest.raises(ConfigurationError, match="MAVERA_ENGINE_KEY="):
        check_key(Settings(data_dir=tmp_path, host="10.0.0.1"))
    with pytest.raises(ConfigurationError, match="at least 16"):
        check_key(Settings(data_dir=tmp_path, engine_key="short"))
