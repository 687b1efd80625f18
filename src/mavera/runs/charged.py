"""
Admit a run, charge it, and settle it once, however it ends. Nothing here knows HTTP.

    ChargedRuns.begin   admission → Ticket → ChargedRun
    ChargedRun          prepares the run, waits in the queue, then yields the events of the run

        completed                      the price             before `RunCompleted` is passed on
        closed after something was sent   the price of what was sent
        failed, or nothing was sent    nothing
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any, Self, assert_never

from mavera.accounts.credits.pricing import estimate_input_tokens, price, work_of
from mavera.accounts.principal import Principal
from mavera.core.analysis import Analysis
from mavera.core.events import (
    Event,
    PersonaAnswer,
    PersonasAnswered,
    ReasoningDelta,
    RefusalDelta,
    RunCompleted,
    RunFailed,
    RunPrepared,
    RunStarted,
    ServerCallEnded,
    ServerCallEvent,
    ServerCallStarted,
    TextDelta,
    TextWasReasoning,
    ToolCallDelta,
    ToolCallStarted,
)
from mavera.core.turn import Turn
from mavera.core.usage import Usage
from mavera.errors import APIError
from mavera.runs.admission import Admission, Outcome, Ticket
from mavera.runs.gate import Place
from mavera.runs.loop import Runner

Keep = Callable[[RunCompleted], Coroutine[Any, Any, None]]


class ChargedRuns:
    """Begins every turn that costs credits, whether a route, a WebSocket or a study asks for it."""

    def __init__(self, admission: Admission, runner: Runner) -> None:
        self._admission = admission
        self._runner = runner

    async def begin(self, principal: Principal, turn: Turn, *, keep: Keep | None = None) -> "ChargedRun":
        """
        Admit a turn, and return its run, which has not started yet. Close the run, even if it is never read.

        `keep` gets the end of a completed run. It returns before that end is passed on. Raises the errors of
        `Admission.admit`; then no credits are held.
        """
        ticket = await self._admission.admit(principal, turn)
        return ChargedRun(ticket, self._runner.run(turn, principal, run_id=ticket.run_id), keep)


class ChargedRun:
    """The events of a run. The last one has the price. Close the run, even if it is never read."""

    def __init__(self, ticket: Ticket, run: AsyncGenerator[Event, None], keep: Keep | None = None) -> None:
        self._ticket = ticket
        self._place = ticket.place
        # The place that has to be taken before the next event, if there is one.
        self._due: Place | None = None
        self._run = run
        self._keep = keep
        self._sent = 0
        self._tool_turns = 0
        self._server_rounds = 0
        self._analysed = False
        self._answers: tuple[PersonaAnswer, ...] = ()
        self.completed = False

    def __aiter__(self) -> Self:
        return self

    @property
    def is_queued(self) -> bool:
        """Whether another run has to end before this one begins."""
        return self._place is not None and self._place.is_waiting

    async def enter(self) -> None:
        """Return when the run leaves the queue. Reading the run waits for that too."""
        if self._place is not None and not self._place.entered:
            await self._place.turn()

    async def __anext__(self) -> Event:
        try:
            if self._due is not None:
                await self._due.turn()
                self._due = None
            event = await anext(self._run)
        except Exception as error:
            if not self.completed:
                await self._fail(error)
            raise
        match event:
            case TextDelta() | ReasoningDelta():
                self._sent += event.pieces
            case RunStarted() | TextWasReasoning():
                pass
            case RunPrepared(speakers):
                # An unknown persona or a refused image is an error at once, even if the queue is long.
                self._due = self._place
                self._ticket.speakers = speakers
            case RunCompleted():
                return await self._complete(event)
            case RefusalDelta() | ToolCallDelta():
                self._sent += 1
            case ToolCallStarted() | ServerCallStarted() | ServerCallEnded():
                self._sent += 1
                self._note_tools(event)
            case RunFailed(reason):
                await self._fail(reason)
            case PersonasAnswered(answers):
                self._answers = answers
            case _:
                assert_never(event)
        return event

    async def aclose(self) -> None:
        """Stop the run. The part that has been sent is charged."""
        try:
            await self._run.aclose()
        finally:  # settle even if that fails or is cancelled, because nothing else will
            if not self._ticket.ended:
                await self._end_cancelled()

    async def _end_cancelled(self) -> None:
        if not self._sent:
            await self._fail()
            return
        usage = Usage(estimate_input_tokens(self._ticket.turn), self._sent, estimated=True)
        for answer in self._answers:
            usage += answer.usage
        await self._ticket.end_quietly(Outcome("cancelled", usage, self._price(usage)))

    async def fail(self) -> None:
        """Stop the run because of the server. Nothing is charged."""
        try:
            await self._run.aclose()
        finally:
            await self._fail()

    async def _complete(self, event: RunCompleted) -> Event:
        self._analysed = _has_analysis(event.analysis)
        # It runs beside the charge, so that both writes share one commit.
        keeping = asyncio.create_task(self._keep(event)) if self._keep is not None else None
        try:
            credits = await self._ticket.end(Outcome("completed", event.usage, self._price(event.usage)))
        except APIError as error:
            # A run that cannot be charged fails. Its lease runs out, which refunds the credits.
            return RunFailed(error)
        finally:
            if keeping is not None:
                await asyncio.wait({keeping})
        self.completed = True
        return event.with_credits(credits)

    async def _fail(self, error: Exception | None = None) -> None:
        await self._ticket.fail(error)

    def _note_tools(self, event: ToolCallStarted | ServerCallEvent) -> None:
        """
        Count the model's rounds that made calls.

        A round may call the caller's functions and server tools.
        """
        if isinstance(event, ServerCallStarted):
            self._server_rounds = event.call.round
            self._tool_turns = max(self._tool_turns, event.call.round)
        elif isinstance(event, ToolCallStarted):
            self._tool_turns = self._server_rounds + 1

    def _price(self, usage: Usage) -> int:
        """Return the price. A mosaic costs the sum of its answers and of its synthesis."""
        if not self._answers:
            return self._price_of(usage.total_tokens, self._analysed)
        parts = [(answer.usage.total_tokens, _has_analysis(answer.analysis)) for answer in self._answers]
        rest = usage.total_tokens - sum(tokens for tokens, _ in parts)
        return sum((self._price_of(*part) for part in parts), self._price_of(rest, self._analysed))

    def _price_of(self, tokens: int, analysed: bool) -> int:
        return price(
            work_of(self._ticket.turn, total_tokens=tokens, tool_turns=self._tool_turns, analysed=analysed)
        )


def _has_analysis(analysis: Analysis | None) -> bool:
    """Whether the run has an analysis, which costs extra."""
    return analysis is not None and analysis.error is None
