"""
The seam: what mavera needs of a language model, whatever it runs on.

    embedded    llama.cpp in a child process on this machine, reached through `upstream`
    upstream    any server that speaks OpenAI's /chat/completions
    scripted    deterministic, for tests and for `mvra_test_` keys

`Model` says what every model does; `ModelProfile` says what one model can do.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from mavera.core.events import ModelEvent
from mavera.core.items import Item
from mavera.core.prompt import OutputFormat, Prompt


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """
    `detail` says in one line what is going on and, if there is something to do, what to type.

    `restarts` counts how often what runs the model had to be started again.
    """

    state: Literal["ready", "starting", "idle", "unavailable"]
    detail: str
    restarts: int = 0


@dataclass(frozen=True, slots=True)
class ModelContext:
    """
    The context of a model that can tell beforehand whether a prompt fits.

    A prompt and its answer have at most `tokens` together. `count` returns the tokens of a prompt, and
    raises APIError.
    """

    tokens: int
    count: Callable[[Prompt], Awaitable[int]]


def _enforces_nothing(wanted: OutputFormat) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class ModelProfile:
    """
    What a model can do. It stays the same for as long as the model lives.

    `sees_images`: it takes images as they are. Others get a text in the place of each image.
    `reasons`: it reasons on its own and accepts `reasoning_effort`.
    `tools`: whether the model's server makes function calls, or we decode them under the functions' schemas.
    `shares_one_cache`: questions about one conversation are asked one after the other, because side by
    side each of them would read the conversation again.
    `enforces_format`: whether decoding itself holds an answer to a JSON format. Such an answer is streamed
    before it has been checked.
    `introduction`: the system message of prompts that would have none; empty for none.
    `context`: None if the model cannot count tokens.
    `keep_prefixes`: names the prefixes to keep beyond the model's life, the most wanted first; call it
    before `start`. None if the model keeps none.
    """

    sees_images: bool = False
    reasons: bool = False
    tools: Literal["native", "constrained"] = "native"
    shares_one_cache: bool = False
    enforces_format: Callable[[OutputFormat], bool] = _enforces_nothing
    introduction: str = ""
    context: ModelContext | None = None
    keep_prefixes: Callable[[Sequence[tuple[Item, ...]]], None] | None = None


class Model(Protocol):
    """A language model."""

    @property
    def profile(self) -> ModelProfile: ...

    def stream(self, prompt: Prompt) -> AsyncGenerator[ModelEvent, None]:
        """
        Yield `RunStarted`, deltas and `RunCompleted`.

        Raises APIError: before `RunStarted` if the prompt cannot be taken, ConversationTooLong among
        them, and after it if the answer fails. Closing the iterator stops the work within a second.
        """
        ...

    def status(self) -> ModelStatus: ...

    async def start(self) -> None:
        """Prepare to answer. Returns at once if that takes long."""
        ...

    async def close(self) -> None:
        """Release everything. Nothing of this model runs afterwards."""
        ...
