"""
Define the interface of a language model, whatever it runs on.

    embedded    llama.cpp in a child process on this machine, reached through `upstream`
    upstream    any server that speaks OpenAI's /chat/completions
    scripted    deterministic, for tests and for `mvra_test_` keys

`Model` is what every model does. `ModelProfile` is what one model can do.
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
    The state of a model. `detail` describes it in one line, with the command to type if there is one.

    `restarts` counts the restarts of the model's engine.
    """

    state: Literal["ready", "starting", "idle", "unavailable"]
    detail: str
    restarts: int = 0


@dataclass(frozen=True, slots=True)
class ModelContext:
    """
    The context of a model that can count the tokens of a prompt.

    A prompt and its answer have at most `tokens` together. `count` returns the tokens of a prompt. It raises
    APIError.
    """

    tokens: int
    count: Callable[[Prompt], Awaitable[int]]


def _enforces_nothing(wanted: OutputFormat) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class ModelProfile:
    """
    The abilities of a model. They stay the same as long as the model lives.

    `sees_images`: whether it accepts images. Other models get a text in the place of each image.
    `gives_logprobs`: whether answers can have the log-probabilities of tokens and of their alternatives.
    `reasons`: whether it reasons on its own and accepts `reasoning_effort`.
    `tools`: whether the model's server makes function calls, or we decode them under the functions' schemas.
    `answers_after_result`: whether it is offered no server tools once one has given a result. A small model
    would make the same call again.
    `shares_one_cache`: whether questions about one conversation must follow one another. In parallel, each
    of them would read the conversation again.
    `enforces_format`: whether decoding enforces a JSON format. Such an answer is streamed before it is
    checked.
    `takes_hints`: it adds the hint of a prompt to the question.
    `introduction`: the system message of prompts that would have none, or an empty text.
    `context`: the model's context, or None if the model cannot count tokens.
    `read_prefix`: a function that lets the model read a prefix before the first question, and passes (tokens
    read, tokens in all) to its second argument. Call it after `start`. It never fails. None if it brings
    nothing.
    `keep_prefixes`: a function that takes the prefixes to keep across restarts, the most important first.
    Call it before `start`. None if the model keeps no prefixes.
    `is_working`: a function that returns whether the model works on an answer now. None if it cannot tell.
    """

    sees_images: bool = False
    reasons: bool = False
    gives_logprobs: bool = False
    tools: Literal["native", "constrained"] = "native"
    answers_after_result: bool = False
    shares_one_cache: bool = False
    enforces_format: Callable[[OutputFormat], bool] = _enforces_nothing
    takes_hints: bool = False
    introduction: str = ""
    context: ModelContext | None = None
    read_prefix: Callable[[tuple[Item, ...], Callable[[int, int], None]], Awaitable[None]] | None = None
    keep_prefixes: Callable[[Sequence[tuple[Item, ...]]], None] | None = None
    is_working: Callable[[], Awaitable[bool]] | None = None


class Model(Protocol):
    """A language model."""

    @property
    def profile(self) -> ModelProfile: ...

    def stream(self, prompt: Prompt) -> AsyncGenerator[ModelEvent, None]:
        """
        Yield `RunStarted`, deltas and `RunCompleted`.

        Raises APIError: before `RunStarted` if the model cannot take the prompt (ConversationTooLong if it is
        too long), and after `RunStarted` if the answer fails. Closing the iterator stops the work within a
        second.
        """
        ...

    def status(self) -> ModelStatus: ...

    async def start(self) -> None:
        """Prepare to answer. Returns at once if that takes long."""
        ...

    async def close(self) -> None:
        """Release everything. Nothing of this model runs afterwards."""
        ...
