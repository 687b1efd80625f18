"""GET /metrics against what was asked before it, in one process and over several."""

import asyncio
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2 as httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from mavera.app import create_app
from mavera.errors import ConfigurationError
from mavera.metrics import MORE_GAUGES
from mavera.models.scripted import ScriptedModel
from mavera.settings import Settings
from tests.conftest import Serve, Served
from tests.docs.pages import DOCS, rows, sections, ticked
from tests.support import servers
from tests.support.processes import ASK, make_key, serving
from tests.support.requirements import require_module
from tests.support.tables import make_tables
from tests.support.upstream_stub import refuses, running_upstream

TOKEN = "one-token-for-prometheus"
RESPONSES = {"method": "POST", "path": "/responses"}


def read(url: str, **headers: str) -> httpx.Response:
    return httpx.get(f"{url}/metrics", headers=headers, verify=False)


def value(text: str, name: str, **labels: str) -> float:
    """Return the sum of a metric's samples that have these labels."""
    families = text_string_to_metric_families(text)
    samples = [sample for family in families for sample in family.samples if sample.name == name]
    return sum(sample.value for sample in samples if labels.items() <= sample.labels.items())


def ask(served: Served, **members: object) -> httpx.Response:
    body = {**ASK, **members}
    return httpx.post(f"{served.base_url}/responses", json=body, headers=served.headers)


def test_requests_runs_tokens_and_credits_are_counted(serve: Serve) -> None:
    served = serve()
    usage = [ask(served).json()["usage"] for _ in range(3)]
    ask(served, stream=True)
    assert ask(served, temperature="warm").status_code == 422
    httpx.get(f"{served.url}/no/such/page")
    httpx.get(f"{served.base_url}/personas/unknown", headers=served.headers)

    told = read(served.url)
    assert told.headers["content-type"].startswith("text/plain; version=0.0.4")
    text = told.text
    assert value(text, "mavera_requests_total", status="200", **RESPONSES) == 4
    assert value(text, "mavera_requests_total", status="422", **RESPONSES) == 1
    assert value(text, "mavera_requests_total", path="other", status="404") == 1
    assert value(text, "mavera_requests_total", path="/personas/{persona_id}", status="404") == 1
    assert value(text, "mavera_request_seconds_count", path="/responses") == 5
    assert value(text, "mavera_runs_total", status="completed") == 4
    assert value(text, "mavera_tokens_total", kind="output") == 4 * usage[0]["output_tokens"]
    assert value(text, "mavera_credits_charged_total") == 4
    assert value(text, "mavera_runs_in_progress") == 0
    assert value(text, "mavera_model_ready") == 1


def test_the_page_names_every_metric_and_no_other(serve: Serve) -> None:
    served = serve()
    ask(served)
    families = {family.name: family for family in text_string_to_metric_families(read(served.url).text)}
    named = {name + ("_total" if family.type == "counter" else "") for name, family in families.items()}
    listed = {ticked(row[0])[0] for row in rows(sections(DOCS / "how-to" / "operations.md")["Metrics"])}
    assert {name for name in named if not name.endswith("_created")} | set(MORE_GAUGES) == listed


def test_who_may_read_is_what_the_setting_says(serve: Serve) -> None:
    served = serve()
    assert read(served.url).status_code == 200
    assert read(serve(metrics="off", metrics_token=TOKEN).url).status_code == 404
    # The default, to a client or to a plain proxy on this machine, which adds no header of its own.
    assert read(serve(metrics="token").url).status_code == 404
    guarded = serve(metrics="token", metrics_token=TOKEN)
    for sent in ({}, {"Authorization": f"Bearer {TOKEN}x"}, {"Authorization": TOKEN}, guarded.headers):
        refused = read(guarded.url, **sent)
        assert (refused.status_code, refused.json()["error"]["code"]) == (401, "unauthorized")
    assert read(guarded.url, Authorization=f"Bearer {TOKEN}").status_code == 200


def test_nobody_reads_unless_somebody_was_named() -> None:
    assert (Settings().metrics, Settings().metrics_token) == ("token", "")
    with pytest.raises(ConfigurationError, match="MAVERA_METRICS_TOKEN"):
        create_app(Settings(metrics_token="short", model_backend="scripted"))


def test_any_worker_answers_for_all_and_for_one_that_died(tmp_path: Path) -> None:
    make_tables(f"sqlite:///{tmp_path}/mavera.db")
    key = asyncio.run(make_key(Settings(data_dir=tmp_path), 100))
    headers = {"Authorization": f"Bearer {key}"}
    with serving({}, tmp_path, "--workers", "2") as (url, _):
        for _ in range(20):
            assert httpx.post(url, json=ASK, headers=headers, verify=False).status_code == 200
        texts = [read(url.removesuffix("/api/v1/responses")).text for _ in range(6)]
    assert {value(text, "mavera_requests_total", status="200", **RESPONSES) for text in texts} == {20}
    assert {value(text, "mavera_credits_charged_total") for text in texts} == {20}


def test_limits_that_are_counted_locally_are_seen(serve: Serve) -> None:
    require_module("redis")
    port = servers.free_port()
    served = serve(rate_limit_url=f"redis://127.0.0.1:{port}")
    for _ in range(5):
        assert ask(served).status_code == 200
    assert value(read(served.url).text, "mavera_rate_limit_local_requests_total") == 5
    with servers.running_redis(port):
        time.sleep(1.1)
        assert ask(served).status_code == 200
        assert value(read(served.url).text, "mavera_rate_limit_local_requests_total") == 5


def test_a_port_of_its_own_answers_without_a_token_and_the_api_does_not(serve: Serve) -> None:
    port = servers.free_port()
    served = serve(metrics="token", metrics_port=port)
    ask(served)
    told = httpx.get(f"http://127.0.0.1:{port}/metrics")
    assert told.status_code == 200
    assert value(told.text, "mavera_runs_total", status="completed") == 1
    assert value(told.text, "mavera_studies_waiting") == 0
    assert httpx.get(f"http://127.0.0.1:{port}/api/v1/models").status_code == 404
    assert read(served.url).status_code == 404


def test_a_worker_for_studies_has_metrics(tmp_path: Path) -> None:
    make_tables(f"sqlite:///{tmp_path}/mavera.db")
    port = servers.free_port()
    environ = {
        **os.environ,
        "MAVERA_DATA_DIR": str(tmp_path),
        "MAVERA_MODEL_BACKEND": "scripted",
        "MAVERA_METRICS_PORT": str(port),
    }
    worker = subprocess.Popen([sys.executable, "-m", "mavera", "worker"], env=environ)
    try:
        servers.until_open(port, seconds=60)
        text = httpx.get(f"http://127.0.0.1:{port}/metrics").text
    finally:
        worker.terminate()
        assert worker.wait(30) == 0
    assert value(text, "mavera_worker_look_age_seconds") < 30
    assert value(text, "mavera_worker_studies") == 0


def test_failed_calls_of_the_models_server_are_counted_by_kind(serve: Serve) -> None:
    with running_upstream() as upstream:
        upstream.script = [refuses(503)]
        served = serve(
            model_backend="upstream",
            upstream_base_url=upstream.url,
            upstream_model="stub",
            upstream_retries=0,
        )
        assert ask(served).status_code == 503
        text = read(served.url).text
    assert ask(served).status_code == 503
    assert value(text, "mavera_upstream_failures_total", kind="status_503") == 1
    assert value(read(served.url).text, "mavera_upstream_failures_total", kind="cannot_connect") == 1


def test_waits_for_the_model_are_counted(serve: Serve) -> None:
    served = serve(model=ScriptedModel(delay_seconds=0.02), max_running=1)
    with ThreadPoolExecutor() as pool:
        assert [answer.status_code for answer in pool.map(lambda _: ask(served), range(3))] == [200] * 3
    text = read(served.url).text
    assert value(text, "mavera_runs_waited_total") >= 1
    assert value(text, "mavera_run_wait_seconds_total") > 0
