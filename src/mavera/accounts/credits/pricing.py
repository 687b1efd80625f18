"""
The price of a run, which depends only on the work done in it.

    standard                   1–3      ┐
    with tool calls            2–4 a turn │  the step in the range: 0, 1 or 2
    with image input           3–5      │  under 2,000 tokens · under 6,000 · from there on
    with analysis              3–5      ┘  effort high, xhigh or max: one step more
    analysis of a text         2 a text    an analysis adds as much to a standard answer

If several lines apply, the dearest one counts. Streaming costs the same. docs/explanation/credits.md has
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

# The estimate before a run assumes these sizes of a persona's prompt, an answer, an image and a token.
PERSONA_TOKENS = 1_000
ANSWER_TOKENS = 500
IMAGE_TOKENS = 500
CHARACTERS_PER_TOKEN = 4


class Work(msgspec.Struct, frozen=True):
    """The work of a run, as far as its price depends on it. `tool_turns` counts answers that called tools."""

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


def price_analyses(texts: int) -> int:
    """Return the credits that the analyses of `texts` texts cost: what an analysis adds to an answer."""
    return texts * (WITH_ANALYSIS - STANDARD)


def work_of(turn: Turn, *, total_tokens: int, tool_turns: int, analysed: bool = True) -> Work:
    """Return the work of a run. `analysed` is false if a requested analysis could not be made."""
    return Work(
        total_tokens,
        effort=turn.reasoning_effort,
        analysis=turn.analysis_mode and analysed,
        images=_count_images(turn) > 0,
        tool_turns=tool_turns,
    )


def estimate_credits(turn: Turn) -> int:
    """Return the likely price of `turn`, which is held until the run has ended."""
    answer = min(turn.max_output_tokens or ANSWER_TOKENS, ANSWER_TOKENS)
    tool_turns = int(turn.tool_choice.mode == "required" or bool(turn.named_tools))
    expected = work_of(turn, total_tokens=estimate_input_tokens(turn) + answer, tool_turns=tool_turns)
    # A mosaic consists of each persona's answer and the synthesis.
    return price(expected) * (len(turn.audience) + 1 if turn.audience else 1)


def estimate_input_tokens(turn: Turn) -> int:
    """Estimate the number of tokens that the model will read."""
    characters = sum([len(item.text) for item in turn.items if isinstance(item, Message)])
    characters += len(turn.instructions or "")
    persona = PERSONA_TOKENS if turn.persona_id is not None or turn.audience else 0
    return characters // CHARACTERS_PER_TOKEN + _count_images(turn) * IMAGE_TOKENS + persona


def _count_images(turn: Turn) -> int:
    images = 0
    for item in turn.items:
        match item:
            case Message(parts=parts) | FunctionOutput(output=parts):
                for part in parts:
                    images += isinstance(part, Image)
    return images
