"""
Keep one engine process running, and tell callers where it is or when it will be back.

                start() or a first call
        Idle ─────────────────────────────┐      no model file
                                          │   ┌─────────────────→ Missing
                                          ↓   │                      │ a file appears
             ┌──────────────────→ Starting ───┴──────────────────────┘
             │ the wait is over      │ loaded and healthy
             │                       ↓
            Down ←──────────────── Ready
                  ended, or hung and killed                any ── close() ──→ Closed

During a first start callers wait. After a crash they get a 503 at once, with the seconds
until the engine is expected back, so that a client's own retry meets a running engine.
"""

import asyncio
import logging
import math
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import aiohttp

from mavera.errors import ConfigurationError, ServiceUnavailable
from mavera.models.embedded.identity import identity_of
from mavera.models.embedded.process import EngineAddress, EngineDied, EngineProcess
from mavera.models.embedded.pull import resolve_model
from mavera.models.model import ModelStatus
from mavera.settings import Settings

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Pace:
    """How often the engine is looked after, and how patiently."""

    health_interval_seconds: float = 2.0
    health_timeout_seconds: float = 2.0
    # After a question that got no answer the next one follows sooner.
    recheck_seconds: float = 0.5
    # So many in a row end an engine that does nothing meanwhile, and so many one that is busy.
    frozen_strikes: int = 2
    health_strikes: int = 10
    first_wait_seconds: float = 1.0
    longest_wait_seconds: float = 30.0
    settled_after_seconds: float = 60.0
    grace_seconds: float = 5.0
    look_for_model_seconds: float = 5.0


@dataclass(frozen=True, slots=True)
class Idle:
    """Nobody has asked for the engine yet."""


@dataclass(frozen=True, slots=True)
class Missing:
    """There is no model to run."""

    reason: str


@dataclass(frozen=True, slots=True)
class Starting:
    """The model loads; `again` after a crash, when callers do not wait for it."""

    again: bool
    expected_at: float


@dataclass(frozen=True, slots=True)
class Ready:
    address: EngineAddress


@dataclass(frozen=True, slots=True)
class Down:
    """It ended, or never got ready, and is started again at a time of `clock`."""

    reason: str
    again_at: float


@dataclass(frozen=True, slots=True)
class Closed:
    """The server is going down."""


State = Idle | Missing | Starting | Ready | Down | Closed


class EmbeddedEngine:
    """
    The embedded model's process, started when wanted and restarted when it fails.

    Belongs to one event loop, whose thread has to live as long as the engine.
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
        # A guess until the first load has been timed.
        self._load_seconds = 5.0
        self._restarts = 0

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    @property
    def context_tokens(self) -> int:
        """What one request may take of it, prompt and answer together."""
        return self._settings.embedded_context_tokens

    @property
    def model_identity(self) -> str:
        """What tells this engine with its model from every other; empty where there is no model."""
        found = self._find_model()
        return "" if isinstance(found, Missing) else identity_of(found)

    async def start(self) -> None:
        """Begin to load the model, in the background, unless settings say to wait for the first request."""
        if self._settings.embedded_start == "startup":
            self._begin()

    async def endpoint(self) -> EngineAddress:
        """
        Return where the engine listens, waiting for it during a first start.

        Raises ServiceUnavailable, with the seconds after which to try again.
        """
        self._begin()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._settings.embedded_start_timeout_seconds):
                while isinstance(self._state, Starting) and not self._state.again:
                    await self._changed.wait()
        if isinstance(self._state, Ready):
            return self._state.address
        raise ServiceUnavailable(self.status().detail, retry_after=self._seconds_until_ready())

    def status(self) -> ModelStatus:
        return replace(self._told(), restarts=self._restarts)

    def _told(self) -> ModelStatus:
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
                again = f"it is started again in {self._seconds_until(self._state.again_at)} s"
                return ModelStatus("unavailable", f"The embedded model {reason}; {again}.")
            case Closed():
                return ModelStatus("unavailable", "The server is shutting down.")

    def load_progress(self) -> float | None:
        """How far a load is, roughly, from 0 to 1; None while nothing loads."""
        return self._process.load_progress() if self._process and isinstance(self._state, Starting) else None

    async def close(self) -> None:
        """End the engine and everything that looks after it; may be called at any time, and again."""
        self._become(Closed())
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    @property
    def _name(self) -> str:
        return self._settings.model_path.name if self._settings.model_path else self._settings.model

    def _begin(self) -> None:
        """Leave Idle, or Missing where a model has come; in any other state there is nothing to begin."""
        if isinstance(self._state, Idle | Missing):
            found = self._find_model()
            self._become(found if isinstance(found, Missing) else self._starting(again=False))
            if self._task is None:
                self._task = asyncio.create_task(self._supervise(), name="mavera-engine")

    def _starting(self, *, again: bool) -> Starting:
        return Starting(again, expected_at=self._clock() + self._load_seconds)

    def _become(self, state: State) -> None:
        if isinstance(self._state, Closed) or state == self._state:
            return
        self._state = state
        self._changed.set()
        self._changed = asyncio.Event()

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
        """Give the engine one life after the other; ends only by being cancelled."""
        wait = self._pace.first_wait_seconds
        while True:
            path = await self._model_file()
            born = self._clock()
            try:
                reason = await self._live(path)
            except Exception:
                logger.exception("The embedded model's supervisor failed.")
                reason = "failed, as the server's log says"
            if self._clock() - born >= self._pace.settled_after_seconds:
                wait = self._pace.first_wait_seconds
            logger.error("The embedded model %s; starting it again in %g s.", reason, wait)
            self._become(Down(reason, again_at=self._clock() + wait))
            await asyncio.sleep(wait)
            wait = min(2 * wait, self._pace.longest_wait_seconds)
            self._restarts += 1
            self._become(self._starting(again=True))

    async def _model_file(self) -> Path:
        """Wait until there is a model: someone may pull it while the server runs."""
        while isinstance(found := self._find_model(), Missing):
            self._become(found)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._pace.look_for_model_seconds):
                    await self._changed.wait()
        if isinstance(self._state, Missing):
            self._become(self._starting(again=False))
        return found

    async def _live(self, path: Path) -> str:
        """Run one process from spawn to end and return why it ended."""
        born = self._clock()
        try:
            process = self._process = await self._spawn(path)
        except OSError as error:
            return f"could not be started ({error.strerror})"
        try:
            async with asyncio.timeout(self._settings.embedded_start_timeout_seconds):
                address = await process.ready()
            self._load_seconds = self._clock() - born
            return await self._watch(process, address)
        except TimeoutError:
            await process.stop(grace_seconds=0.0)
            return f"did not load within {self._settings.embedded_start_timeout_seconds:g} s"
        except EngineDied as death:
            return str(death)
        finally:
            logger.debug("The embedded model's last words:\n%s", process.log())
            await process.stop(self._pace.grace_seconds)
            self._process = None

    async def _spawn(self, path: Path) -> EngineProcess:
        """Start a process, also when close() comes between: half a spawn would leave an orphan."""
        spawning = asyncio.create_task(EngineProcess.spawn(path, self._settings), name="mavera-engine-spawn")
        try:
            return await asyncio.shield(spawning)
        except asyncio.CancelledError:
            with suppress(OSError):
                await (await spawning).stop(grace_seconds=0.0)
            raise

    async def _watch(self, process: EngineProcess, address: EngineAddress) -> str:
        """
        Ask after the engine's health until it ends or has kept silent too often; return which.

        An engine that is busy with a long prompt on a slow machine may be late with its answer. One that
        used no processor time and read no page between two such questions is not busy: it is frozen.
        """
        strikes, work_before = 0, None
        timeout = aiohttp.ClientTimeout(total=self._pace.health_timeout_seconds)
        async with aiohttp.ClientSession(address.base_url, timeout=timeout) as session:
            while strikes < self._pace.health_strikes:
                if await _is_healthy(session):
                    strikes, work_before = 0, None
                    if not isinstance(self._state, Ready):
                        self._become(Ready(address))
                else:
                    strikes += 1
                    work = process.work_done()
                    if strikes >= self._pace.frozen_strikes and work is not None and work == work_before:
                        break
                    work_before = work
                pause = self._pace.recheck_seconds if strikes else self._pace.health_interval_seconds
                if await process.ended(within_seconds=pause):
                    return process.obituary()
        # It does not listen, so it would not listen to a polite request to end either.
        self._become(Down("stopped answering", again_at=self._clock()))
        await process.stop(grace_seconds=0.0)
        return "stopped answering and was killed"

    def _seconds_until_ready(self) -> int:
        match self._state:
            case Starting(_, expected_at):
                return self._seconds_until(expected_at)
            case Down(_, again_at):
                return self._seconds_until(again_at + self._load_seconds)
            case _:
                return self._seconds_until(self._clock() + self._pace.look_for_model_seconds)

    def _seconds_until(self, moment: float) -> int:
        return max(1, math.ceil(moment - self._clock()))


async def _is_healthy(session: aiohttp.ClientSession) -> bool:
    try:
        async with session.get("/health") as answer:
            return answer.status == 200
    except (aiohttp.ClientError, TimeoutError, OSError):
        return False
