"""One trace leads from the caller's request to the model's server, without content unless asked for."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from mavera.app import create_app
from mavera.errors import ConfigurationError
from mavera.settings import Settings
from mavera.telemetry import SCHEMA_URL, Telemetry, open_telemetry
from tests import conftest
from tests.conftest import Serve
from tests.support.processes import ASK
from tests.support.requirements import require_module
from tests.support.upstream_stub import answer, refuses, running_upstream

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}


class Collected:
    """Telemetry that keeps what it would export."""

    def __init__(self, *, captures_content: bool = False) -> None:
        sdk = require_module("opentelemetry.sdk.trace")
        export = require_module("opentelemetry.sdk.trace.export")
        memory = require_module("opentelemetry.sdk.trace.export.in_memory_span_exporter")
        metrics = require_module("opentelemetry.sdk.metrics")
        metrics_export = require_module("opentelemetry.sdk.metrics.export")
        self.exporter = memory.InMemorySpanExporter()
        self.reader = metrics_export.InMemoryMetricReader()
        tracers = sdk.TracerProvider()
        tracers.add_span_processor(export.SimpleSpanProcessor(self.exporter))
        meters = metrics.MeterProvider([self.reader])
        self.telemetry = Telemetry.of(tracers, meters, captures_content=captures_content)

    @property
    def spans(self) -> list[Any]:
        return sorted(self.exporter.get_finished_spans(), key=lambda span: span.start_time)

    def points(self, name: str) -> list[Any]:
        data = self.reader.get_metrics_data()
        scopes = data.resource_metrics[0].scope_metrics
        assert scopes[0].schema_url == SCHEMA_URL
        return [
            point
            for scope in scopes
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        ]


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> Collected:
    return install(monkeypatch, Collected())


def install(monkeypatch: pytest.MonkeyPatch, collected: Collected) -> Collected:
    """Give the servers of this test the telemetry, as a caller of `create_app` can."""

    def create(settings: Settings, **parts: Any) -> Any:
        return create_app(settings, **parts, telemetry=collected.telemetry)

    monkeypatch.setattr(conftest, "create_app", create)
    return collected


def ask_upstream(serve: Serve, behaviour: Any, *, stream: bool = False) -> tuple[httpx.Response, Any]:
    with running_upstream() as upstream:
        upstream.script = [behaviour]
        served = serve(
            model_backend="upstream",
            upstream_base_url=upstream.url,
            upstream_model="stub",
            upstream_retries=0,
        )
        answered = httpx.post(
            f"{served.base_url}/responses",
            json={**ASK, "stream": stream},
            headers={**served.headers, **PARENT},
        )
        return answered, upstream


@pytest.mark.parametrize("stream", [False, True])
def test_one_trace_leads_from_the_caller_to_the_model_and_back(
    serve: Serve, traced: Collected, stream: bool
) -> None:
    answered, upstream = ask_upstream(serve, answer(), stream=stream)
    assert answered.status_code == 200
    request, call = traced.spans
    assert request.name == "POST /api/v1/responses"
    assert request.kind.name == "SERVER"
    assert f"{request.context.trace_id:032x}" == TRACE
    assert f"{request.parent.span_id:016x}" == "b7ad6b7169203331"
    assert request.attributes["http.response.status_code"] == 200
    assert request.attributes["mavera.request_id"] == answered.headers["x-request-id"]
    assert call.name == "chat stub"
    assert call.kind.name == "CLIENT"
    assert call.parent.span_id == request.context.span_id
    assert call.attributes["gen_ai.operation.name"] == "chat"
    assert call.attributes["gen_ai.request.model"] == "stub"
    assert call.attributes["gen_ai.usage.output_tokens"] > 0
    assert len(call.attributes["gen_ai.response.finish_reasons"]) == 1
    sent = f"00-{TRACE}-{call.context.span_id:016x}-01"
    assert upstream.headers[-1]["traceparent"] == sent
    [point] = traced.points("gen_ai.client.operation.duration")
    assert point.count == 1
    assert {
        point.attributes["gen_ai.token.type"] for point in traced.points("gen_ai.client.token.usage")
    } == {
        "input",
        "output",
    }


def test_no_span_contains_a_question_or_an_answer(serve: Serve, traced: Collected) -> None:
    ask_upstream(serve, answer())
    texts = "".join(str(dict(span.attributes)) + span.name for span in traced.spans)
    assert ASK["input"] not in texts
    assert "messages" not in texts


def test_spans_contain_them_if_the_operator_asks_for_it(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    collected = install(monkeypatch, Collected(captures_content=True))
    ask_upstream(serve, answer())
    call = collected.spans[1]
    assert ASK["input"] in call.attributes["gen_ai.input.messages"]
    assert '"role": "assistant"' in call.attributes["gen_ai.output.messages"]


def test_a_failure_is_the_error_of_the_span(serve: Serve, traced: Collected) -> None:
    answered, _ = ask_upstream(serve, refuses(500))
    assert answered.status_code == 503
    request, call = traced.spans
    assert call.attributes["error.type"] == "service_unavailable"
    assert call.status.status_code.name == "ERROR"
    assert request.status.status_code.name == "ERROR"
    [point] = traced.points("gen_ai.client.operation.duration")
    assert point.attributes["error.type"] == "service_unavailable"


def test_without_the_setting_its_libraries_are_not_imported(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from mavera.app import create_app;"
        f"from mavera.settings import Settings; create_app(Settings(data_dir=Path({str(tmp_path)!r})));"
        "sys.exit(any(name.startswith('opentelemetry') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_setting_opens_an_exporter_and_needs_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_module("opentelemetry.exporter.otlp.proto.http.trace_exporter")
    assert open_telemetry(Settings(data_dir=tmp_path)) is None
    telemetry = open_telemetry(Settings(data_dir=tmp_path, otel="on"))
    assert telemetry is not None
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(ConfigurationError, match="extra 'otel'"):
        open_telemetry(Settings(data_dir=tmp_path, otel="on"))
