"""
One decoded request, in neither wire format: what both endpoints come down to.

A `Turn` is what the door hands to a run. The run composes the prompt and hands a
model another `Turn`, whose `items` begin with the persona.
"""

from typing import Any, Literal

import msgspec

from mavera.core.items import Item

Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
Verbosity = Literal["low", "medium", "high"]
Truncation = Literal["auto", "disabled"]


class Sampling(msgspec.Struct, frozen=True):
    """How tokens are drawn; None leaves the model's own default."""

    temperature: float | None = None
    top_p: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    logit_bias: dict[str, float] | None = None


class OutputFormat(msgspec.Struct, frozen=True):
    """`schema` is set for json_schema only; `at` is where the request has it, for error messages."""

    type: Literal["text", "json_object", "json_schema"] = "text"
    name: str = ""
    description: str | None = None
    schema: dict[str, Any] | None = None
    strict: bool = False
    at: str = ""


class FunctionTool(msgspec.Struct, frozen=True):
    """`at` is where the request has the parameters, for error messages."""

    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool = False
    at: str = ""


class NamedTool(msgspec.Struct, frozen=True):
    """A tool of the server's that the request names; `at` is where."""

    name: str
    at: str


class ToolChoice(msgspec.Struct, frozen=True):
    """`names` narrows the choice to those functions; one name with `required` forces that one."""

    mode: Literal["auto", "none", "required"] = "auto"
    names: tuple[str, ...] = ()


class Turn(msgspec.Struct, frozen=True):
    """
    `top_logprobs` is None where no log-probabilities were asked for, else 0 to 20.

    `items_param` is what the caller's body calls the conversation, for messages. `lead`
    counts the items at the front that are the persona's prompt, hence the same in every
    turn of that persona: what changes by request goes after them. `speaks_for_nobody`
    says that the answer is no persona's, also where an operator demands one: a summary.
    `named_tools` narrows the server's tools to those; without any, all that are set up may
    be offered. `audience` is of a mosaic: the ids of the personas that answer, each with
    its weight; these add up to 1.
    """

    model: str
    items: tuple[Item, ...]
    persona_id: str | None = None
    instructions: str | None = None
    max_output_tokens: int | None = None
    sampling: Sampling = Sampling()
    format: OutputFormat = OutputFormat()
    tools: tuple[FunctionTool, ...] = ()
    tool_choice: ToolChoice = ToolChoice()
    named_tools: tuple[NamedTool, ...] = ()
    max_tool_calls: int | None = None
    parallel_tool_calls: bool = True
    top_logprobs: int | None = None
    reasoning_effort: Effort = "medium"
    verbosity: Verbosity = "medium"
    analysis_mode: bool = False
    canvas_mode: bool = False
    truncation: Truncation = "disabled"
    items_param: str = "input"
    speaks_for_nobody: bool = False
    audience: tuple[tuple[str, float], ...] = ()
    lead: int = 0
