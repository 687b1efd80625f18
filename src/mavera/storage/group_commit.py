"""
Group commit: write steps that arrive at the same time in one transaction.

    do(step) ─┐
    do(step) ─┼→ waiting → apply(statements, steps) → COMMIT → an outcome for each
    do(step) ─┘

While one transaction is being written, the next batch gathers. So under load all steps of a batch share the
cost of one commit, and an idle server still answers at once. `do` returns when its step is committed, and,
if `must_last` is true for the step, when it is on the disk.

A batch that fails is split in half until the step at fault is alone, so one bad step does not fail the
others. If the database is unreachable or busy, the whole batch fails, because halves would fail, too.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Generic, TypeVar

import structlog

from mavera.errors import APIError, ServiceUnavailable
from mavera.storage.database import Database, Statements

S = TypeVar("S")
R = TypeVar("R")

MAX_BATCH = 256
# Steps that nobody waits for gather so long, or until there are so many. A batch costs as much processor time
# as a hundred of its steps, and a killed process loses what has gathered.
LINGER_SECONDS = 0.1
LINGER_STEPS = 128

log = structlog.get_logger()


class GroupCommit(Generic[S, R]):
    """
    `apply` returns one outcome per step, in order. Only the caller of its step gets an APIError.

    `undo` returns a step that reverses a given one. It is called if the caller of a step was cancelled before
    it got the outcome. It returns None for a step that must be done even if nobody waits for it.
    `may_linger` is true for a step whose caller does not wait: it is written a little later, with others.
    """

    def __init__(
        self,
        database: Database,
        apply: Callable[[Statements, Sequence[S]], Sequence[R | APIError]],
        *,
        must_last: Callable[[S], bool],
        undo: Callable[[S], S | None] = lambda _: None,
        may_linger: Callable[[S], bool] = lambda _: False,
    ) -> None:
        self._database = database
        self._apply = apply
        self._must_last = must_last
        self._undo = undo
        self._may_linger = may_linger
        self._hurry = asyncio.Event()
        self._waiting: list[tuple[S, asyncio.Future[R]]] = []
        self._batch: list[tuple[S, asyncio.Future[R]]] = []
        self._writer: asyncio.Task[None] | None = None

    async def do(self, step: S) -> R:
        """
        Return the outcome of `step` once it is committed.

        If the caller is cancelled, a step that can be undone is dropped, or undone once it is committed.
        Every other step is still done.
        """
        future = self._enqueue(step)
        try:
            return await future
        except asyncio.CancelledError:
            if not future.cancelled() and future.exception() is None:
                self._reverse(step)  # its outcome was on the way when the caller was cancelled
            raise

    def hurry(self) -> None:
        """Write what gathers now, without letting it linger."""
        self._hurry.set()

    def iterate_unfinished(self) -> Iterator[S]:
        """Yield the steps that are not committed yet."""
        for step, _ in (*self._batch, *self._waiting):
            yield step

    async def close(self) -> None:
        """Wait until no step is left, even if the caller is cancelled meanwhile."""
        self.hurry()
        while self._writer is not None:
            await asyncio.wait({self._writer})

    def _enqueue(self, step: S) -> asyncio.Future[R]:
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((step, future))
        if len(self._waiting) >= LINGER_STEPS or not self._may_linger(step):
            self._hurry.set()
        if self._writer is None:
            self._writer = asyncio.create_task(self._write())
        return future

    async def _write(self) -> None:
        try:
            while self._waiting:
                await self._linger()
                batch, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
                self._batch = [(step, future) for step, future in batch if not self._is_dropped(step, future)]
                await self._commit(self._batch)
        finally:
            self._batch = []
            self._writer = None

    async def _linger(self) -> None:
        """Let more steps gather, as long as nobody waits for one of them."""
        if all(self._may_linger(step) for step, _ in self._waiting) and not self._hurry.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._hurry.wait(), LINGER_SECONDS)
        self._hurry.clear()

    def _is_dropped(self, step: S, future: asyncio.Future[R]) -> bool:
        return future.cancelled() and self._undo(step) is not None

    async def _commit(self, batch: list[tuple[S, asyncio.Future[R]]]) -> None:
        if not batch:
            return
        steps = [step for step, _ in batch]
        try:
            outcomes = await self._database.batch(
                lambda statements: self._apply(statements, steps), durable=any(map(self._must_last, steps))
            )
        except ServiceUnavailable as error:
            _reject(batch, error)
        except Exception as error:
            if len(batch) > 1:
                middle = len(batch) // 2
                await self._commit(batch[:middle])
                await self._commit(batch[middle:])
                return
            if not isinstance(error, APIError):
                log.exception("step failed", error=type(error).__name__)
                error = APIError("The database refused a statement.")
            _reject(batch, error)
        except BaseException:
            # The writer is being cancelled, and the callers of these steps would wait for ever.
            _reject(
                batch,
                ServiceUnavailable("The server is shutting down. Retry in a few seconds.", retry_after=5),
            )
            raise
        else:
            self._deliver(batch, outcomes)

    def _reverse(self, step: S) -> None:
        undo = self._undo(step)
        if undo is not None:
            self._enqueue(undo).add_done_callback(_log_failure)

    def _deliver(self, batch: list[tuple[S, asyncio.Future[R]]], outcomes: Sequence[R | APIError]) -> None:
        for (step, future), outcome in zip(batch, outcomes, strict=True):
            if future.done():  # a cancelled future is done
                if not isinstance(outcome, APIError):
                    self._reverse(step)
            elif isinstance(outcome, APIError):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)


def _reject(batch: list[tuple[S, asyncio.Future[R]]], error: APIError) -> None:
    for _, future in batch:
        if not future.done():
            future.set_exception(error)


def _log_failure(undone: asyncio.Future[R]) -> None:
    error = None if undone.cancelled() else undone.exception()
    if error is not None:
        log.warning("step_not_undone", error=type(error).__name__)
