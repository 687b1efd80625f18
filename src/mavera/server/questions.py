"""
The questions of a worker to its parent: one Struct for each question, and the class that replies to them.

    worker    linked.py   LinkedLimiter, LinkedRunning, LinkedEngine, exchange_counts
    parent    WorkerReplies.reply, which has a case for every member of `Question`

No request or response goes over the link.
"""

from dataclasses import dataclass
from typing import Any, assert_never

import msgspec

from mavera.accounts.limits.concurrency import RunningHere, RunsOfWorker
from mavera.accounts.limits.windows import Limiter, Verdict
from mavera.accounts.plans import Limits
from mavera.metrics import Counted, WorkerTotals
from mavera.models.embedded.engine import Engine
from mavera.models.embedded.process import EngineAddress
from mavera.models.model import ModelStatus


class _Question(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """A question. Its first element is the name of its class."""


class GetSettings(_Question, frozen=True):
    """The settings with which the parent was started, as `from_values` reads them."""


class CountRequest(_Question, frozen=True):
    """Count a request with a key. The reply is a `Verdict`."""

    key_id: str
    limits: Limits


class BeginRun(_Question, frozen=True):
    """Ask whether a workspace that may have `most` runs at once may begin one more."""

    workspace_id: str
    most: int


class EndRun(_Question, frozen=True):
    """A run that was begun has ended."""

    workspace_id: str


class GetEngineAddress(_Question, frozen=True):
    """Ask for the address of the embedded model's engine. The reply may have to wait for its start."""


class GetEngineStatus(_Question, frozen=True):
    """Ask for the status of the embedded model."""


class ExchangeCounts(_Question, frozen=True):
    """Send this worker's metrics. The reply contains those of all workers."""

    counted: Counted


Question = (
    GetSettings | CountRequest | BeginRun | EndRun | GetEngineAddress | GetEngineStatus | ExchangeCounts
)


@dataclass(frozen=True, slots=True)
class SharedParts:
    """The parts that the workers of one parent share. `engine` is None unless the embedded model answers."""

    settings: dict[str, Any]
    limiter: Limiter
    running: RunningHere
    counts: WorkerTotals
    engine: Engine | None


class WorkerReplies:
    """The parent's replies to one worker. The worker may die during runs."""

    def __init__(self, shared: SharedParts, number: int) -> None:
        self._shared = shared
        self._number = number
        self._runs = RunsOfWorker(shared.running)

    async def reply(
        self, question: Question
    ) -> dict[str, Any] | Verdict | bool | EngineAddress | ModelStatus | Counted | None:
        match question:
            case GetSettings():
                return self._shared.settings
            case CountRequest(key_id, limits):
                return await self._shared.limiter.allow(key_id, limits)
            case BeginRun(workspace_id, most):
                return self._runs.begin(workspace_id, most)
            case EndRun(workspace_id):
                self._runs.end(workspace_id)
                return None
            case GetEngineAddress():
                return await self._engine.endpoint()
            case GetEngineStatus():
                return self._engine.status()
            case ExchangeCounts(counted):
                return self._shared.counts.note(self._number, counted)
            case _:
                assert_never(question)

    def close(self) -> None:
        """End the runs of a worker that has ended. Its counts stay."""
        self._runs.close()
        self._shared.counts.end(self._number)

    @property
    def _engine(self) -> Engine:
        if self._shared.engine is None:
            raise RuntimeError("this server has no engine")
        return self._shared.engine
