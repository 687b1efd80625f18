"""
The seam: what mavera needs of a language model, whatever it runs on.

    embedded    llama.cpp in a child process on this machine, reached through `upstream`
    upstream    any server that speaks OpenAI's /chat/completions
    scripted    deterministic, for tests and for `mvra_test_` keys
"""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeGuard, runtime_checkable

from mavera.core.events import ModelEvent
from mavera.core.items import Item
from mavera.core.turn import OutputFormat, Turn


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """
    `detail` says in one line what is going on and, where there is something to do, what to type.

    `restarts` counts how often what runs the model had to be started again.
    """

    state: Literal["ready", "starting", "idle", "unavailable"]
    detail: str
    restarts: int = 0


class Model(Protocol):
    """A language model."""

    @property
    def sees_images(self) -> bool:
        """Whether it takes images as they are; else a turn's images reach it as text or not at all."""
        ...

    def stream(self, turn: Turn) -> AsyncGenerator[ModelEvent, None]:
        """
        Yield `Accepted`, deltas and `Finished` for a composed turn.

        Raises APIError: before `Accepted` where the turn cannot be taken, after it
        where it fails on the way; ConversationTooLong names the turn's `items_param`. Closing
        the iterator stops the work within a second.
        """
        ...

    def keeps_to(self, wanted: OutputFormat) -> bool:
        """
        Whether decoding itself keeps an answer to `wanted`, a JSON format, so that it can be
        streamed before it was checked.

        Raises InvalidRequest, naming the keyword, where this model cannot enforce the schema.
        """
        ...

    def status(self) -> ModelStatus: ...

    async def start(self) -> None:
        """Make ready what has to be; returns at once where that takes long."""
        ...

    async def close(self) -> None:
        """Let go of everything; nothing of this model runs afterwards."""
        ...


class CountsTokens(Protocol):
    """A model that can tell beforehand whether a turn fits."""

    @property
    def context_tokens(self) -> int:
        """The most that a prompt and its answer may have together."""
        ...

    async def count_tokens(self, turn: Turn) -> int:
        """Return how many tokens the prompt of a composed turn has. Raises APIError."""
        ...


def counts_tokens(model: object) -> TypeGuard[CountsTokens]:
    return hasattr(model, "count_tokens")


def reasons(model: object) -> bool:
    """Whether the model thinks by itself, as hard as the turn's `reasoning_effort` says: its `reasons`."""
    return bool(getattr(model, "reasons", False))


def shares_one_cache(model: object) -> bool:
    """
    Whether questions about one conversation go one after the other, by its `shares_one_cache`:
    side by side, each would read the conversation anew.
    """
    return bool(getattr(model, "shares_one_cache", False))


@runtime_checkable
class KeepsPrefixes(Protocol):
    """A model that can keep how it has read a prompt's beginning, beyond its own life."""

    def keep(self, leads: Sequence[tuple[Item, ...]]) -> None:
        """Say which beginnings are worth keeping, the most wanted first; before `start`."""
        ...
