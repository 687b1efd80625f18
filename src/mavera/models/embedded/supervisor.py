"""
Keep one engine process running, and give callers its address or the time of its return.

                start() or a first call
        Idle ─────────────────────────────┐      no model file
                                          │   ┌─────────────────→ Missing
                                          ↓   │                      │ a file appears
             ┌──────────────────→ Starting ───┴──────────────────────┘
             │ the wait is over      │ loaded and healthy
             │                       ↓
            Down ←──────────────── Ready
                  ended, or hung and killed                any ── close() ──→ Closed

During a first start callers wait. After a crash they get a 503 at once, with the expected seconds until
the engine is back, so that a client's own retry meets a running engine.
"""

import asyncio
import logging
import math
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from mavera.errors import ConfigurationError, ServiceUnavailable
from mavera.models.embedded.engine_api import EngineApi
from mavera.models.embedded.identity import compute_identity
from mavera.models.embedded.process import EngineAddress, EngineDied, EngineProcess
from mavera.models.embedded.pull import resolve_model
from mavera.models.model import ModelStatus
from mavera.settings import Settings

logger = logging.getLogger(__name__)

_SLOW_DISK_BYTES_PER_SECOND = 100_000_000


@dataclass(frozen=True, slots=True)
class Pace:
    """The intervals and the patience of the supervisor."""

    health_interval_seconds: float = 2.0
    health_timeout_seconds: float = 2.0
    # After a health check without an answer, the next one follows sooner.
    recheck_seconds: float = 0.5
    # Failed checks in a row that end an idle engine, and a busy one.
    frozen_strikes: int = 2
    health_strikes: int = 10
    first_wait_seconds: float = 1.0
    longest_wait_seconds: float = 30.0
    settled_after_seconds: float = 60.0
    grace_seconds: float = 5.0
    look_for_model_seconds: float = 5.0


@dataclass(frozen=True, slots=True)
class Idle:
    """No caller has needed the engine yet."""


@dataclass(frozen=True, slots=True)
class Missing:
    """There is no model to run."""

    reason: str


@dataclass(frozen=True, slots=True)
class Starting:
    """The model loads. `again` says that it does so after a crash, when callers do not wait for it."""

    again: bool
    expected_at: float


@dataclass(frozen=True, slots=True)
class Ready:
    address: EngineAddress


@dataclass(frozen=True, slots=True)
class Down:
    """The engine ended, or never became ready. It is started again at a time of `clock`."""

    reason: str
    again_at: float


@dataclass(frozen=True, slots=True)
class Closed:
    """The server is shutting down."""


State = Idle | Missing | Starting | Ready | Down | Closed


def _ignore_change() -> None:
    """Do nothing. Nobody watches."""


class EmbeddedEngine:
    """
    The embedded model's process, started when it is needed and restarted when it fails.

    It belongs to one event loop, whose thread must live as long as the engine.
    """

    def __init__(
        self, settings: Settings, *, pace: Pace | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._settings = settings
        self._pace = pace or Pace()
        self._clock = clock
        self._state: State = Idle()
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._process: EngineProcess | None = None
        # This is a guess until the first load has been timed.
        self._load_seconds = 5.0
        self._restarts = 0
        self._on_change: Callable[[], None] = _ignore_change

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    @property
    def context_tokens(self) -> int:
        """The most tokens of one request, prompt and answer together."""
        return self._settings.embedded_context_tokens

    @property
    def model_identity(self) -> str:
        """The id of this engine with its model. It is empty if there is no model."""
        found = self._find_model()
        return "" if isinstance(found, Missing) else compute_identity(found)

    def watch(self, on_change: Callable[[], None]) -> None:
        """Call `on_change` now and whenever the state of the engine changes."""
        self._on_change = on_change
        on_change()

    @property
    def address(self) -> EngineAddress | None:
        """The engine's address, None unless the engine is ready."""
        return self._state.address if isinstance(self._state, Ready) else None

    async def start(self) -> None:
        """Load the model in the background, unless the settings say to wait for the first request."""
        if self._settings.embedded_start == "startup":
            self._begin()

    async def endpoint(self) -> EngineAddress:
        """
        Return the engine's address. Waits during a first start.

        Raises ServiceUnavailable with the seconds after which a retry can succeed.
        """
        self._begin()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._settings.embedded_start_timeout_seconds):
                while isinstance(self._state, Starting) and not self._state.again:
                    await self._changed.wait()
        if isinstance(self._state, Ready):
            return self._state.address
        raise ServiceUnavailable(self.status().detail, retry_after=self._estimate_wait_seconds())

    def status(self) -> ModelStatus:
        return replace(self._describe_state(), restarts=self._restarts)

    def _describe_state(self) -> ModelStatus:
        name = self._name
        match self._state:
            case Idle():
                return ModelStatus("idle", f"The embedded model ({name}) starts with the first request.")
            case Missing(reason):
                return ModelStatus("unavailable", reason)
            case Starting():
                return ModelStatus("starting", f"The embedded model ({name}) is loading.")
            case Ready():
                return ModelStatus("ready", f"The embedded model ({name}) is running.")
            case Down(reason):
                again = f"it starts again in {self._count_seconds(self._state.again_at)} s"
                return ModelStatus("unavailable", f"The embedded model {reason}; {again}.")
            case Closed():
                return ModelStatus("unavailable", "The server is shutting down.")

    def load_progress(self) -> float | None:
        """Return the progress of a load, roughly, from 0 to 1. None if no model loads."""
        return self._process.load_progress() if self._process and isinstance(self._state, Starting) else None

    async def close(self) -> None:
        """End the engine and its supervisor. It can be called at any time, and repeatedly."""
        self._become(Closed())
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    @property
    def _name(self) -> str:
        return self._settings.model_path.name if self._settings.model_path else self._settings.model

    def _begin(self) -> None:
        """Start the engine if it is Idle, or if it was Missing and its model is there now."""
        if isinstance(self._state, Idle | Missing):
            found = self._find_model()
            self._become(found if isinstance(found, Missing) else self._make_starting(again=False))
            if self._task is None:
                self._task = asyncio.create_task(self._supervise(), name="mavera-engine")

    def _make_starting(self, *, again: bool) -> Starting:
        return Starting(again, expected_at=self._clock() + self._load_seconds)

    def _become(self, state: State) -> None:
        if isinstance(self._state, Closed) or state == self._state:
            return
        self._state = state
        self._changed.set()
        self._changed = asyncio.Event()
        self._on_change()

    def _find_model(self) -> Path | Missing:
        try:
            path = resolve_model(self._settings)
        except ConfigurationError as error:
            return Missing(str(error))
        if path is None:
            return Missing(
                f"The language model {self._name} is not on this machine. Type: mavera models pull"
            )
        return path

    async def _supervise(self) -> None:
        """Run one process after the other until this task is cancelled."""
        wait = self._pace.first_wait_seconds
        while True:
            path = await self._find_file()
            born = self._clock()
            try:
                reason = await self._supervise_process(path)
            except Exception:
                logger.exception("The embedded model's supervisor failed.")
                reason = "failed; see the server's log"
            if self._clock() - born >= self._pace.settled_after_seconds:
                wait = self._pace.first_wait_seconds
            logger.error("The embedded model %s; starting it again in %g s.", reason, wait)
            self._become(Down(reason, again_at=self._clock() + wait))
            await asyncio.sleep(wait)
            wait = min(2 * wait, self._pace.longest_wait_seconds)
            self._restarts += 1
            self._become(self._make_starting(again=True))

    async def _find_file(self) -> Path:
        """Wait until there is a model, because an operator may pull it while the server runs."""
        while isinstance(found := self._find_model(), Missing):
            self._become(found)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._pace.look_for_model_seconds):
                    await self._changed.wait()
        if isinstance(self._state, Missing):
            self._become(self._make_starting(again=False))
        return found

    async def _supervise_process(self, path: Path) -> str:
        """Run one process from spawn to end, and return the reason of its end."""
        born = self._clock()
        try:
            process = self._process = await self._spawn(path)
        except OSError as error:
            return f"could not be started ({error.strerror})"
        try:
            async with asyncio.timeout(self._start_seconds(path)):
                address = await process.ready()
            self._load_seconds = self._clock() - born
            return await self._watch(process, address)
        except TimeoutError:
            await process.stop(grace_seconds=0.0)
            return f"did not load within {self._start_seconds(path):.0f} s"
        except EngineDied as death:
            return str(death)
        finally:
            logger.debug("The embedded model's last words:\n%s", process.log())
            await process.stop(self._pace.grace_seconds)
            self._process = None

    def _start_seconds(self, path: Path) -> float:
        """Return the patience for a start. A model of 19 GB comes from a slow disk for minutes."""
        try:
            size = path.stat().st_size
        except OSError:
            size = 0
        return self._settings.embedded_start_timeout_seconds + size / _SLOW_DISK_BYTES_PER_SECOND

    async def _spawn(self, path: Path) -> EngineProcess:
        """Start a process, even if close() is called meanwhile. Half a spawn would leave an orphan."""
        spawning = asyncio.create_task(EngineProcess.spawn(path, self._settings), name="mavera-engine-spawn")
        try:
            return await asyncio.shield(spawning)
        except asyncio.CancelledError:
            with suppress(OSError):
                await (await spawning).stop(grace_seconds=0.0)
            raise

    async def _watch(self, process: EngineProcess, address: EngineAddress) -> str:
        """
        Check the engine's health until it ends or fails too many checks. Returns the reason.

        An engine that is busy with a long prompt on a slow machine may answer late. An engine that used no
        processor time and read no page between two checks is not busy but frozen.
        """
        strikes, work_before = 0, None
        async with EngineApi(address, seconds=self._pace.health_timeout_seconds) as api:
            while strikes < self._pace.health_strikes:
                if await api.is_healthy():
                    strikes, work_before = 0, None
                    if not isinstance(self._state, Ready):
                        self._become(Ready(address))
                else:
                    strikes += 1
                    work = process.measure_work()
                    if strikes >= self._pace.frozen_strikes and work is not None and work == work_before:
                        break
                    work_before = work
                pause = self._pace.recheck_seconds if strikes else self._pace.health_interval_seconds
                if await process.wait_for_end(within_seconds=pause):
                    return process.explain_end()
        # The engine does not answer, so it would not react to a polite request to end either.
        self._become(Down("stopped answering", again_at=self._clock()))
        await process.stop(grace_seconds=0.0)
        return "stopped answering and was killed"

    def _estimate_wait_seconds(self) -> int:
        match self._state:
            case Starting(_, expected_at):
                return self._count_seconds(expected_at)
            case Down(_, again_at):
                return self._count_seconds(again_at + self._load_seconds)
            case _:
                return self._count_seconds(self._clock() + self._pace.look_for_model_seconds)

    def _count_seconds(self, moment: float) -> int:
        return max(1, math.ceil(moment - self._clock()))
