"""
One decoded request, independent of both wire formats. Both endpoints make a `Turn` and pass it to a run.

Models never see it: `runs/compose.py` makes a `Prompt` of it.
"""

from typing import Literal

import msgspec

from mavera.core.items import Item
from mavera.core.prompt import Effort, FunctionTool, OutputFormat, Sampling, ToolChoice

Verbosity = Literal["low", "medium", "high"]
Truncation = Literal["auto", "disabled"]
Operation = Literal["responses", "chat_completions", "compaction", "personas", "focus_groups", "analyses"]


class NamedTool(msgspec.Struct, frozen=True):
    """
    A server tool that the request names. `at` is its path in the request.

    `is_optional`: the model goes without it if this server has none.
    """

    name: str
    at: str
    is_optional: bool = False


class Turn(msgspec.Struct, frozen=True):
    """
    `top_logprobs` is 0 to 20, or None if the caller requested no log-probabilities.

    Error messages call the conversation `items_param`, as the caller's format does. `speaks_for_nobody`
    exempts the turn from MAVERA_REQUIRE_PERSONA; compaction uses it. `named_tools` restricts the server tools
    to those; if it is empty, the model may get all that are set up. A mosaic has an `audience`: the ids of
    the personas that answer, each with its weight. The weights add up to 1.

    `operation` and `end_user` are for the records. `end_user` is the caller's own name for the person who
    asks, and only a keyed digest of it is stored.

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
