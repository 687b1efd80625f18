"""
Group commit: what is asked for at the same time is written in one transaction.

    do(step) ─┐
    do(step) ─┼→ waiting → apply(statements, steps) → COMMIT → an outcome for each
    do(step) ─┘

While one transaction is at the disk the next batch gathers, so under load the cost of a
commit is shared by all in it and an idle server still answers at once. `do` returns
when its step is committed and, if `must_last` says so of it, on the disk.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import structlog

from mavera.errors import APIError
from mavera.storage.database import Conflict, Database, Statements

S = TypeVar("S")
R = TypeVar("R")

MAX_BATCH = 256

log = structlog.get_logger()


class GroupCommit(Generic[S, R]):
    """`apply` returns one outcome per step, in order; an APIError among them goes to its caller only."""

    def __init__(
        self,
        database: Database,
        apply: Callable[[Statements, Sequence[S]], Sequence[R | APIError]],
        *,
        must_last: Callable[[S], bool],
    ) -> None:
        self._database = database
        self._apply = apply
        self._must_last = must_last
        self._waiting: list[tuple[S, asyncio.Future[R]]] = []
        self._writer: asyncio.Task[None] | None = None

    async def do(self, step: S) -> R:
        """Return the outcome of `step` once it is committed. A caller that is cancelled leaves its step."""
        answer: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((step, answer))
        if self._writer is None:
            self._writer = asyncio.create_task(self._write())
        return await answer

    async def close(self) -> None:
        """Return when nothing waits any more."""
        while self._writer is not None:
            await self._writer

    async def _write(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
                await self._commit(batch)
        finally:
            self._writer = None

    async def _commit(self, batch: list[tuple[S, asyncio.Future[R]]]) -> None:
        steps = [step for step, _ in batch]
        try:
            outcomes = await self._database.batch(
                lambda statements: self._apply(statements, steps), durable=any(map(self._must_last, steps))
            )
        except Conflict as error:
            if len(batch) == 1:
                _refuse(batch, error)
                return
            for alone in batch:  # so that one bad step takes no other down
                await self._commit([alone])
        except APIError as error:
            _refuse(batch, error)
        except Exception as error:
            log.exception("batch failed", error=type(error).__name__)
            _refuse(batch, APIError("The database refused a batch."))
        else:
            _answer(batch, outcomes)


def _answer(batch: list[tuple[S, asyncio.Future[R]]], outcomes: Sequence[R | APIError]) -> None:
    for (_, answer), outcome in zip(batch, outcomes, strict=True):
        if answer.done():  # cancelled: whoever asked has left
            continue
        if isinstance(outcome, APIError):
            answer.set_exception(outcome)
        else:
            answer.set_result(outcome)


def _refuse(batch: list[tuple[S, asyncio.Future[R]]], error: APIError) -> None:
    for _, answer in batch:
        if not answer.done():
            answer.set_exception(error)
