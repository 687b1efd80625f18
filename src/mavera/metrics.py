"""
Count requests, runs, tokens and connections while the server runs, for Prometheus.

    Metrics       the numbers of one process, as plain attributes, because every request changes them
    Counted       a snapshot of these numbers, which workers send to their parent
    WorkerTotals  the parent's sum: the latest snapshots of living workers, and the last ones of dead workers

prometheus_client only writes the text format. Its own counters, with their locks and look-ups, took a
tenth of the time of a request.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import accumulate
from types import MappingProxyType

import msgspec
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.utils import floatToGoString

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
# The numbers of another worker may be this old.
SEND_SECONDS = 0.1

_REQUESTS, _RUNS, _TOKENS = "mavera_requests", "mavera_runs", "mavera_tokens"
_CREDITS, _LOCAL = "mavera_credits_charged", "mavera_rate_limit_local_requests"
_UPSTREAM, _WAITED, _WAIT_SECONDS = (
    "mavera_upstream_failures",
    "mavera_runs_waited",
    "mavera_run_wait_seconds",
)
_IN_PROGRESS, _WAITING = "mavera_runs_in_progress", "mavera_runs_waiting"
_CONNECTIONS, _DESCRIPTORS = "mavera_connections", "mavera_descriptors_open"
_DESCRIPTORS_LOW = "mavera_descriptors_low"
_REFUSED, _TIMED_OUT = "mavera_connections_refused", "mavera_connections_timed_out"
_OWNERLESS = "mavera_reservations_without_owner"
_OLDEST = "mavera_reservation_oldest_seconds"
_SKEW = "mavera_clock_skew_seconds"
# Each process reports these for the whole database, so the largest value counts, not the sum.
_EXPIRED = "expired"
_LARGEST = frozenset({_OLDEST, _EXPIRED, _SKEW})

_COUNTERS = {
    _REQUESTS: ("Requests answered.", ("method", "path", "status")),
    _RUNS: ("Runs that have ended.", ("status",)),
    _TOKENS: ("Tokens of runs.", ("kind",)),
    _CREDITS: ("Credits charged.", ()),
    _REFUSED: ("Connections refused at a cap.", ("cap",)),
    _TIMED_OUT: ("Connections closed because the client was too slow.", ("phase",)),
    _UPSTREAM: ("Calls of a model's server that failed.", ("kind",)),
    _WAITED: ("Runs that had to wait for the model.", ()),
    _WAIT_SECONDS: ("Seconds that these runs have waited.", ()),
    _LOCAL: ("Requests counted by one process alone because the store of rate limits was down.", ()),
}
_GAUGES = {
    _IN_PROGRESS: "Runs admitted and not ended.",
    _WAITING: "Runs in the queue before the model.",
    _CONNECTIONS: "Connections of clients.",
    _DESCRIPTORS: "Open file descriptors.",
    _DESCRIPTORS_LOW: "Processes that have less than a fifth of their file descriptors left.",
    _OWNERLESS: "Reservations of credits that no living run owns.",
    _OLDEST: "Age of the oldest reservation that a run holds.",
    _SKEW: "Difference between this machine's clock and the database's, in either direction.",
}


# Read when the metrics are read: the first four from the database, the others from a worker for studies.
MORE_GAUGES = {
    "mavera_studies_waiting": "Studies that wait for a worker.",
    "mavera_studies_running": "Studies that a worker has taken.",
    "mavera_studies_stuck": "Studies whose worker lost its lease more than a minute ago.",
    "mavera_study_oldest_wait_seconds": "Seconds for which the oldest study has waited for a worker.",
    "mavera_worker_studies": "Studies that run in this worker.",
    "mavera_worker_look_age_seconds": "Seconds since this worker last looked for studies.",
}


@dataclass(frozen=True, slots=True)
class ModelState:
    """
    The state of the parts that are checked when the metrics are read.

    `restarts` is the number of times that the embedded engine has been restarted.
    """

    ready: bool
    restarts: int
    database_ready: bool = True
    limits_ready: bool = True
    named: Mapping[str, bool] | None = None


class Counted(msgspec.Struct):
    """
    The numbers of one process, or the sum of several processes.

    A key of `counters` is the metric's name and the values of its labels, joined by line ends. `seconds`
    holds one row per path: the number of requests in each bucket of `SECONDS`, then the sum of all
    seconds. `gauges` describe the present moment.
    """

    counters: dict[str, float] = {}
    seconds: dict[str, list[float]] = {}
    gauges: dict[str, float] = {}

    def add(self, other: "Counted") -> "Counted":
        """Return the sum of both."""
        return Counted(
            _add(self.counters, other.counters),
            {
                path: [a + b for a, b in zip(_build_row(self, path), _build_row(other, path), strict=True)]
                for path in {**self.seconds, **other.seconds}
            },
            {**_add(self.gauges, other.gauges), **_take_larger(self.gauges, other.gauges)},
        )


Exchange = Callable[[Counted], Awaitable[Counted]]


class Number:
    """One number without labels."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0

    def inc(self, amount: int = 1) -> None:
        self.value += amount

    def dec(self) -> None:
        self.value -= 1


class Metrics:
    """The metrics of one process. `docs/how-to/operations.md` says what each of them means."""

    def __init__(self) -> None:
        self._requests: defaultdict[tuple[str, str, int], int] = defaultdict(int)
        self._seconds: defaultdict[str, list[float]] = defaultdict(_no_seconds)
        self._runs: defaultdict[str, int] = defaultdict(int)
        self._input = self._output = self._credits = 0
        self._upstream_failures: defaultdict[str, int] = defaultdict(int)
        self._waited, self._wait_seconds = 0, 0.0
        self.runs_in_progress, self.runs_waiting, self.limited_locally = Number(), Number(), Number()
        self.connections, self.descriptors_open, self.descriptors_low = Number(), Number(), Number()
        self.connections_refused: defaultdict[str, int] = defaultdict(int)
        self.connections_timed_out: defaultdict[str, int] = defaultdict(int)
        self._held: dict[str, float] = {}
        self._skew = 0.0

    def note_holds(self, *, ownerless: int, expired: int, oldest_seconds: int) -> None:
        """Set the gauges of reservations: `ownerless` of this process, the others of the whole database."""
        self._held = {_OWNERLESS: ownerless, _EXPIRED: expired, _OLDEST: oldest_seconds}

    def note_clock_skew(self, seconds: float) -> None:
        """Set the difference between this machine's clock and the database's. Its sign does not count."""
        self._skew = abs(seconds)

    def note_wait(self, seconds: float) -> None:
        """Note that a run had to wait for the model."""
        self._waited += 1
        self._wait_seconds += seconds

    def note_upstream_failure(self, kind: str) -> None:
        self._upstream_failures[kind] += 1

    def note_request(self, method: str, path: str, status: int, seconds: float) -> None:
        self._requests[method, path, status] += 1
        row = self._seconds[path]
        row[bisect_left(SECONDS, seconds)] += 1
        row[-1] += seconds

    def note_run(self, status: str, *, input_tokens: int, output_tokens: int, credits: int) -> None:
        self._runs[status] += 1
        self._input += input_tokens
        self._output += output_tokens
        self._credits += credits

    def take_snapshot(self) -> Counted:
        counters: dict[str, float] = {
            _build_key(_TOKENS, "input"): self._input,
            _build_key(_TOKENS, "output"): self._output,
            _CREDITS: self._credits,
            _LOCAL: self.limited_locally.value,
            _WAITED: self._waited,
            _WAIT_SECONDS: self._wait_seconds,
        }
        for kind, number in self._upstream_failures.items():
            counters[_build_key(_UPSTREAM, kind)] = number
        for (method, path, status), number in self._requests.items():
            counters[_build_key(_REQUESTS, method, path, str(status))] = number
        for ended, number in self._runs.items():
            counters[_build_key(_RUNS, ended)] = number
        for cap, number in self.connections_refused.items():
            counters[_build_key(_REFUSED, cap)] = number
        for phase, number in self.connections_timed_out.items():
            counters[_build_key(_TIMED_OUT, phase)] = number
        gauges: dict[str, float] = {
            _IN_PROGRESS: self.runs_in_progress.value,
            _WAITING: self.runs_waiting.value,
            _CONNECTIONS: self.connections.value,
            _DESCRIPTORS: self.descriptors_open.value,
            _DESCRIPTORS_LOW: self.descriptors_low.value,
            **self._held,
            _SKEW: self._skew,
        }
        return Counted(counters, {path: [*row] for path, row in self._seconds.items()}, gauges)


class WorkerTotals:
    """The sums of all workers' numbers. The parent identifies each worker by a number."""

    def __init__(self) -> None:
        self._living: dict[int, Counted] = {}
        self._gone = Counted()

    def note(self, worker: int, counted: Counted) -> Counted:
        """Store the latest numbers of a worker, and return the sum over all workers."""
        self._living[worker] = counted
        total = self._gone
        for each in self._living.values():
            total = total.add(each)
        return total

    def end(self, worker: int) -> None:
        """Keep the counters of a worker that has ended, and drop its gauges."""
        counted = self._living.pop(worker, None)
        if counted is not None:
            self._gone = self._gone.add(Counted(counted.counters, counted.seconds))


def format_metrics(
    counted: Counted, model: ModelState, more: Mapping[str, float] = MappingProxyType({})
) -> bytes:
    """Return all metrics in Prometheus's text format, with `more` of `MORE_GAUGES`."""
    registry = CollectorRegistry()
    registry.register(_Families(counted, model))
    registry.register(_Gauges(more))
    return generate_latest(registry)


def format_gauges(gauges: Mapping[str, float]) -> bytes:
    """Return only `gauges`, for a process that answers no requests."""
    registry = CollectorRegistry()
    registry.register(_Gauges(gauges))
    return generate_latest(registry)


class _Gauges:
    def __init__(self, gauges: Mapping[str, float]) -> None:
        self._gauges = gauges

    def collect(self) -> Iterable[Metric]:
        for name, value in self._gauges.items():
            yield GaugeMetricFamily(name, MORE_GAUGES[name], value=value)


class _Families:
    def __init__(self, counted: Counted, model: ModelState) -> None:
        self._counted = counted
        self._model = model

    def collect(self) -> Iterable[Metric]:
        counted = self._counted
        for name, (described, labels) in _COUNTERS.items():
            family = CounterMetricFamily(name, described, labels=labels)
            for key, value in counted.counters.items():
                named, *values = key.split("\n")
                if named == name:
                    family.add_metric(values, value)
            yield family
        yield self._build_histogram()
        gauges = counted.gauges
        gauges = {**gauges, _OWNERLESS: gauges.get(_OWNERLESS, 0) + gauges.get(_EXPIRED, 0)}
        for name, described in _GAUGES.items():
            yield GaugeMetricFamily(name, described, value=gauges.get(name, 0))
        yield GaugeMetricFamily("mavera_model_ready", "Whether the model answers.", value=self._model.ready)
        by_name = GaugeMetricFamily(
            "mavera_named_model_ready", "Whether the model of that name answers.", labels=["model"]
        )
        for name, ready in (self._model.named or {}).items():
            by_name.add_metric([name], ready)
        yield by_name
        yield GaugeMetricFamily(
            "mavera_database_ready", "Whether the database can be used.", value=self._model.database_ready
        )
        yield GaugeMetricFamily(
            "mavera_rate_limit_store_ready",
            "Whether the store of rate limits answers.",
            value=self._model.limits_ready,
        )
        yield CounterMetricFamily(
            "mavera_model_restarts",
            "Starts of the embedded engine after its first.",
            value=self._model.restarts,
        )

    def _build_histogram(self) -> Metric:
        described = "Seconds from a request's head to the end of its answer."
        family = HistogramMetricFamily("mavera_request_seconds", described, labels=["path"])
        bounds = [*map(floatToGoString, SECONDS), "+Inf"]
        for path, (*numbers, total) in self._counted.seconds.items():
            buckets = [*zip(bounds, accumulate(numbers), strict=True)]
            family.add_metric([path], buckets=buckets, sum_value=total)
        return family


def _build_key(*parts: str) -> str:
    return "\n".join(parts)


def _no_seconds() -> list[float]:
    return [0.0] * (len(SECONDS) + 2)


def _build_row(counted: Counted, path: str) -> list[float]:
    return counted.seconds.get(path) or _no_seconds()


def _add(one: dict[str, float], other: dict[str, float]) -> dict[str, float]:
    return {key: one.get(key, 0) + other.get(key, 0) for key in {**one, **other}}


def _take_larger(one: dict[str, float], other: dict[str, float]) -> dict[str, float]:
    return {key: max(one.get(key, 0), other.get(key, 0)) for key in _LARGEST & {*one, *other}}
