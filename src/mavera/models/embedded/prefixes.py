"""
Save the prefixes of personas on disk, in the state in which the engine has read them.

    at the start   one prefix is read, or restored, before anybody asks
    a question     its prefix is not in the engine's cache: clear a slot, restore the file into it
    its answer     the prefix was read and has no file: save it at once, while a slot still has it
    while idle     take the next prefix without a file: read it in steps, save it, rename it into place

Reading a persona takes seconds, and restoring it takes milliseconds. A file's name contains the identity
of the model and the engine, the key of the prefix, and a checksum. A file with another identity is never
loaded, and a damaged one is deleted. No failure here fails a question or delays it for long. At worst the
engine reads the prefix again. Only prefixes given to `keep` are written, so no content of callers reaches
the disk.
"""

import asyncio
import hashlib
import logging
import os
import shutil
import zlib
from array import array
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import msgspec

from mavera.core.items import Item, Message, make_message
from mavera.core.prompt import Prompt
from mavera.errors import APIError
from mavera.models.embedded.engine import Engine
from mavera.models.embedded.engine_api import EngineApi, EngineCallFailed
from mavera.models.embedded.process import EngineAddress

logger = logging.getLogger(__name__)

IDLE_SECONDS = 10.0
# A question that arrives while a prefix is being read waits for one step, which is about a second at most.
STEP_TOKENS = 64
# A running engine delays a question this long at most for its prefix. Then the question reads the prefix.
RESTORE_SECONDS = 4.0
FILL_SECONDS = 120.0
# The engine's own cache certainly has this many prefixes. A needless restore costs 0.1 s.
KNOWN_WARM = 12
FREE_DISK_BYTES = 1024**3
# The most bytes that the engine writes before the tokens of a state.
HEAD_BYTES = 64
SUFFIX = ".state"
# Called with (tokens read, tokens in all).
ReadProgress = Callable[[int, int], None]
_FAILURES = (APIError, EngineCallFailed, TimeoutError, OSError)


def ignore_reading(read: int, total: int) -> None:
    """Do nothing. This is the default callback for the progress of reading."""


class IdentifiedEngine(Engine, Protocol):
    """An engine that names its model and itself, for the states on disk."""

    @property
    def model_identity(self) -> str: ...


class PrefixStates:
    """
    The saved prefixes of one engine. Together they take at most `most_bytes`; 0 turns them off.

    Without `writes`, prefixes are restored, and none are saved: the engine belongs to another process.
    """

    def __init__(
        self,
        engine: IdentifiedEngine,
        folder: Path,
        most_bytes: int,
        *,
        writes: bool = True,
        idle_seconds: float = IDLE_SECONDS,
        restore_seconds: float = RESTORE_SECONDS,
    ) -> None:
        self._engine = engine
        self._folder = folder
        self._most_bytes = most_bytes
        self._writes = writes
        self._idle_seconds = idle_seconds
        self._restore_seconds = restore_seconds
        self._wanted: dict[str, tuple[Item, ...]] = {}
        self._warm: OrderedDict[str, None] = OrderedDict()
        self._seen: set[str] = set()
        self._fresh: OrderedDict[str, None] = OrderedDict()
        self._address: EngineAddress | None = None
        self._running: list[str | None] = []  # the key of each prompt's prefix
        self._changed = asyncio.Event()
        self._reading = asyncio.Lock()
        self._filler: asyncio.Task[None] | None = None
        self._keeper: asyncio.Task[None] | None = None

    def keep(self, prefixes: Sequence[tuple[Item, ...]]) -> None:
        """Set the prefixes that are worth a file, the most important first."""
        self._wanted = {_build_key(prefix): prefix for prefix in prefixes}

    async def start(self) -> None:
        if self._writes and self._most_bytes and self._wanted and self._filler is None:
            self._filler = asyncio.create_task(self._fill_for_ever(), name="mavera-prefixes")

    async def close(self) -> None:
        tasks = [task for task in (self._filler, self._keeper) if task is not None]
        self._filler = self._keeper = None
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def read(self, prefix: tuple[Item, ...], on_progress: ReadProgress) -> None:
        """Let the engine read `prefix` before the first question. A question goes first. Never fails."""
        key = _build_key(prefix)
        with suppress(*_FAILURES):
            address = await self._engine.endpoint()
            async with asyncio.timeout(FILL_SECONDS), self._reading:
                if await self._restore(address, key, first=True):
                    return
                async with EngineApi(address, seconds=FILL_SECONDS) as api:
                    saves = self._writes and bool(self._most_bytes) and self._has_room()
                    await self._fill(api, prefix, on_progress, saves=saves)

    async def begin(self, prompt: Prompt) -> None:
        """Prepare for a prompt, and count it as running until `end`. Never fails."""
        key = self._find_key(prompt)
        self._running.append(key)
        self._changed.set()
        if key is None:
            return
        with suppress(*_FAILURES):
            # This waits for the engine's first start, which the question has to wait for anyway.
            address = await self._engine.endpoint()
            async with asyncio.timeout(self._restore_seconds):
                await self._restore(address, key, first=_is_first(prompt))

    def end(self, prompt: Prompt, *, answered: bool) -> None:
        """Note that a prompt has ended. If the engine `answered`, it has read the prefix."""
        key = self._find_key(prompt)
        self._running.remove(key)
        self._changed.set()
        if key is not None and answered and key in self._warm and self._find(key) is None:
            self._fresh[key] = None
        idle = self._keeper is None or self._keeper.done()
        # If other turns still run, the last of them starts the task.
        if self._fresh and not self._running and idle and self._filler is not None:
            self._keeper = asyncio.create_task(self._keep_fresh(), name="mavera-prefix-keeper")

    def _find_key(self, prompt: Prompt) -> str | None:
        """Return the key of the prompt's prefix, None if it is not one to keep."""
        key = _build_key(prompt.prefix)
        return key if self._most_bytes and not prompt.tools and key in self._wanted else None

    async def _restore(self, address: EngineAddress, key: str, *, first: bool) -> bool:
        """Load the file of a prefix into a slot. Returns whether that happened."""
        if address != self._address:  # the engine was restarted and has an empty cache
            self._address = address
            self._warm.clear()
            self._seen.clear()
        # For a longer conversation, the engine's cache may have more than the file.
        known = key in self._warm or (key in self._seen and not first)
        self._seen.add(key)
        self._note_warm(key)
        path = self._find(key) if self._most_bytes and not known else None
        if path is None:
            return False
        if not await asyncio.to_thread(_is_sound, path):
            path.unlink(missing_ok=True)
            return False
        async with EngineApi(address, seconds=self._restore_seconds) as api:
            if not await api.has_idle_slot():
                return False
            if await api.restore_slot(await _clear_a_slot(api), path.name):
                path.touch()
                return True
            path.unlink(missing_ok=True)
            return False

    def _note_warm(self, key: str) -> None:
        self._warm[key] = None
        self._warm.move_to_end(key)
        if len(self._warm) > KNOWN_WARM:
            self._warm.popitem(last=False)

    async def _keep_fresh(self) -> None:
        """Save prefixes that were just read. A question that arrives meanwhile goes first."""
        while self._fresh:
            key, _ = self._fresh.popitem(last=False)
            if key not in self._warm or self._find(key) is not None or not self._has_room():
                continue
            try:
                async with EngineApi(await self._engine.endpoint(), seconds=FILL_SECONDS) as api:
                    tokens = await _count_prefix_tokens(api, self._wanted[key])
                    if key in self._running:  # that turn has the slot, and another slot would read it anew
                        self._fresh[key] = None
                        return
                    await self._save(api, key, await api.evaluate(tokens), tokens)
            except _FAILURES as error:
                logger.debug("A prefix was not kept: %s", error)

    async def _fill_for_ever(self) -> None:
        while True:
            try:
                await self._fill_next()
            except _FAILURES as error:
                logger.debug("A prefix was not kept: %s", error)
                await asyncio.sleep(self._idle_seconds)

    async def _fill_next(self) -> None:
        """Wait until the engine is idle, then write the first prefix that has no file, if there is one."""
        await self._wait_until_idle()
        # The first prefix may be read just now, and two readers would cut each other's slot short.
        async with self._reading:
            missing = next((key for key in self._wanted if self._find(key) is None), None)
        if self._engine.status().state != "ready":
            return
        if missing is None or not self._has_room():
            self._changed.clear()
            await self._changed.wait()
            return
        async with self._reading, EngineApi(await self._engine.endpoint(), seconds=FILL_SECONDS) as api:
            await self._fill(api, self._wanted[missing], ignore_reading, saves=True)

    async def _wait_until_idle(self) -> None:
        """Return when no turn has run for a while."""
        while True:
            self._changed.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._idle_seconds):
                    await self._changed.wait()
                continue
            if not self._running:
                return

    async def _fill(
        self, api: EngineApi, prefix: tuple[Item, ...], on_progress: ReadProgress, *, saves: bool
    ) -> None:
        tokens = await _count_prefix_tokens(api, prefix)
        slot = 0
        for read in (*range(STEP_TOKENS, len(tokens), STEP_TOKENS), len(tokens)):
            # A question of another process, such as `mavera ask`, is not among those that run here.
            if self._running or await api.has_busy_slot():
                return
            slot = await api.evaluate(tokens[:read])
            # The engine's cache then has this prefix, and may have dropped the oldest.
            self._note_warm(_build_key(prefix))
            on_progress(read, len(tokens))
        if saves and not self._running:
            await self._save(api, _build_key(prefix), slot, tokens)

    async def _save(self, api: EngineApi, key: str, slot: int, tokens: Sequence[int]) -> None:
        """Save a slot if it holds the prefix alone, so that no content of callers is saved."""
        identity = self._identity
        partial = f"{key}-{os.getpid()}.partial"
        path = self._folder / partial
        try:
            if await api.save_slot(slot, partial) != len(tokens):
                return
            path.chmod(0o600)
            # A question of the same length may have taken the slot before the save.
            if not await asyncio.to_thread(_begins_with, path, tokens):
                return
            checksum = await asyncio.to_thread(_compute_checksum, path)
            path.replace(self._folder / f"{identity}-{key}-{checksum}{SUFFIX}")
        finally:
            path.unlink(missing_ok=True)

    def _find(self, key: str) -> Path | None:
        return next(iter(self._folder.glob(f"{self._identity}-{key}-*{SUFFIX}")), None)

    def _has_room(self) -> bool:
        """Delete the files of other models, then the least recently used ones. Say whether one more fits."""
        files = sorted(self._folder.glob(f"*{SUFFIX}"), key=lambda file: file.stat().st_mtime)
        own = [file for file in files if file.name.startswith(self._identity)]
        others = [file for file in files if file not in own]
        sizes = {file: file.stat().st_size for file in files}
        usual = max((sizes[file] for file in own), default=0)
        total = sum(sizes.values())
        for file in (*others, *own):
            fits = total + (usual if file in others else 0) <= self._most_bytes
            if fits:
                break
            file.unlink(missing_ok=True)
            total -= sizes[file]
        free = shutil.disk_usage(self._folder).free
        return total + usual <= self._most_bytes and free - usual >= FREE_DISK_BYTES

    @property
    def _identity(self) -> str:
        return self._engine.model_identity


def _build_key(prefix: Sequence[Item]) -> str:
    texts = [(item.role, item.text) for item in prefix if isinstance(item, Message)]
    return hashlib.sha256(msgspec.json.encode(texts)).hexdigest()[:32]


def _begins_with(path: Path, tokens: Sequence[int]) -> bool:
    """Say whether a state has exactly these tokens. Their number and the tokens are near its start."""
    sought = array("i", [len(tokens), *tokens]).tobytes()
    with path.open("rb") as file:
        return sought in file.read(len(sought) + HEAD_BYTES)


def _is_first(prompt: Prompt) -> bool:
    """Say whether the conversation has no answer yet."""
    said_before = prompt.items[prompt.prefix_length :]
    return not any(isinstance(item, Message) and item.role == "assistant" for item in said_before)


def _compute_checksum(path: Path) -> str:
    return f"{zlib.crc32(path.read_bytes()):08x}"


def _is_sound(path: Path) -> bool:
    try:
        return path.stem.endswith(f"-{_compute_checksum(path)}")
    except OSError:
        return False


async def _clear_a_slot(api: EngineApi) -> int:
    """Let the engine free its least recently used slot. The engine moves the slot's content to its cache."""
    return await api.evaluate((await api.tokenize_text("."))[:1])


async def _count_prefix_tokens(api: EngineApi, prefix: tuple[Item, ...]) -> list[int]:
    """Return the tokens that all questions after `prefix` share, found with two unlike questions."""
    prompts = [
        Prompt((*prefix, make_message("user", text)), prefix_length=len(prefix)) for text in ("What?", "\n7")
    ]
    first, second = [await api.tokenize_prompt(prompt) for prompt in prompts]
    shared = next((n for n, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), 0)
    return first[:shared]
