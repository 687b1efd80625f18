"""
Share the engine of a running server with the commands of the same data directory.

    the server     holds engine.lock for as long as it lives, and writes engine.json when its engine is ready
    a command      finds the lock held, reads engine.json, and asks that engine instead of loading the model

The system releases the lock when the server dies, however it dies, so an old engine.json deceives nobody.
Only the user of the data directory can read the file, which has the engine's key.
"""

import asyncio
import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import IO, Self

import msgspec

from mavera.errors import ServiceUnavailable
from mavera.models.embedded.identity import compute_identity
from mavera.models.embedded.process import EngineAddress
from mavera.models.model import ModelStatus

_LOCK_NAME, _FILE_NAME = "engine.lock", "engine.json"
_LOCK_SECONDS = 1.0
_POLL_SECONDS = 0.1


class SharedEngineInfo(msgspec.Struct, frozen=True, kw_only=True):
    """The engine of a running server. `base_url` is empty while the model loads."""

    server_url: str
    model: str
    model_path: str
    context_tokens: int
    base_url: str = ""
    api_key: str = ""


class Announcement:
    """The server's side. It belongs to one server, which closes it at its end."""

    def __init__(self, folder: Path, lock: IO[bytes]) -> None:
        self._path = folder / _FILE_NAME
        self._lock = lock

    @classmethod
    def open(cls, data_dir: Path) -> Self | None:
        """Return the announcement of a data directory. None if another server has it, or the disk refuses."""
        try:
            data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = (data_dir / _LOCK_NAME).open("ab")
        except OSError:
            return None
        deadline = time.monotonic() + _LOCK_SECONDS
        # A command that looks whether there is a server holds the lock for a moment.
        while not _lock(lock, shared=False):
            if time.monotonic() > deadline:
                lock.close()
                return None
            time.sleep(_POLL_SECONDS / 2)
        announcement = cls(data_dir, lock)
        announcement.withdraw()
        return announcement

    def write(self, info: SharedEngineInfo) -> None:
        """Replace what is announced. A disk that refuses only costs the commands the use of this engine."""
        partial = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        with suppress(OSError):
            descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(msgspec.json.encode(info))
            os.replace(partial, self._path)

    def withdraw(self) -> None:
        with suppress(OSError):
            self._path.unlink(missing_ok=True)

    def close(self) -> None:
        self.withdraw()
        self._lock.close()


def find_shared_engine(data_dir: Path) -> SharedEngineInfo | None:
    """Return the engine of the server that runs on this data directory. None if there is none."""
    if not _is_held(data_dir / _LOCK_NAME):
        return None
    try:
        return msgspec.json.decode((data_dir / _FILE_NAME).read_bytes(), type=SharedEngineInfo)
    except (OSError, msgspec.DecodeError):
        return None


class SharedEngine:
    """The engine of a running server, as a command uses it. It is neither started nor ended here."""

    def __init__(self, info: SharedEngineInfo, data_dir: Path, *, start_seconds: float) -> None:
        self._info = info
        self._data_dir = data_dir
        self._start_seconds = start_seconds

    @property
    def context_tokens(self) -> int:
        return self._info.context_tokens

    @property
    def model_identity(self) -> str:
        return compute_identity(Path(self._info.model_path))

    async def start(self) -> None:
        return None

    async def endpoint(self) -> EngineAddress:
        """Return the address. Waits while the server loads the model. Raises ServiceUnavailable."""
        deadline = time.monotonic() + self._start_seconds
        while not self._info.base_url:
            found = find_shared_engine(self._data_dir)
            if found is None or time.monotonic() > deadline:
                raise ServiceUnavailable("The running server's model is not available.", retry_after=1)
            self._info = found
            await asyncio.sleep(0 if found.base_url else _POLL_SECONDS)
        return EngineAddress(self._info.base_url, self._info.api_key)

    def status(self) -> ModelStatus:
        return ModelStatus("ready", f"The running server's model ({self._info.model}) answers.")

    def load_progress(self) -> float | None:
        return None

    async def close(self) -> None:
        return None


def _is_held(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return not _lock(file, shared=True)
    except OSError:
        return False


if sys.platform == "win32":

    def _lock(file: IO[bytes], *, shared: bool) -> bool:
        """Say that nobody can be found: Windows has no locks of this kind."""
        return True

else:
    import fcntl

    def _lock(file: IO[bytes], *, shared: bool) -> bool:
        """Lock a file until it is closed. Returns False if another process has it."""
        try:
            fcntl.flock(file.fileno(), (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except OSError:
            return False
        return True
