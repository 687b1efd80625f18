"""
What a run costs, from what happened in it and nothing else.

    standard                   1–3      ┐
    with tool calls            2–4 a turn │  the step in the range: 0, 1 or 2
    with image input           3–5      │  under 2,000 tokens · under 6,000 · from there on
    with analysis              3–5      ┘  effort high, xhigh or max: one step more

Where several apply, the dearest counts. Streaming costs the same. docs/credits.md has
this table for readers.
"""

from bisect import bisect_right

import msgspec

from mavera.core.items import FunctionOutput, Image, Message
from mavera.core.prompt import Effort
from mavera.core.turn import Turn

STANDARD, WITH_TOOLS, WITH_IMAGES, WITH_ANALYSIS = 1, 2, 3, 3
STEPS = 2
STEP_TOKENS = (2_000, 6_000)
HARD_EFFORTS: frozenset[Effort] = frozenset({"high", "xhigh", "max"})

# For the estimate made before a run: a persona's prompt, an answer, a picture, a token.
PERSONA_TOKENS = 1_000
ANSWER_TOKENS = 500
IMAGE_TOKENS = 500
CHARACTERS_PER_TOKEN = 4


class Work(msgspec.Struct, frozen=True):
    """What a run did, as far as its price depends on it. `tool_turns` counts turns that called tools."""

    total_tokens: int
    effort: Effort = "medium"
    analysis: bool = False
    images: bool = False
    tool_turns: int = 0


def price(work: Work) -> int:
    """Return the credits that `work` costs."""
    step = min(STEPS, bisect_right(STEP_TOKENS, work.total_tokens) + (work.effort in HARD_EFFORTS))
    tools = work.tool_turns * (WITH_TOOLS + step)
    more = WITH_IMAGES if work.images else STANDARD
    if work.analysis:
        more = max(more, WITH_ANALYSIS)
    return max(more + step, tools)


def work_of(turn: Turn, *, total_tokens: int, tool_turns: int, analysed: bool = True) -> Work:
    """`analysed` is false where an analysis was wished and could not be made."""
    return Work(
        total_tokens,
        effort=turn.reasoning_effort,
        analysis=turn.analysis_mode and analysed,
        images=_images(turn) > 0,
        tool_turns=tool_turns,
    )


def estimate(turn: Turn) -> int:
    """Return what `turn` will cost if it goes as most do: what is held until it has ended."""
    answer = min(turn.max_output_tokens or ANSWER_TOKENS, ANSWER_TOKENS)
    tool_turns = int(turn.tool_choice.mode == "required" or bool(turn.named_tools))
    expected = work_of(turn, total_tokens=input_tokens(turn) + answer, tool_turns=tool_turns)
    # Of a mosaic, each persona's answer and what blends them.
    return price(expected) * (len(turn.audience) + 1 if turn.audience else 1)


def input_tokens(turn: Turn) -> int:
    """Return about how many tokens the model will read, for when nobody has counted them."""
    said = sum([len(item.text) for item in turn.items if isinstance(item, Message)])
    said += len(turn.instructions or "")
    persona = PERSONA_TOKENS if turn.persona_id is not None or turn.audience else 0
    return said // CHARACTERS_PER_TOKEN + _images(turn) * IMAGE_TOKENS + persona


def _images(turn: Turn) -> int:
    """Return how many images the turn has."""
    images = 0
    for item in turn.items:
        match item:
            case Message(parts=parts) | FunctionOutput(output=parts):
                for part in parts:
                    images += isinstance(part, Image)
    return images
