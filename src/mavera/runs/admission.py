"""
Admit runs: check their rights and limits, and hold their credits.

    admit: scope → runs at once → place in the model's queue → credits held → Ticket
    ticket.end(outcome): the place is released, and the run is charged once

The request has been counted before (`accounts/limits/windows.py`). Runs of test keys are free: no credits are
held or charged, and they do not enter the queue of the live model.
"""

import time
from functools import lru_cache
from typing import Any, Literal

import msgspec
import structlog

from mavera.accounts.credits.holds import Credits
from mavera.accounts.credits.ledger import End, Reserve
from mavera.accounts.credits.pricing import estimate_credits
from mavera.accounts.limits.concurrency import Running
from mavera.accounts.plans import Scope
from mavera.accounts.principal import Principal
from mavera.core.current_request import CURRENT
from mavera.core.events import Speaker
from mavera.core.ids import new_cuid
from mavera.core.text import format_count
from mavera.core.turn import Turn
from mavera.core.usage import Usage
from mavera.errors import APIError, RateLimitExceeded
from mavera.metrics import Metrics
from mavera.models.named import SCRIPTED, NamedModel, NamedModels
from mavera.runs.gate import Gate, Place
from mavera.storage.sealing import Secrets

log = structlog.get_logger()

# The purpose of the digests of end users. `storage/sealing.py` separates purposes.
END_USER = "end user"
_WORKSPACES_AT_HAND = 1024


class Admission:
    """`named_models` answer live keys. `secrets` are for digests of end users."""

    def __init__(
        self,
        credits: Credits,
        gate: Gate,
        metrics: Metrics,
        running: Running,
        *,
        named_models: NamedModels,
        secrets: Secrets,
    ) -> None:
        self._credits = credits
        self._named_models = named_models
        self._keys_of = lru_cache(_WORKSPACES_AT_HAND)(secrets.keys_of)
        self._gate = gate
        self._metrics = metrics
        self._running = running
        self._living: dict[str, Ticket] = {}
        credits.watch(self._living.keys())

    async def look(self) -> None:
        """Count the reservations and their owners anew, for the metrics. Raises APIError."""
        await self._credits.look()

    async def write_due_charges(self) -> None:
        """Write the charges of finished runs, so that whoever reads the usage finds them."""
        await self._credits.write_due()

    async def admit(
        self,
        principal: Principal,
        turn: Turn,
        *,
        scope: Scope = "responses",
        credits: int | None = None,
        needs_model: bool = True,
    ) -> "Ticket":
        """
        Admit a turn, and hold its credits: `credits`, or the estimated price of the turn.

        Work that needs no model takes no place in its queue.

        Raises Forbidden, RateLimitExceeded, ServiceUnavailable, CreditsExhausted or
        BudgetExceeded. If it raises, nothing is held.
        """
        principal.require(scope)
        most = principal.limits.concurrent_runs
        workspace_id = principal.workspace_id
        if not await self._running.begin(workspace_id, most):
            raise RateLimitExceeded(
                f"This workspace has {format_count(most or 0, 'request')} running, the most "
                "its plan allows at once. Retry when one has ended.",
                retry_after=1,
            )
        try:
            place = self._gate.join() if principal.mode == "live" and needs_model else None
        except BaseException:
            self._running.end(workspace_id, most)
            raise
        ticket = Ticket(self, principal, turn, place)
        if needs_model:
            ticket.model = self._named_models[turn.model] if principal.mode == "live" else SCRIPTED
        self._living[ticket.run_id] = ticket
        self._metrics.runs_in_progress.inc()
        try:
            if principal.mode == "live":
                amount = estimate_credits(turn) if credits is None else credits
                await self._credits.reserve(Reserve(ticket.run_id, workspace_id, principal.key_id, amount))
        except BaseException:
            self.release(ticket)
            raise
        if (request := CURRENT.get()) is not None:
            request.is_admitted = True
        return ticket

    def release(self, ticket: "Ticket") -> None:
        """Release the ticket's place for other runs."""
        self._living.pop(ticket.run_id, None)
        if ticket.place is not None:
            ticket.place.leave()
        self._metrics.runs_in_progress.dec()
        principal = ticket.principal
        self._running.end(principal.workspace_id, principal.limits.concurrent_runs)

    def digest_end_user(self, workspace_id: str, end_user: str) -> str:
        """Return the digest of a person's name for the records. Guessing the name needs the secret."""
        return self._keys_of(workspace_id)[0].digest(END_USER, end_user)

    async def settle(self, step: End) -> int:
        """Charge a run, and return its price. A run that could not be charged is counted as failed."""
        status, charged = "failed", 0
        try:
            charged = await self._credits.end(step)
            status = step.status
        finally:
            tokens = {"input_tokens": step.input_tokens, "output_tokens": step.output_tokens}
            self._metrics.note_run(status, credits=charged, **tokens)
        return charged


def _name_error(error: Exception | None) -> str | None:
    if error is None:
        return None
    return error.code if isinstance(error, APIError) else APIError.code


class Outcome(msgspec.Struct, frozen=True):
    """The end of a run, its usage and its price."""

    status: Literal["completed", "cancelled", "failed"]
    usage: Usage = Usage()
    credits: int = 0
    error_code: str | None = None


class Ticket:
    """The right to one run."""

    def __init__(self, admission: Admission, principal: Principal, turn: Turn, place: Place | None) -> None:
        self.run_id = new_cuid()
        request = CURRENT.get()
        self.request_id = request.id if request is not None else None
        self.principal = principal
        self.turn = turn
        self.place = place
        self.model: NamedModel | None = None
        self._admission = admission
        self._started = time.perf_counter()
        self.speakers: tuple[Speaker, ...] = ()
        self.ended = False

    async def end(self, outcome: Outcome) -> int:
        """Settle the run and return the charge. Only the first end counts."""
        if self.ended:
            return 0
        self.ended = True
        self._admission.release(self)
        live = self.principal.mode == "live"
        model = self.model
        cost = model.cost_nanos(outcome.usage) if model is not None and outcome.status != "failed" else None
        step = End(
            self.run_id,
            self.principal.workspace_id,
            self.principal.key_id,
            outcome.status,
            credits=outcome.credits if live else 0,
            **self._describe_caller(),
            operation=self.turn.operation,
            model=model.record_name if model is not None else None,
            upstream_nanos=cost,
            upstream_currency=model.config.currency if model is not None and cost is not None else None,
            end_user_digest=self._digest_end_user(),
            request_id=self.request_id,
            error_code=outcome.error_code,
            input_tokens=outcome.usage.input_tokens,
            output_tokens=outcome.usage.output_tokens,
            milliseconds=round((time.perf_counter() - self._started) * 1000),
            reserved=live,
        )
        return await self._admission.settle(step)

    def _digest_end_user(self) -> str | None:
        if self.turn.end_user is None:
            return None
        return self._admission.digest_end_user(self.principal.workspace_id, self.turn.end_user)

    async def fail(self, error: Exception | None = None) -> None:
        """
        Refund the held credits. If the ledger cannot be reached, the end of the lease refunds them.

        `error` is the reason, for the request log.
        """
        await self.end_quietly(Outcome("failed", error_code=_name_error(error)))

    async def end_quietly(self, outcome: Outcome) -> None:
        try:
            await self.end(outcome)
        except APIError as error:
            log.warning("settlement_left_to_lease", run=self.run_id, reason=error.message)

    def _describe_caller(self) -> dict[str, Any]:
        """Return the members of the record that name the personas."""
        if not self.speakers:
            return {}  # the id that the caller sent may not belong to a persona
        if len(self.speakers) == 1:
            return {"persona_id": self.speakers[0].id, "persona_version": self.speakers[0].version}
        members = [{"id": s.id, "version": s.version, "weight": s.weight} for s in self.speakers]
        return {"personas": msgspec.json.encode(members).decode()}
