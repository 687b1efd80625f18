"""The questions of a worker: each is one the parent knows, answered over a real pair of sockets."""

import asyncio
import socket
import sys
from contextlib import suppress
from typing import Any, ClassVar, get_args

import msgspec
import pytest

from mavera.accounts.limits.concurrency import RunningHere
from mavera.accounts.limits.windows import MemoryLimiter
from mavera.accounts.plans import PLANS
from mavera.errors import ServiceUnavailable
from mavera.link import Link, reply_to_all
from mavera.metrics import Counted, WorkerTotals
from mavera.models.embedded.process import EngineAddress
from mavera.models.model import ModelStatus
from mavera.server.linked import LinkedEngine, LinkedLimiter, LinkedRunning, exchange_counts
from mavera.server.questions import GetSettings, Question, SharedParts, WorkerReplies

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="workers share a socket, which needs POSIX")


class Engine:
    context_tokens = 1_000

    async def start(self) -> None:
        return None

    async def endpoint(self) -> EngineAddress:
        return EngineAddress("http://127.0.0.1:1", "secret")

    def status(self) -> ModelStatus:
        return ModelStatus("ready", "It runs.", restarts=2)

    def load_progress(self) -> float | None:
        return None

    async def close(self) -> None:
        return None


class NotedLink(Link):
    """A link that knows which questions went over it."""

    asked: ClassVar[set[type]] = set()

    async def fetch_reply(self, question: msgspec.Struct, kind: type[Any]) -> Any:
        self.asked.add(type(question))
        return await super().fetch_reply(question, kind)

    def send(self, question: msgspec.Struct) -> None:
        self.asked.add(type(question))
        super().send(question)


def linked(use: Any, engine: Engine | None = None) -> SharedParts:
    """Run `use` with a worker's end of a link, and return what its parent has at the end."""
    shared = SharedParts({"port": 1}, MemoryLimiter(), RunningHere(), WorkerTotals(), engine)

    async def run() -> None:
        ours, theirs = socket.socketpair()
        replies = WorkerReplies(shared, 1)
        parent = asyncio.create_task(reply_to_all(ours, Question, replies.reply))
        lost = asyncio.Event()
        await use(await NotedLink.open(theirs, lost=lost.set))
        replies.close()
        parent.cancel()
        with suppress(asyncio.CancelledError):
            await parent
        await lost.wait()

    asyncio.run(run())
    return shared


def test_every_question_is_answered_by_what_the_parent_has() -> None:
    async def use(link: Link) -> None:
        assert await link.fetch_reply(GetSettings(), dict[str, int]) == {"port": 1}
        verdict = await LinkedLimiter(link).allow("key", PLANS["free"].limits)
        assert (verdict.allowed, verdict.remaining) == (True, 9)
        running = LinkedRunning(link)
        assert [await running.begin("w", 1), await running.begin("w", 1)] == [True, False]
        running.end("w", 1)
        assert await running.begin("w", 1)
        engine = LinkedEngine(link, context_tokens=1_000)
        await engine.start()
        assert engine.status() == ModelStatus("ready", "It runs.", restarts=2)
        assert await engine.endpoint() == EngineAddress("http://127.0.0.1:1", "secret")
        await engine.close()
        counts = await exchange_counts(link)(Counted({"runs": 3.0}))
        assert counts.counters == {"runs": 3.0}

    NotedLink.asked.clear()
    linked(use, Engine())
    assert NotedLink.asked == set(get_args(Question))


def test_runs_and_counts_of_a_worker_that_died_are_settled() -> None:
    async def use(link: Link) -> None:
        assert await LinkedRunning(link).begin("w", 1)
        await exchange_counts(link)(Counted({"runs": 1.0}, gauges={"waiting": 4.0}))

    shared = linked(use)
    assert shared.running.begin_now("w", 1)
    assert shared.counts.note(2, Counted()) == Counted({"runs": 1.0})


def test_a_question_that_cannot_be_answered_is_a_refusal() -> None:
    async def use(link: Link) -> None:
        with pytest.raises(ServiceUnavailable):
            await LinkedEngine(link, context_tokens=1_000).endpoint()

    linked(use)
