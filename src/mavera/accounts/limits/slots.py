"""
Cap the concurrent runs of a workspace exactly, over all machines: leased slots with one id each.

    Redis or Valkey   a sorted set for each workspace: the ids by the end of their lease
    Postgres          a row for each slot, if there is no Redis
    SQLite            one machine, which counts in memory (`concurrency.py`)

A slot is never a counter, so a process that dies gives its slots back when their leases end, and none of them
is given back twice. A process renews the slots of its living runs three times in each lease.

While Redis is down, each process counts for itself, as it does for limits of requests. While Postgres is
down, no run is admitted at all, because its credits cannot be held either.
"""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Coroutine, Sequence
from typing import Any, Self

import msgspec
import structlog

from mavera.accounts.limits.concurrency import Running, RunningHere
from mavera.accounts.limits.scripts import StoreScript
from mavera.core.ids import new_cuid
from mavera.errors import APIError
from mavera.storage.database import Database, Statements
from mavera.storage.group_commit import GroupCommit
from mavera.storage.moment import moment_of

RENEWALS_PER_LEASE = 3
SENT_AT_ONCE = 256

log = structlog.get_logger()


class _Slots:
    """The slots that this process holds. Those of one workspace are interchangeable."""

    def __init__(self, lease_seconds: int) -> None:
        self._lease_seconds = lease_seconds
        self._held: defaultdict[str, list[str]] = defaultdict(list)
        self._renewer: asyncio.Task[None] | None = None
        self._ending: set[asyncio.Future[Any]] = set()

    async def __aenter__(self) -> Self:
        self._renewer = asyncio.create_task(self._renew_for_ever(), name="mavera-slots")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._renewer is not None:
            self._renewer.cancel()
            await asyncio.gather(self._renewer, return_exceptions=True)
        await asyncio.gather(*self._ending, return_exceptions=True)

    async def begin(self, workspace_id: str, most: int | None) -> bool:
        if most is None:
            return True
        slot_id = new_cuid()
        if not await self._take(workspace_id, slot_id, most):
            return False
        self._held[workspace_id].append(slot_id)
        return True

    def end(self, workspace_id: str, most: int | None) -> None:
        slots = self._held.get(workspace_id)
        if most is None or not slots:
            return
        slot_id = slots.pop()
        if not slots:
            del self._held[workspace_id]
        self._end_later(self._give_quietly(workspace_id, slot_id))

    def _end_later(self, giving: Coroutine[Any, Any, None]) -> None:
        ending = asyncio.ensure_future(giving)
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)

    async def renew(self) -> None:
        """Renew the leases of all slots that this process holds."""
        raise NotImplementedError

    async def _take(self, workspace_id: str, slot_id: str, most: int) -> bool:
        raise NotImplementedError

    async def _give(self, workspace_id: str, slot_id: str) -> None:
        raise NotImplementedError

    async def _give_quietly(self, workspace_id: str, slot_id: str) -> None:
        try:
            await self._give(workspace_id, slot_id)
        except Exception as error:
            log.warning("slot_left_to_lease", error=type(error).__name__)

    async def _renew_for_ever(self) -> None:
        while True:
            await asyncio.sleep(self._lease_seconds / RENEWALS_PER_LEASE)
            try:
                if self._held:
                    await self.renew()
            except Exception as error:
                log.warning("slots_not_renewed", error=type(error).__name__)


class RedisSlots(_Slots):
    """Slots in `store`, a client of Redis. `errors` are those of the client if the store is away."""

    def __init__(
        self,
        store: Any,
        errors: tuple[type[Exception], ...],
        *,
        lease_seconds: int,
        local: Running | None = None,
    ) -> None:
        super().__init__(lease_seconds)
        self._store = store
        self._errors = errors
        self._local = local or RunningHere()
        self._local_runs: defaultdict[str, int] = defaultdict(int)
        self._waiting: list[tuple[str, list[Any], asyncio.Future[bool]]] = []
        self._sender: asyncio.Task[None] | None = None
        self._take_script = StoreScript(store, _TAKE)
        self._renew_script = StoreScript(store, _RENEW)

    async def begin(self, workspace_id: str, most: int | None) -> bool:
        try:
            return await super().begin(workspace_id, most)
        except self._errors:
            begun = await self._local.begin(workspace_id, most)
            self._local_runs[workspace_id] += begun
            return begun

    def end(self, workspace_id: str, most: int | None) -> None:
        if self._local_runs.get(workspace_id):
            self._local_runs[workspace_id] -= 1
            self._local.end(workspace_id, most)
            return
        super().end(workspace_id, most)

    async def renew(self) -> None:
        for workspace_id, slots in list(self._held.items()):
            await self._renew_script.run([_name(workspace_id)], [self._lease_seconds, *slots])

    async def _take(self, workspace_id: str, slot_id: str, most: int) -> bool:
        """Take a slot. Those that are asked for during a round trip share the next one."""
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append((_name(workspace_id), [most, slot_id, self._lease_seconds], future))
        if self._sender is None:
            self._sender = asyncio.create_task(self._send_while_waiting(), name="mavera-slots-taken")
        try:
            return await future
        except asyncio.CancelledError:
            # Whether the slot was taken or not, it is not needed.
            self._end_later(self._give_quietly(workspace_id, slot_id))
            raise

    async def _send_while_waiting(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:SENT_AT_ONCE], self._waiting[SENT_AT_ONCE:]
                await self._send_together(batch)
        finally:
            self._sender = None

    async def _send_together(self, batch: list[tuple[str, list[Any], asyncio.Future[bool]]]) -> None:
        try:
            replies = await self._take_script.run_each([([name], values) for name, values, _ in batch])
        except BaseException as error:
            failure = error if isinstance(error, self._errors) else OSError("The store of slots failed.")
            for _, _, future in batch:
                if not future.done():
                    future.set_exception(failure)
            if not isinstance(error, self._errors):
                raise
            return
        for (_, _, future), reply in zip(batch, replies, strict=True):
            if not future.done():
                future.set_result(bool(reply))

    async def _give(self, workspace_id: str, slot_id: str) -> None:
        await self._store.zrem(_name(workspace_id), slot_id)


def _name(workspace_id: str) -> str:
    return f"mavera:running:{{{workspace_id}}}"


# Both go by the store's clock, as the windows of limits do.
_TAKE = """
local time = redis.call('TIME')
local now = tonumber(time[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[1]) then return 0 end
redis.call('ZADD', KEYS[1], now + tonumber(ARGV[3]), ARGV[2])
redis.call('EXPIRE', KEYS[1], tonumber(ARGV[3]) + 1)
return 1
"""
_RENEW = """
local now = tonumber(redis.call('TIME')[1])
for n = 2, #ARGV do redis.call('ZADD', KEYS[1], now + tonumber(ARGV[1]), ARGV[n]) end
redis.call('EXPIRE', KEYS[1], tonumber(ARGV[1]) + 1)
"""


class _Take(msgspec.Struct, frozen=True):
    workspace_id: str
    slot_id: str
    most: int


class _Give(msgspec.Struct, frozen=True):
    workspace_id: str
    slot_id: str


_Step = _Take | _Give


class PostgresSlots(_Slots):
    """Slots in a table. Steps that arrive together share a transaction."""

    def __init__(self, database: Database, process_id: str, *, lease_seconds: int) -> None:
        super().__init__(lease_seconds)
        self._database = database
        self._process_id = process_id
        self._moment = moment_of(database, None)
        self._commits = GroupCommit[_Step, bool](database, self._apply, must_last=lambda _: False, undo=_undo)

    async def __aexit__(self, *error: object) -> None:
        await super().__aexit__(*error)
        await self._commits.close()

    async def renew(self) -> None:
        await self._database.execute_many(
            f"""
            INSERT INTO run_slots (slot_id, workspace_id, process_id, expires_at)
            VALUES (:slot_id, :workspace_id, :process_id, {self._moment.sql} + :seconds)
            ON CONFLICT (slot_id) DO UPDATE SET expires_at = excluded.expires_at
            """,  # noqa: S608 - the clock is ours
            [
                self._describe(workspace_id, slot_id)
                for workspace_id, slots in sorted(self._held.items())
                for slot_id in sorted(slots)
            ],
        )

    async def _take(self, workspace_id: str, slot_id: str, most: int) -> bool:
        return await self._commits.do(_Take(workspace_id, slot_id, most))

    async def _give(self, workspace_id: str, slot_id: str) -> None:
        with contextlib.suppress(APIError):  # the lease ends it
            await self._commits.do(_Give(workspace_id, slot_id))

    def _apply(self, statements: Statements, steps: Sequence[_Step]) -> list[bool | APIError]:
        given = [{"slot_id": step.slot_id} for step in steps if isinstance(step, _Give)]
        statements.execute_many("DELETE FROM run_slots WHERE slot_id = :slot_id", given)
        wanted: defaultdict[str, list[tuple[int, _Take]]] = defaultdict(list)
        for number, step in enumerate(steps):
            if isinstance(step, _Take):
                wanted[step.workspace_id].append((number, step))
        outcomes: list[bool | APIError] = [True] * len(steps)
        for workspace_id in sorted(wanted):  # in one order, so that two processes do not wait for each other
            free = self._count_free(statements, workspace_id, wanted[workspace_id][0][1].most)
            for place, (number, step) in enumerate(wanted[workspace_id]):
                outcomes[number] = place < free
                if place < free:
                    row = self._describe(step.workspace_id, step.slot_id)
                    statements.execute(_INSERT.format(moment=self._moment.sql), row)
        return outcomes

    def _count_free(self, statements: Statements, workspace_id: str, most: int) -> int:
        """Return how many slots are free. Other processes wait until this transaction ends."""
        values = {"workspace_id": workspace_id, "now": self._moment.now}
        statements.fetch_all(
            "SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))", {"name": _name(workspace_id)}
        )
        expired = f"workspace_id = :workspace_id AND expires_at <= {self._moment.sql}"
        statements.execute(f"DELETE FROM run_slots WHERE {expired}", values)  # noqa: S608 - ours
        rows = statements.fetch_all(
            "SELECT COUNT(*) AS taken FROM run_slots WHERE workspace_id = :workspace_id",
            {"workspace_id": workspace_id},
        )
        return max(0, most - int(rows[0]["taken"]))

    def _describe(self, workspace_id: str, slot_id: str) -> dict[str, Any]:
        return {
            "slot_id": slot_id,
            "workspace_id": workspace_id,
            "process_id": self._process_id,
            "now": self._moment.now,
            "seconds": self._lease_seconds,
        }


_INSERT = """
INSERT INTO run_slots (slot_id, workspace_id, process_id, expires_at)
VALUES (:slot_id, :workspace_id, :process_id, {moment} + :seconds)
"""


def _undo(step: _Step) -> _Step | None:
    return _Give(step.workspace_id, step.slot_id) if isinstance(step, _Take) else None
