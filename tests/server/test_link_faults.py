"""A parent that answers nonsense for a moment: the worker asks again, and shows what is true then."""

import asyncio
from contextlib import suppress
from typing import Any

import msgspec
from structlog.testing import capture_logs

from mavera.api.routes.metrics import send_counts
from mavera.errors import ServiceUnavailable
from mavera.link import Link
from mavera.metrics import Counted, Metrics
from mavera.models.model import ModelStatus
from mavera.server.linked import LinkedEngine


class FaultyLink(Link):
    """Gives one answer after the other, then the last one for ever, and sets `spent`."""

    def __init__(self, *answers: Any) -> None:
        self._answers = list(answers)
        self.spent = asyncio.Event()

    async def fetch_reply(self, question: msgspec.Struct, kind: type[Any]) -> Any:
        if len(self._answers) == 1:
            self.spent.set()
            return self._answers[0]
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def test_a_worker_looks_at_the_engine_again_after_an_answer_that_it_cannot_read() -> None:
    async def look() -> ModelStatus:
        starting, ready = ModelStatus("starting", "It loads."), ModelStatus("ready", "It runs.")
        faults = ServiceUnavailable("Not now."), msgspec.ValidationError("nonsense"), OSError("broken")
        link = FaultyLink(starting, *faults, ready)
        engine = LinkedEngine(link, context_tokens=1_000)
        await engine.start()
        async with asyncio.timeout(30):
            await link.spent.wait()
        await asyncio.sleep(0)
        await engine.close()
        return engine.status()

    with capture_logs() as logged:
        assert asyncio.run(look()).state == "ready"
    assert [entry["event"] for entry in logged] == ["engine_status_unknown"] * 2


def test_a_worker_goes_on_sending_its_counts_after_one_that_failed() -> None:
    sent: list[Counted] = []

    async def send() -> None:
        again = asyncio.Event()

        async def exchange(counted: Counted) -> Counted:
            sent.append(counted)
            if len(sent) == 1:
                raise msgspec.DecodeError("nonsense")
            again.set()
            return counted

        sending = asyncio.create_task(send_counts(Metrics(), exchange))
        async with asyncio.timeout(30):
            await again.wait()
        sending.cancel()
        with suppress(asyncio.CancelledError):
            await sending

    with capture_logs() as logged:
        asyncio.run(send())
    assert sent[0] == sent[1]
    assert [entry["event"] for entry in logged] == ["counts_not_sent"]
