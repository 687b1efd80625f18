"""
The prompt: everything that a model gets, namely the items that it reads and the settings of its answer.

    prefix          the persona, the same in every prompt of that persona
    conversation    instructions, messages, calls and their results
    guidance        short notes on how to answer, read last

`runs/compose.py` makes a prompt of a request (`Turn`). The server's own questions (a plan, a probe,
the draft of a persona) are prompts from the start.
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta
from msgspec.structs import replace

from mavera.core.items import Item

Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]


class Repetition(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """
    The samplers of llama.cpp that keep an answer from repeating what stands in its last `window` tokens.

    `penalty` divides the score of a token that stands there; 1 is none. DRY makes a token less likely that
    would continue a repeated sequence of more than `dry_length` tokens, by `dry_multiplier` times
    `dry_base` to the power of the tokens beyond that.
    """

    penalty: Annotated[float, Meta(ge=1, le=2)] = 1.0
    dry_multiplier: Annotated[float, Meta(ge=0, le=5)] = 0.0
    dry_base: Annotated[float, Meta(ge=1, le=4)] = 1.75
    dry_length: Annotated[int, Meta(ge=1, le=100)] = 3
    window: Annotated[int, Meta(ge=1, le=1_000_000)] = 2048


class Sampling(msgspec.Struct, frozen=True):
    """
    The settings with which tokens are sampled. None leaves the model's default.

    Callers cannot set `top_k`, `min_p` and `repetition`; they come from what a model recommends.
    """

    temperature: float | None = None
    top_p: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    logit_bias: dict[str, float] | None = None
    top_k: int | None = None
    min_p: float | None = None
    repetition: Repetition | None = None


class OutputFormat(msgspec.Struct, frozen=True):
    """
    `schema` is set for json_schema only. `at` is its path in the request, for error messages.

    A text `begins` with certain words and has `least_words` if decoding can enforce that. If it has a
    `reason_opening` ("That's because"), its view gives a reason or the next sentence begins so. Other
    models are not told.
    """

    type: Literal["text", "json_object", "json_schema"] = "text"
    name: str = ""
    description: str | None = None
    schema: dict[str, Any] | None = None
    strict: bool = False
    at: str = ""
    begins: str = ""
    least_words: int = 0
    reason_opening: str = ""

    @property
    def constrains_text(self) -> bool:
        """Whether decoding has to enforce something of a text."""
        return self.type == "text" and bool(self.begins or self.least_words or self.reason_opening)


class FunctionTool(msgspec.Struct, frozen=True):
    """`at` is the place of the parameters in the request, for error messages."""

    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool = False
    at: str = ""


class ToolChoice(msgspec.Struct, frozen=True):
    """`names` narrows the choice to those functions; one name with `required` forces that one."""

    mode: Literal["auto", "none", "required"] = "auto"
    names: tuple[str, ...] = ()


class Prompt(msgspec.Struct, frozen=True):
    """
    The first `prefix_length` items are the prefix, and the last `guidance_length` are the guidance.

    `hint` is added to the last question for a model that we decode calls for; it is no part of the items, so
    that whoever reads the question reads the caller's words. It takes the place of the guidance.

    `top_logprobs` is 0 to 20, or None if no log-probabilities are requested. `preferences` names the
    parameters that the server chose itself (temperature, max_output_tokens, top_logprobs). If a model refuses
    one, the server retries without it.
    """

    items: tuple[Item, ...]
    sampling: Sampling = Sampling()
    format: OutputFormat = OutputFormat()
    tools: tuple[FunctionTool, ...] = ()
    tool_choice: ToolChoice = ToolChoice()
    parallel_tool_calls: bool = True
    max_output_tokens: int | None = None
    top_logprobs: int | None = None
    reasoning_effort: Effort = "medium"
    prefix_length: int = 0
    guidance_length: int = 0
    hint: str = ""
    preferences: frozenset[str] = frozenset()

    @property
    def prefix(self) -> tuple[Item, ...]:
        return self.items[: self.prefix_length]

    def with_results(self, results: tuple[Item, ...]) -> "Prompt":
        """Return the prompt with `results` at the end of its conversation, before the guidance."""
        end = len(self.items) - self.guidance_length
        return replace(self, items=(*self.items[:end], *results, *self.items[end:]))
