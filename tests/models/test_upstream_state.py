"""The state of an upstream in /health/ready and /metrics: what the latest request showed, and no more."""

import re
from collections.abc import Iterator
from typing import Any

import httpx2 as httpx
import pytest

from tests.conftest import running_server
from tests.support.upstream_stage import CHAT, RESPONSES, Stage
from tests.support.upstream_stub import (
    Behaviour,
    answer,
    breaks_off,
    hangs_up,
    holds_its_headers,
    is_silent,
    refuses,
    running_upstream,
    text,
)

SECRET = "sk-upstream-secret-7d1f"


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with (
        running_upstream() as upstream,
        running_server(
            tmp_path_factory.mktemp("data"),
            model_backend="upstream",
            upstream_base_url=upstream.url,
            upstream_api_key=SECRET,
            upstream_model="stub",
            upstream_first_byte_timeout_seconds=0.5,
            upstream_idle_timeout_seconds=0.5,
            upstream_retries=0,
            metrics="all",
        ) as served,
    ):
        yield Stage(served, upstream)


def ask(stage: Stage, *script: Behaviour, path: str = RESPONSES) -> int:
    stage.upstream.asked.clear()
    stage.upstream.script = list(script)
    return stage.ask(path, stream=False).status_code


def state(stage: Stage) -> tuple[dict[str, Any], float]:
    """Return the model's state in the body, and the gauge; the server has to be ready."""
    body = httpx.get(f"{stage.served.url}/health/ready", timeout=30)
    assert (body.status_code, body.json()["status"]) == (200, "ready")
    gauge = re.search(
        r"^mavera_model_ready (\S+)$", httpx.get(f"{stage.served.url}/metrics").text, re.MULTILINE
    )
    assert gauge is not None
    return body.json()["model"], float(gauge[1])


FAULTS: dict[str, tuple[Behaviour, str]] = {
    "500": (refuses(500), "answered 500"),
    "503": (refuses(503, Retry_After="7"), "answered 503"),
    "a refused key": (refuses(401, {"error": {"message": f"bad key {SECRET}"}}), "MAVERA_UPSTREAM_API_KEY"),
    "an unknown model": (refuses(404), "MAVERA_UPSTREAM_MODEL"),
    "no header": (hangs_up, "broke"),
    "headers that do not come": (holds_its_headers, "in time"),
    "a break": (breaks_off(text("It began.")), "broke"),
    "silence in an answer": (is_silent(text("It began.")), "in time"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_failed_request_shows_until_one_is_answered(stage: Stage, fault: str) -> None:
    behaviour, words = FAULTS[fault]
    assert ask(stage, answer()) == 200
    assert state(stage)[0]["state"] == "ready"

    assert ask(stage, behaviour) >= 500

    model, gauge = state(stage)
    assert (model["state"], gauge) == ("unavailable", 0.0)
    assert words in model["detail"]
    assert SECRET not in model["detail"]
    assert len(stage.upstream.asked) == 1  # nothing was asked to find out
    assert ask(stage, answer(), path=CHAT) == 200
    model, gauge = state(stage)
    assert (model["state"], gauge) == ("ready", 1.0)


@pytest.mark.parametrize("status", [400, 413, 422, 429])
def test_a_refusal_of_one_request_is_no_fault_of_the_upstream(stage: Stage, status: int) -> None:
    assert ask(stage, answer()) == 200
    assert ask(stage, refuses(status)) >= 400
    assert state(stage)[0]["state"] == "ready"


def test_an_upstream_that_nobody_listens_for_is_unavailable_once_it_was_asked(tmp_path: Any) -> None:
    with running_server(
        tmp_path,
        model_backend="upstream",
        upstream_base_url="http://127.0.0.1:9/v1",
        upstream_model="stub",
        upstream_retries=0,
        metrics="all",
    ) as served:
        silent = Stage(served, None)  # type: ignore[arg-type]
        assert state(silent)[0]["state"] == "ready"
        assert silent.ask(RESPONSES, stream=False).status_code == 503
        model, gauge = state(silent)
        assert (model["state"], gauge) == ("unavailable", 0.0)
        assert "could not be reached" in model["detail"]
