"""
What is counted while the server runs, for Prometheus.

One process keeps its numbers in memory. Several workers keep theirs in files of one
folder, PROMETHEUS_MULTIPROC_DIR, which `serve --workers` makes: whichever worker is asked
adds them up, those of workers that have died too.
"""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)


@dataclass(frozen=True, slots=True)
class ModelState:
    """`restarts` counts how often the embedded engine has been started again."""

    ready: bool
    restarts: int


class Metrics:
    """One set for one server; `docs/operations.md` says what each means."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        self._requests = Counter(
            "mavera_requests",
            "Requests answered.",
            ["method", "path", "status"],
            registry=registry,
        )
        self._seconds = Histogram(
            "mavera_request_seconds",
            "Seconds from a request's head to the end of its answer.",
            ["path"],
            buckets=SECONDS,
            registry=registry,
        )
        self._runs = Counter("mavera_runs", "Runs that have ended.", ["status"], registry=registry)
        tokens = Counter("mavera_tokens", "Tokens of runs.", ["kind"], registry=registry)
        self._input, self._output = tokens.labels("input"), tokens.labels("output")
        self._credits = Counter("mavera_credits_charged", "Credits charged.", registry=registry)
        self.runs_in_progress = Gauge(
            "mavera_runs_in_progress",
            "Runs admitted and not ended.",
            multiprocess_mode="livesum",
            registry=registry,
        )
        self.runs_waiting = Gauge(
            "mavera_runs_waiting",
            "Runs in the queue before the model.",
            multiprocess_mode="livesum",
            registry=registry,
        )
        self.limited_locally = Counter(
            "mavera_rate_limit_local_requests",
            "Requests that one process counted for itself, since the limits' store was away.",
            registry=registry,
        )
        # To look a child up by its labels costs as much as the rest of counting.
        self._children: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        self._ended: dict[str, Counter] = {}

    def request_ended(self, method: str, path: str, status: int, seconds: float) -> None:
        children = self._children.get((method, path, status))
        if children is None:
            children = (self._requests.labels(method, path, str(status)), self._seconds.labels(path))
            self._children[method, path, status] = children
        children[0].inc()
        children[1].observe(seconds)

    def run_ended(self, status: str, *, input_tokens: int, output_tokens: int, credits: int) -> None:
        ended = self._ended.get(status)
        if ended is None:
            ended = self._ended[status] = self._runs.labels(status)
        ended.inc()
        self._input.inc(input_tokens)
        self._output.inc(output_tokens)
        self._credits.inc(credits)

    def exposition(self, model: Callable[[], ModelState]) -> bytes:
        """Return all of it, of all workers, in Prometheus's text format."""
        registry = self._registry
        if os.environ.get(FOLDER_VARIABLE):
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        described = CollectorRegistry()
        described.register(_ModelCollector(model))
        return generate_latest(registry) + generate_latest(described)


class _ModelCollector:
    """Asks at the time of reading: there is one model, however many workers ask it."""

    def __init__(self, model: Callable[[], ModelState]) -> None:
        self._model = model

    def collect(self) -> Iterable[Metric]:
        state = self._model()
        yield GaugeMetricFamily("mavera_model_ready", "Whether the model answers.", value=state.ready)
        yield CounterMetricFamily(
            "mavera_model_restarts", "Starts of the embedded engine after its first.", value=state.restarts
        )
