"""
Who may run now, and what it costs when it is over.

    admit: scope → runs at once → place in the model's queue → credits held → Ticket
    ticket.charge(run): the run's own events, and however it ends, one settlement

        completed            the price                       on `RunCompleted`, before it is passed on
        the client left      the price of what was sent
        failed, or nothing was sent                          nothing

The request has been counted before (`auth.py`). A test key runs free: nothing is held
or charged, and the live model's queue is not its own.
"""

import time
from collections.abc import AsyncGenerator
from typing import Any, Literal, Self, assert_never

import msgspec
import structlog

from mavera.accounts.credits.holds import Credits
from mavera.accounts.credits.ledger import End, Reserve
from mavera.accounts.credits.pricing import estimate, input_tokens, price, work_of
from mavera.accounts.keys.keyring import Principal
from mavera.accounts.limits.concurrency import Running
from mavera.accounts.plans import Scope
from mavera.core.analysis import Analysis
from mavera.core.events import (
    Event,
    PersonaAnswer,
    PersonasAnswered,
    RefusalDelta,
    RunCompleted,
    RunFailed,
    RunPrepared,
    RunStarted,
    ServerCallEnded,
    ServerCallEvent,
    ServerCallStarted,
    Speaker,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
)
from mavera.core.ids import new_cuid
from mavera.core.turn import Turn
from mavera.core.usage import Usage
from mavera.errors import APIError, RateLimitExceeded
from mavera.metrics import Metrics
from mavera.runs.gate import Gate, Place
from mavera.tools.tool import Caller

log = structlog.get_logger()


class Admission:
    def __init__(self, credits: Credits, gate: Gate, metrics: Metrics, running: Running) -> None:
        self._credits = credits
        self._gate = gate
        self._metrics = metrics
        self._running = running
        self._living: dict[str, Ticket] = {}
        credits.watch(self._living.keys())

    async def look(self) -> None:
        """Count the reservations and their owners anew, for the metrics. Raises APIError."""
        await self._credits.look()

    async def admit(
        self,
        principal: Principal,
        turn: Turn,
        *,
        scope: Scope = "responses",
        credits: int | None = None,
        queue: bool = True,
    ) -> "Ticket":
        """
        Let a turn in, and hold its credits: `credits`, or what the turn will most likely cost.

        `queue` is false for what needs no model, hence no place before it.

        Raises Forbidden, RateLimitExceeded, ServiceUnavailable, CreditsExhausted or
        BudgetExceeded; then nothing is held and nothing has been done.
        """
        principal.require(scope)
        most = principal.limits.concurrent_runs
        workspace_id = principal.workspace_id
        if not await self._running.begin(workspace_id, most):
            raise RateLimitExceeded(
                f"This workspace has {most} requests running, the most its plan allows at once.",
                retry_after=1,
            )
        try:
            place = self._gate.join() if principal.mode == "live" and queue else None
        except BaseException:
            self._running.end(workspace_id, most)
            raise
        ticket = Ticket(self, principal, turn, place)
        self._living[ticket.run_id] = ticket
        self._metrics.runs_in_progress.inc()
        try:
            if principal.mode == "live":
                amount = estimate(turn) if credits is None else credits
                await self._credits.reserve(Reserve(ticket.run_id, workspace_id, principal.key_id, amount))
        except BaseException:
            self.release(ticket)
            raise
        return ticket

    def release(self, ticket: "Ticket") -> None:
        """Let others have the ticket's place."""
        self._living.pop(ticket.run_id, None)
        if ticket.place is not None:
            ticket.place.leave()
        self._metrics.runs_in_progress.dec()
        principal = ticket.principal
        self._running.end(principal.workspace_id, principal.limits.concurrent_runs)

    async def settle(self, step: End) -> int:
        """Charge a run, and return what it cost. What could not be charged is counted as failed."""
        status, charged = "failed", 0
        try:
            charged = await self._credits.end(step)
            status = step.status
        finally:
            tokens = {"input_tokens": step.input_tokens, "output_tokens": step.output_tokens}
            self._metrics.run_ended(status, credits=charged, **tokens)
        return charged


class Outcome(msgspec.Struct, frozen=True):
    """How a run ended, and what it comes to."""

    status: Literal["completed", "cancelled", "failed"]
    usage: Usage = Usage()
    credits: int = 0


class Ticket:
    """The right to one run."""

    def __init__(self, admission: Admission, principal: Principal, turn: Turn, place: Place | None) -> None:
        self.run_id = new_cuid()
        self.principal = principal
        self.turn = turn
        self.place = place
        self._admission = admission
        self._started = time.perf_counter()
        self.speakers: tuple[Speaker, ...] = ()
        self.ended = False

    @property
    def caller(self) -> Caller:
        """For whom the server's own tools run."""
        return Caller(self.principal.workspace_id, self.principal.key_id, self.run_id)

    def charge(self, run: AsyncGenerator[Event, None]) -> "ChargedRun":
        return ChargedRun(self, run)

    async def end(self, outcome: Outcome) -> int:
        """Settle and return what was charged; only the first end counts."""
        if self.ended:
            return 0
        self.ended = True
        self._admission.release(self)
        live = self.principal.mode == "live"
        step = End(
            self.run_id,
            self.principal.workspace_id,
            self.principal.key_id,
            outcome.status,
            credits=outcome.credits if live else 0,
            **self._who(),
            input_tokens=outcome.usage.input_tokens,
            output_tokens=outcome.usage.output_tokens,
            milliseconds=round((time.perf_counter() - self._started) * 1000),
            reserved=live,
        )
        return await self._admission.settle(step)

    async def fail(self) -> None:
        """Give back what is held; where the ledger cannot be reached, its lease will."""
        await self.end_quietly(Outcome("failed"))

    async def end_quietly(self, outcome: Outcome) -> None:
        try:
            await self.end(outcome)
        except APIError as error:
            log.warning("settlement_left_to_lease", run=self.run_id, reason=error.message)

    def _who(self) -> dict[str, Any]:
        """Return what the records keep of those who answered."""
        if len(self.speakers) < 2:
            # The id that the caller sent may be no persona's at all.
            persona_id, version = next(((s.id, s.version) for s in self.speakers), (None, None))
            return {"persona_id": persona_id, "persona_version": version}
        members = [{"id": s.id, "version": s.version, "weight": s.weight} for s in self.speakers]
        return {"personas": msgspec.json.encode(members).decode()}


class ChargedRun:
    """The events of a run, of which the last one says what it cost. Close it, also where it never began."""

    def __init__(self, ticket: Ticket, run: AsyncGenerator[Event, None]) -> None:
        self._ticket = ticket
        self._place = ticket.place
        self._run = run
        self._sent = 0
        self._tool_turns = 0
        self._server_rounds = 0
        self._analysed = False
        self._answers: tuple[PersonaAnswer, ...] = ()
        self.completed = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        try:
            if self._place is not None and not self._place.entered:
                await self._place.turn()
            event = await anext(self._run)
        except Exception:
            if not self.completed:
                await self._fail()
            raise
        match event:
            case TextDelta():
                self._sent += event.pieces
            case RefusalDelta() | ToolCallDelta():
                self._sent += 1
            case ToolCallStarted() | ServerCallStarted() | ServerCallEnded():
                self._sent += 1
                self._note_tools(event)
            case RunCompleted():
                return await self._complete(event)
            case RunFailed():
                await self._fail()
            case RunPrepared(speakers):
                self._ticket.speakers = speakers
            case PersonasAnswered(answers):
                self._answers = answers
            case RunStarted():
                pass
            case _:
                assert_never(event)
        return event

    async def aclose(self) -> None:
        """Stop the run; what was sent until now is charged."""
        try:
            await self._run.aclose()
        finally:  # even if that fails or is cancelled, nobody else will settle
            if not self._ticket.ended:
                await self._end_cancelled()

    async def _end_cancelled(self) -> None:
        if not self._sent:
            await self._fail()
            return
        usage = Usage(input_tokens(self._ticket.turn), self._sent, estimated=True)
        for answer in self._answers:
            usage += answer.usage
        await self._ticket.end_quietly(Outcome("cancelled", usage, self._price(usage)))

    async def fail(self) -> None:
        """Stop the run for a reason of ours; nothing is charged."""
        try:
            await self._run.aclose()
        finally:
            await self._fail()

    async def _complete(self, event: RunCompleted) -> Event:
        self._analysed = _made(event.analysis)
        try:
            credits = await self._ticket.end(Outcome("completed", event.usage, self._price(event.usage)))
        except APIError as error:
            # What cannot be charged is not an answer: the lease that runs out refunds it.
            return RunFailed(error)
        self.completed = True
        return event.charged(credits)

    async def _fail(self) -> None:
        await self._ticket.fail()

    def _note_tools(self, event: ToolCallStarted | ServerCallEvent) -> None:
        """Count the model's answers that made calls; one may call the caller's functions and the server's."""
        if isinstance(event, ServerCallStarted):
            self._server_rounds = event.call.round
            self._tool_turns = max(self._tool_turns, event.call.round)
        elif isinstance(event, ToolCallStarted):
            self._tool_turns = self._server_rounds + 1

    def _price(self, usage: Usage) -> int:
        """Return what it costs: of a mosaic the sum of its parts, each answer and what blends them."""
        if not self._answers:
            return self._price_of(usage.total_tokens, self._analysed)
        parts = [(answer.usage.total_tokens, _made(answer.analysis)) for answer in self._answers]
        rest = usage.total_tokens - sum(tokens for tokens, _ in parts)
        return sum((self._price_of(*part) for part in parts), self._price_of(rest, self._analysed))

    def _price_of(self, tokens: int, analysed: bool) -> int:
        return price(
            work_of(self._ticket.turn, total_tokens=tokens, tool_turns=self._tool_turns, analysed=analysed)
        )


def _made(analysis: Analysis | None) -> bool:
    """Whether there is an analysis to charge for."""
    return analysis is not None and analysis.error is None
