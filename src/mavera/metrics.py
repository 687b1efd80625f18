"""
What is counted while the server runs, for Prometheus.

    Metrics   one process's numbers: plain ones, since all of them move with every request
    Counted   the same at one moment, as workers send it to their parent
    Shared    the parent's: what the living workers have last sent, and what the dead ones had

prometheus_client writes them out; its own counters, with their locks and look-ups, took a
tenth of a request.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from itertools import accumulate

import msgspec
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.utils import floatToGoString

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
# How old the numbers of another worker may be.
SEND_SECONDS = 0.1

_REQUESTS, _RUNS, _TOKENS = "mavera_requests", "mavera_runs", "mavera_tokens"
_CREDITS, _LOCAL = "mavera_credits_charged", "mavera_rate_limit_local_requests"
_IN_PROGRESS, _WAITING = "mavera_runs_in_progress", "mavera_runs_waiting"
_CONNECTIONS, _DESCRIPTORS = "mavera_connections", "mavera_descriptors_open"
_DESCRIPTORS_LOW = "mavera_descriptors_low"
_REFUSED, _TIMED_OUT = "mavera_connections_refused", "mavera_connections_timed_out"
_OWNERLESS = "mavera_reservations_without_owner"
_OLDEST = "mavera_reservation_oldest_seconds"
# What each process says of the whole database is not added up: the largest counts.
_EXPIRED = "expired"
_LARGEST = frozenset({_OLDEST, _EXPIRED})

_COUNTERS = {
    _REQUESTS: ("Requests answered.", ("method", "path", "status")),
    _RUNS: ("Runs that have ended.", ("status",)),
    _TOKENS: ("Tokens of runs.", ("kind",)),
    _CREDITS: ("Credits charged.", ()),
    _REFUSED: ("Connections refused at a cap.", ("cap",)),
    _TIMED_OUT: ("Connections closed since the client was too slow.", ("phase",)),
    _LOCAL: ("Requests that one process counted for itself, since the limits' store was away.", ()),
}
_GAUGES = {
    _IN_PROGRESS: "Runs admitted and not ended.",
    _WAITING: "Runs in the queue before the model.",
    _CONNECTIONS: "Connections of clients.",
    _DESCRIPTORS: "Open file descriptors.",
    _DESCRIPTORS_LOW: "Processes that have less than a fifth of their file descriptors left.",
    _OWNERLESS: "Reservations of credits that no living run owns.",
    _OLDEST: "Age of the oldest reservation that a run holds.",
}


@dataclass(frozen=True, slots=True)
class ModelState:
    """
    How the parts are that are looked at when the metrics are read.

    `restarts` counts how often the embedded engine has been started again.
    """

    ready: bool
    restarts: int
    database_ready: bool = True
    limits_ready: bool = True


class Counted(msgspec.Struct):
    """
    Numbers of one process, or of several added up.

    `counters` have the name and the labels' values, with line ends between them, as their key.
    `seconds` has for each path how many requests fell between two of `SECONDS`, and last the sum of all.
    `gauges` are what goes on now.
    """

    counters: dict[str, float] = {}
    seconds: dict[str, list[float]] = {}
    gauges: dict[str, float] = {}

    def added(self, other: "Counted") -> "Counted":
        return Counted(
            _added(self.counters, other.counters),
            {
                path: [a + b for a, b in zip(_row(self, path), _row(other, path), strict=True)]
                for path in {**self.seconds, **other.seconds}
            },
            {**_added(self.gauges, other.gauges), **_larger(self.gauges, other.gauges)},
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
    """One set for one server; `docs/operations.md` says what each means."""

    def __init__(self) -> None:
        self._requests: defaultdict[tuple[str, str, int], int] = defaultdict(int)
        self._seconds: defaultdict[str, list[float]] = defaultdict(_no_seconds)
        self._runs: defaultdict[str, int] = defaultdict(int)
        self._input = self._output = self._credits = 0
        self.runs_in_progress, self.runs_waiting, self.limited_locally = Number(), Number(), Number()
        self.connections, self.descriptors_open, self.descriptors_low = Number(), Number(), Number()
        self.connections_refused: defaultdict[str, int] = defaultdict(int)
        self.connections_timed_out: defaultdict[str, int] = defaultdict(int)
        self._held: dict[str, float] = {}

    def note_held(self, *, ownerless: int, expired: int, oldest_seconds: int) -> None:
        """`ownerless` counts this process's own reservations; the others are the whole database's."""
        self._held = {_OWNERLESS: ownerless, _EXPIRED: expired, _OLDEST: oldest_seconds}

    def request_ended(self, method: str, path: str, status: int, seconds: float) -> None:
        self._requests[method, path, status] += 1
        row = self._seconds[path]
        row[bisect_left(SECONDS, seconds)] += 1
        row[-1] += seconds

    def run_ended(self, status: str, *, input_tokens: int, output_tokens: int, credits: int) -> None:
        self._runs[status] += 1
        self._input += input_tokens
        self._output += output_tokens
        self._credits += credits

    def counted(self) -> Counted:
        """Return the numbers as they are now."""
        counters: dict[str, float] = {
            _key(_TOKENS, "input"): self._input,
            _key(_TOKENS, "output"): self._output,
            _CREDITS: self._credits,
            _LOCAL: self.limited_locally.value,
        }
        for (method, path, status), number in self._requests.items():
            counters[_key(_REQUESTS, method, path, str(status))] = number
        for ended, number in self._runs.items():
            counters[_key(_RUNS, ended)] = number
        for cap, number in self.connections_refused.items():
            counters[_key(_REFUSED, cap)] = number
        for phase, number in self.connections_timed_out.items():
            counters[_key(_TIMED_OUT, phase)] = number
        gauges: dict[str, float] = {
            _IN_PROGRESS: self.runs_in_progress.value,
            _WAITING: self.runs_waiting.value,
            _CONNECTIONS: self.connections.value,
            _DESCRIPTORS: self.descriptors_open.value,
            _DESCRIPTORS_LOW: self.descriptors_low.value,
            **self._held,
        }
        return Counted(counters, {path: [*row] for path, row in self._seconds.items()}, gauges)


class Shared:
    """What several workers have counted, by the numbers that their parent gives them."""

    def __init__(self) -> None:
        self._living: dict[int, Counted] = {}
        self._gone = Counted()

    def note(self, worker: int, counted: Counted) -> Counted:
        """Take the newest numbers of a worker, and return those of all."""
        self._living[worker] = counted
        total = self._gone
        for each in self._living.values():
            total = total.added(each)
        return total

    def end(self, worker: int) -> None:
        """What a worker counted stays; what it had going on ended with it."""
        counted = self._living.pop(worker, None)
        if counted is not None:
            self._gone = self._gone.added(Counted(counted.counters, counted.seconds))


def exposition(counted: Counted, model: ModelState) -> bytes:
    """Return all of it in Prometheus's text format."""
    registry = CollectorRegistry()
    registry.register(_Families(counted, model))
    return generate_latest(registry)


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
        yield self._histogram()
        gauges = counted.gauges
        gauges = {**gauges, _OWNERLESS: gauges.get(_OWNERLESS, 0) + gauges.get(_EXPIRED, 0)}
        for name, described in _GAUGES.items():
            yield GaugeMetricFamily(name, described, value=gauges.get(name, 0))
        yield GaugeMetricFamily("mavera_model_ready", "Whether the model answers.", value=self._model.ready)
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

    def _histogram(self) -> Metric:
        described = "Seconds from a request's head to the end of its answer."
        family = HistogramMetricFamily("mavera_request_seconds", described, labels=["path"])
        bounds = [*map(floatToGoString, SECONDS), "+Inf"]
        for path, (*numbers, total) in self._counted.seconds.items():
            buckets = [*zip(bounds, accumulate(numbers), strict=True)]
            family.add_metric([path], buckets=buckets, sum_value=total)
        return family


def _key(*parts: str) -> str:
    return "\n".join(parts)


def _no_seconds() -> list[float]:
    return [0.0] * (len(SECONDS) + 2)


def _row(counted: Counted, path: str) -> list[float]:
    return counted.seconds.get(path) or _no_seconds()


def _added(one: dict[str, float], other: dict[str, float]) -> dict[str, float]:
    return {key: one.get(key, 0) + other.get(key, 0) for key in {**one, **other}}


def _larger(one: dict[str, float], other: dict[str, float]) -> dict[str, float]:
    return {key: max(one.get(key, 0), other.get(key, 0)) for key in _LARGEST & {*one, *other}}
