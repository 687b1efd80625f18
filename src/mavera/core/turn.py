"""
One decoded request, in neither wire format: what both endpoints come down to.

A `Turn` is what the door hands to a run. Models never see it: `runs/compose.py` makes a `Prompt` of it.
"""

from typing import Literal

import msgspec

from mavera.core.items import Item
from mavera.core.prompt import Effort, FunctionTool, OutputFormat, Sampling, ToolChoice

Verbosity = Literal["low", "medium", "high"]
Truncation = Literal["auto", "disabled"]
Operation = Literal["responses", "chat_completions", "compaction", "personas"]


class NamedTool(msgspec.Struct, frozen=True):
    """A server tool that the request names; `at` is its place in the request."""

    name: str
    at: str


class Turn(msgspec.Struct, frozen=True):
    """
    `top_logprobs` is None if no log-probabilities were asked for, else 0 to 20.

    `items_param` is the caller's name for the conversation, for messages. `speaks_for_nobody` exempts
    the turn from MAVERA_REQUIRE_PERSONA; compaction uses it. `named_tools` narrows the server's tools to
    those; without any, all that are set up may be offered. A mosaic has an `audience`: the ids of the
    personas that answer, each with its weight. The weights add up to 1.

    `operation` and `end_user` are for the records: which operation this is, and the caller's own name for
    the person who asks, of which only a keyed digest is stored.

    `preferences` names the parameters that no caller chose, as `Prompt.preferences` does.
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
    operation: Operation = "responses"
    end_user: str | None = None
    preferences: frozenset[str] = frozenset()
