"""
A worker for studies that kills itself with SIGKILL at a moment that a test chose.

It consists of the parts of `mavera worker`, around a database that counts the statements which change a
study. Each life is forked from a process that has imported everything, so it takes about a second.

    claim    a worker takes a study
    prior    the neutral lists have been read, and are stored
    read     the model is asked for a cell
    write    the answer of a cell is stored
    finish   the study gets its last status
    charge   its hold is charged
    settle   it is marked as charged
    call     a call of its webhook is recorded, before it is made
    called   the end of the call is recorded
"""

import asyncio
import multiprocessing
import os
import signal
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec

from mavera.accounts.credits.holds import Credits
from mavera.accounts.credits.ledger import End
from mavera.core.events import ModelEvent
from mavera.core.items import Message
from mavera.core.prompt import Prompt
from mavera.focus_groups.engine import StudyEngine
from mavera.focus_groups.interviewing import Models
from mavera.focus_groups.program import StudyProgram
from mavera.focus_groups.webhooks import Webhooks
from mavera.focus_groups.worker import StudyWorker
from mavera.logs import configure_logs
from mavera.models.scripted import ScriptedModel
from mavera.services import Components, open_study_parts
from mavera.settings import Settings, load_settings
from mavera.storage.database import Database, Statements, Transaction
from mavera.storage.engine import open_pool, settings_url
from mavera.storage.moment import moment_of
from mavera.storage.rows import Row
from tests.support.slow_study_worker import hash_of

T = TypeVar("T")
Phase = Literal["claim", "prior", "read", "write", "finish", "charge", "settle", "call", "called"]
When = Literal["before", "inside", "after"]

STATEMENTS: dict[Phase, str] = {
    "claim": "SET worker_id = :worker_id",
    "prior": "INSERT INTO focus_group_priors",
    "write": "UPDATE focus_group_cells",
    "finish": "SET status = :status, ended_at",
    "settle": "SET settled_at = ended_at",
    "call": "webhook_tries = webhook_tries + 1",
    "called": "SET webhook_due_at = NULL",
}
PRIOR_MARK, KEPT_MARK = "prior ", "kept "


class Death(msgspec.Struct, frozen=True):
    """The moment of a death: before, inside or after a step of a phase, `skip` such moments later."""

    phase: Phase
    when: When
    skip: int = 0


class Fate:
    """Kills this process at its moment. Without a death, the process lives."""

    def __init__(self, death: Death | None) -> None:
        self._death = death
        self._left = death.skip if death else 0

    def meet(self, phase: Phase | None, when: When) -> None:
        if self._death is None or (phase, when) != (self._death.phase, self._death.when):
            return
        self._left -= 1
        if self._left < 0:
            os.kill(os.getpid(), signal.SIGKILL)


def add_line(log: Path, line: str) -> None:
    with log.open("a") as file:
        file.write(f"{line}\n")


def find_phase(sql: str) -> Phase | None:
    return next((phase for phase, mark in STATEMENTS.items() if mark in sql), None)


class MortalDatabase(Database):
    """A database whose process may die around each statement."""

    fate: Fate
    log: Path
    is_charging = False

    async def execute(self, sql: str, /, **values: Any) -> int:
        self.fate.meet(find_phase(sql), "before")
        changed = await super().execute(sql, **values)
        if changed and find_phase(sql) == "write":
            add_line(self.log, f"{KEPT_MARK}{values['key']}")
        self.fate.meet(find_phase(sql), "after")
        return changed

    async def batch(self, function: Callable[[Statements], T], *, durable: bool = True) -> T:
        def run(statements: Statements) -> T:
            found = function(statements)
            if self.is_charging:
                self.fate.meet("charge", "inside")
            return found

        return await super().batch(run, durable=durable)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        async with super().transaction() as transaction:
            mortal = MortalTransaction(transaction, self.fate)
            yield mortal
        self.fate.meet(mortal.phase, "after")


class MortalTransaction(Transaction):
    def __init__(self, transaction: Transaction, fate: Fate) -> None:
        self._transaction = transaction
        self._fate = fate
        self.phase: Phase | None = None

    async def fetch_all(self, sql: str, /, **values: Any) -> list[Row]:
        return await self._transaction.fetch_all(sql, **values)

    async def execute(self, sql: str, /, **values: Any) -> int:
        phase = find_phase(sql)
        self.phase = self.phase or phase
        self._fate.meet(phase, "before")
        changed = await self._transaction.execute(sql, **values)
        self._fate.meet(phase, "inside")
        return changed

    async def execute_many(self, sql: str, rows: Sequence[Row], /) -> None:
        await self._transaction.execute_many(sql, rows)


class MortalCredits(Credits):
    """Credits whose process may die around the charge of a study. Other writes to the ledger are not met."""

    def __init__(self, database: MortalDatabase) -> None:
        super().__init__(database)
        self._mortal = database

    async def end(self, step: End) -> int:
        self._mortal.fate.meet("charge", "before")
        self._mortal.is_charging = True
        price = await super().end(step)
        self._mortal.is_charging = False
        self._mortal.fate.meet("charge", "after")
        return price


class LoggedModel(ScriptedModel):
    """Adds a line to `log` for each question: a hash of it, with a mark before those of the neutral lists."""

    def __init__(self, log: Path, seconds: float, fate: Fate) -> None:
        super().__init__(keeps_prompts=False)
        self._log = log
        self._seconds = seconds
        self._fate = fate

    async def stream(self, prompt: Prompt) -> AsyncGenerator[ModelEvent, None]:
        texts = [item.text for item in prompt.items if isinstance(item, Message)]
        is_cell = any("thing" in text for text in texts)
        if is_cell:
            self._fate.meet("read", "before")
        add_line(self._log, f"{'' if is_cell else PRIOR_MARK}{hash_of(texts)}")
        await asyncio.sleep(self._seconds)
        if is_cell:
            self._fate.meet("read", "inside")
        async for event in super().stream(prompt):
            yield event
        if is_cell:
            self._fate.meet("read", "after")


def start_worker(
    data_dir: Path,
    database_url: str,
    log: Path,
    *,
    worker_id: str = "w",
    seconds: float = 0.0,
    death: Death | None = None,
    webhook_port: int | None = None,
) -> BaseProcess:
    """
    Fork a worker. Its model takes `seconds` for an answer. Only one process may have a `worker_id`.

    It calls webhooks on this machine's `webhook_port`.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    process = context.Process(
        target=live,
        args=(data_dir, database_url, log, worker_id, seconds, death, webhook_port),
        daemon=True,
        name="mortal-worker",
    )
    process.start()
    return process


def live(
    data_dir: Path,
    database_url: str,
    log: Path,
    worker_id: str,
    seconds: float,
    death: Death | None,
    webhook_port: int | None,
) -> None:
    port = 443 if webhook_port is None else webhook_port
    settings = load_settings(
        data_dir=data_dir,
        database_url=database_url or None,
        model_backend="scripted",
        log_level="error",
        fetch_allow="" if webhook_port is None else "127.0.0.0/8",
        fetch_ports=str(port),
    )
    fate = Fate(death)
    asyncio.run(_work(settings, worker_id, LoggedModel(log, seconds, fate), fate, log))


async def _work(settings: Settings, worker_id: str, model: ScriptedModel, fate: Fate, log: Path) -> None:
    configure_logs(settings)
    url = settings_url(settings)
    components = Components.of(settings, model=model)
    async with (
        open_study_parts(settings, components) as parts,
        MortalDatabase(open_pool(url), is_file=parts.database.is_file) as database,
        MortalCredits(database) as credits,
    ):
        database.fate, database.log = fate, log
        models = Models(parts.library, parts.models, parts.named_models, parts.images)
        moment = moment_of(database, None)
        webhooks = Webhooks(database, components.fetch, parts.secrets, moment=moment)
        program = StudyProgram(
            database,
            credits,
            models.open_interviewer,
            worker_id=worker_id,
            moment=moment,
            on_end=webhooks.send,
        )
        engine = StudyEngine(program, settings)
        await engine.launch()
        await StudyWorker(program, engine, webhooks).run(asyncio.Event())
