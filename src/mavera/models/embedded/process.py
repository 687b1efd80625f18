"""
Run one process of the engine, from its start to the explanation of its end.

The process has its own session, so a Ctrl-C in the terminal reaches only the server, which lets streams
end first. Spawn it from the event loop's thread, because on Linux the kernel kills it when the thread that
spawned it ends.
"""

import asyncio
import os
import secrets
import signal
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Self, cast

import msgspec

from mavera.child_command import build_child_environment, build_python_command
from mavera.models.embedded.cores import count_usable_cores
from mavera.models.embedded.parameters import EngineParameters, EngineReport
from mavera.models.embedded.pull import resolve_projector
from mavera.settings import Settings

COMMAND = build_python_command("mavera.models.embedded.child")
# Plain numbers, because Windows has no such signals.
ILLEGAL_INSTRUCTION, KILLED = -4, -9
LOG_LINES = 50
LOG_BYTES = 16 * 1024
OUT_OF_MEMORY = (
    "ran out of memory; reduce MAVERA_EMBEDDED_SLOTS or MAVERA_EMBEDDED_CONTEXT_TOKENS,"
    " or set MAVERA_MODEL to a smaller model"
)
# The memory of a loaded model per byte of its file: mapped weights, a repacked copy, the context.
RESIDENT_PER_FILE_BYTE = 2.4
SPINS_BEFORE_SLEEP = "2000"  # for libgomp, whose default of 300,000 takes milliseconds


class EngineAddress(NamedTuple):
    """The URL of a running engine, and the key that only this server knows."""

    base_url: str
    api_key: str

    def __repr__(self) -> str:
        """Keep the key out of logs and tracebacks."""
        return f"EngineAddress({self.base_url!r})"


class EngineDied(Exception):
    """The process ended before it was ready. The message says why."""


class EngineProcess:
    """A child process that loads a model and then serves it."""

    def __init__(self, process: asyncio.subprocess.Process, model_path: Path, api_key: str) -> None:
        self._process = process
        # All three are pipes.
        self._stdin = cast("asyncio.StreamWriter", process.stdin)
        self._stdout = cast("asyncio.StreamReader", process.stdout)
        self._stderr = cast("asyncio.StreamReader", process.stderr)
        self._model_path = model_path
        self._api_key = api_key
        self._log = b""
        self._report = EngineReport()
        self._log_reader = asyncio.create_task(self._keep_log(), name="mavera-engine-log")

    @classmethod
    async def spawn(cls, model_path: Path, settings: Settings) -> Self:
        """Start the process, and send it its parameters. Raises OSError if it cannot be started."""
        projector = resolve_projector(settings)
        parameters = EngineParameters(
            model_path=str(model_path),
            api_key=secrets.token_urlsafe(32),
            slots=settings.embedded_slots,
            context_tokens=settings.embedded_context_tokens,
            threads=settings.embedded_threads or count_usable_cores(),
            parent_pid=os.getpid(),
            states_dir=_make_folder(settings.states_dir) if settings.prefix_states_mib else "",
            projector_path=str(projector) if projector else "",
        )
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            *COMMAND, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True, env=_build_environment()
        )
        engine = cls(process, model_path, parameters.api_key)
        # The line fits into the pipe, so the write does not wait for a slow or dead child.
        engine._stdin.write(msgspec.json.encode(parameters) + b"\n")
        return engine

    @property
    def pid(self) -> int:
        return self._process.pid

    async def ready(self) -> EngineAddress:
        """Wait until the model is loaded. Raises EngineDied."""
        line = await self._stdout.readline()
        if line.endswith(b"\n"):
            self._report = msgspec.json.decode(line, type=EngineReport)
        if self._report.port is None:
            await self._process.wait()
            await self._log_reader
            raise EngineDied(self.explain_end())
        return EngineAddress(f"http://127.0.0.1:{self._report.port}", self._api_key)

    async def wait_for_end(self, within_seconds: float) -> bool:
        """Wait for the end of the process. Returns False if it still runs after `within_seconds`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within_seconds):
                await self._process.wait()
                await self._log_reader
        return self._process.returncode is not None

    def explain_end(self) -> str:
        """Say why the process ended, and what to do about it. The text continues "The embedded model"."""
        code, log = self._process.returncode, self.log()
        if code == ILLEGAL_INSTRUCTION:
            return (
                "cannot run on this CPU, which lacks AVX2; set MAVERA_UPSTREAM_BASE_URL to use another server"
            )
        if code == KILLED:
            return f"was killed, most likely because the machine {OUT_OF_MEMORY}"
        if any(sign in log for sign in ("failed to allocate", "insufficient memory", "bad_alloc")):
            return OUT_OF_MEMORY
        said = next((line for line in log.splitlines() if " E " in line), "").split(" E ")[-1].strip()
        if self._report.error is not None:
            return f"did not start: {self._report.error}{f': {said}' if said else ''}"
        return f"ended with {_exit_status(code)}{f': {said}' if said else ''}"

    def log(self) -> str:
        """Return the last lines of llama.cpp's log."""
        return "\n".join(self._log.decode(errors="replace").splitlines()[-LOG_LINES:])

    def load_progress(self) -> float | None:
        """Return the loaded part of the model, roughly, from 0 to 1. None if the system does not say."""
        try:
            pages = int(Path(f"/proc/{self.pid}/statm").read_text(encoding="ascii").split()[1])
            expected = self._model_path.stat().st_size * RESIDENT_PER_FILE_BYTE
        except (OSError, IndexError, ValueError):
            return None
        return min(0.99, pages * os.sysconf("SC_PAGE_SIZE") / expected)

    def measure_work(self) -> int | None:
        """Return a number that grows while the process works. None if the system does not say."""
        return measure_work(self.pid)

    async def stop(self, grace_seconds: float) -> None:
        """Ask the process to end, then kill it. It is gone afterwards."""
        try:
            self._stdin.close()
            with suppress(ProcessLookupError):
                self._process.terminate()
            await self.wait_for_end(within_seconds=grace_seconds)
        finally:
            with suppress(ProcessLookupError):
                self._process.kill()
        await self._process.wait()
        await self._log_reader
        with suppress(BrokenPipeError, ConnectionResetError):
            await self._stdin.wait_closed()

    async def _keep_log(self) -> None:
        while chunk := await self._stderr.read(4096):
            self._log = (self._log + chunk)[-LOG_BYTES:]


def measure_work(pid: int) -> int | None:
    """
    Return a number that grows while a process works: ticks of processor time plus pages read from disk.

    None if the system does not say.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
        # The program's name, in parentheses, can contain anything. After it come state, parent, …
        values = fields.rpartition(")")[2].split()
        major_faults, user_ticks, system_ticks = int(values[9]), int(values[11]), int(values[12])
    except (OSError, IndexError, ValueError):
        return None
    return major_faults + user_ticks + system_ticks


def _build_environment() -> dict[str, str]:
    """
    Return the environment without the server's settings, because the engine must not see other keys.

    Unless the environment says otherwise, the engine's threads spin for a short moment and then sleep. By
    default they spin far longer. If other processes need the cores, a spinning thread keeps the thread
    that it waits for from running. bench/README.md has the measurements.
    """
    kept = build_child_environment()
    if kept.keys().isdisjoint({"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"}):
        kept["GOMP_SPINCOUNT"] = SPINS_BEFORE_SLEEP
    return kept


def _exit_status(code: int | None) -> str:
    if code is None or code >= 0:
        return f"exit status {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


def _make_folder(folder: Path) -> str:
    """Make the folder for saved states, and return its path. The path is empty if that failed."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return ""
    return str(folder)
