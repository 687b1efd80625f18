"""
Give a request with a seed the answer that it had before, if the operator keeps such answers.

    the first time   the model answers, and each of its answers in this run is kept
    again            the kept answers are given, all that the run does with them included

A seed alone does not repeat an answer: a model computes a token together with those of other requests and
with what its cache holds, and the last digits of that arithmetic decide now and then. So a kept answer is
found by everything that it depends on: the model's file or server, the prompt with its sampling, and the seed
of the turn. Failures and answers that nobody read to the end are not kept.
"""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any
from weakref import WeakValueDictionary

import msgspec
import structlog
from msgspec.structs import replace

from mavera.core import events
from mavera.core.events import ModelEvent, RunCompleted
from mavera.core.prompt import Prompt
from mavera.errors import APIError
from mavera.models.model import Model, ModelStatus
from mavera.storage.kept import KeptAnswers, Purpose

REPEATS = Purpose("repeats", 50_000, 512 * 1024 * 1024)
# A longer answer is not kept.
MOST_BYTES = 1024 * 1024
_DAY_SECONDS = 86_400
_KINDS: dict[str, type[Any]] = {
    kind.__name__: kind
    for kind in (
        events.RunStarted,
        events.TextDelta,
        events.ReasoningDelta,
        events.TextWasReasoning,
        events.RefusalDelta,
        events.ToolCallStarted,
        events.ToolCallDelta,
        events.RunCompleted,
    )
}

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class SeededTurn:
    """`model_name` is the name by which the turn asks for its model."""

    model_name: str
    seed: int
    workspace_id: str


class SeededAnswers:
    """
    The kept answers to turns with a seed.

    `identify` returns the identity of the model that has a name: its file or its server.
    """

    def __init__(self, kept: KeptAnswers, identify: Callable[[str], str], *, days: int) -> None:
        self._kept = kept
        self._identify = identify
        self._seconds = days * _DAY_SECONDS
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def repeat(self, model: Model, turn: SeededTurn) -> Model:
        """Return a model that gives the kept answers of `model`, and keeps its other ones."""
        return _RepeatingModel(model, self, turn)

    def lock(self, key: str) -> asyncio.Lock:
        """Return the lock under which a place is read and filled, so that two turns at once answer alike."""
        return self._locks.setdefault(key, asyncio.Lock())

    def make_key(self, turn: SeededTurn, prompt: Prompt) -> str:
        plain = replace(prompt, preferences=frozenset())
        what = (self._identify(turn.model_name), turn.seed, plain)
        return hashlib.sha256(msgspec.json.encode(what, order="deterministic")).hexdigest()

    async def find(self, turn: SeededTurn, key: str) -> list[ModelEvent] | None:
        """Return the events of a kept answer. A store that is down has none."""
        try:
            value = await self._kept.find(turn.workspace_id, REPEATS, key)
            return None if value is None else decode_events(value)
        except (APIError, msgspec.DecodeError, KeyError) as error:
            log.warning("repeat_not_found", error=type(error).__name__)
            return None

    async def keep(self, turn: SeededTurn, key: str, answer: list[ModelEvent]) -> None:
        value = encode_events(answer)
        if len(value) > MOST_BYTES:
            return
        try:
            await self._kept.keep(turn.workspace_id, REPEATS, key, value, seconds=self._seconds)
        except APIError as error:
            log.warning("repeat_not_kept", error=type(error).__name__)


class _RepeatingModel:
    def __init__(self, model: Model, answers: SeededAnswers, turn: SeededTurn) -> None:
        self._model = model
        self._answers = answers
        self._turn = turn
        self.profile = model.profile

    async def start(self) -> None:
        await self._model.start()

    async def close(self) -> None:
        await self._model.close()

    def status(self) -> ModelStatus:
        return self._model.status()

    async def stream(self, prompt: Prompt) -> AsyncGenerator[ModelEvent, None]:
        key = self._answers.make_key(self._turn, prompt)
        async with self._answers.lock(key):
            found = await self._answers.find(self._turn, key)
            if found is None:
                answer: list[ModelEvent] = []
                async with aclosing(self._model.stream(prompt)) as stream:
                    async for event in stream:
                        answer.append(event)
                        if isinstance(event, RunCompleted):
                            await self._answers.keep(self._turn, key, answer)
                        yield event
                return
        for event in found:
            yield event


def encode_events(answer: list[ModelEvent]) -> bytes:
    return msgspec.json.encode([(type(event).__name__, event) for event in answer])


def decode_events(value: bytes) -> list[ModelEvent]:
    """Return the events. Raises msgspec.DecodeError or KeyError for bytes of another version."""
    named = msgspec.json.decode(value, type=list[tuple[str, msgspec.Raw]])
    return [msgspec.json.decode(event, type=_KINDS[name]) for name, event in named]
