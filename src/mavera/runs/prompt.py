"""
Compose the prompt: what the model reads, in which order, and why in that one.

    persona (system message, sample turns)   the same bytes every time: the model's prefix cache serves it
    instructions                             per request, so they come after it
    the conversation
    guidance (length, artifacts)             last: what a small model has just read it still obeys

One byte that changes before the conversation costs the whole persona again: seconds on
a laptop. So nothing here reads a clock, an id or a setting that changes by request
before the persona has been said.
"""

from collections.abc import Iterator

from msgspec.structs import replace

from mavera.core.items import said
from mavera.core.turn import Turn, Verbosity
from mavera.personas.catalogue import AnyPersona, prompt_items

# Medium is how the persona talks anyway. Measured: docs/decisions/0012-guidance.md
LENGTH: dict[Verbosity, str] = {
    "low": "Answer in at most ten words.",
    "high": "Answer at length: several paragraphs, with reasons and concrete examples.",
}
# A persona that is told to give reasons and examples turns into an assistant with a numbered list.
LENGTH_IN_PERSONA: dict[Verbosity, str] = {
    **LENGTH,
    "high": (
        "Answer this question at more length, in three paragraphs, still as yourself and still saying I:"
        " what you think of it, why, and what would change your mind. Make no list unless asked for one."
    ),
}
# Where the caller sets none. Medium leaves it to the model, whose server knows what it can bear.
TOKEN_LIMITS: dict[Verbosity, int] = {"low": 256, "high": 4096}

ARTIFACTS = """\
Whatever is to be kept (code, a document, a web page, a table, data, a drawing, a diagram) goes whole \
into a fenced block. On its opening fence stand its language (python, markdown, html, svg, mermaid, csv, \
json or another) and a title, as in:
```python Sorting a list
print(sorted([3, 1, 2]))
```
Say the rest outside the block, in your own voice."""


def compose(turn: Turn, persona: AnyPersona | None, *, limited: bool = True) -> Turn:
    """
    Return `turn` with the persona and the instructions before its conversation, the guidance after it.

    `limited`: whether its verbosity sets a token limit, which is wrong for a model that
    thinks by itself: what it thinks counts as well.
    """
    before = prompt_items(persona) if persona is not None else ()
    instructions = (said("system", turn.instructions),) if turn.instructions else ()
    guidance = "\n\n".join(_guidance(turn, LENGTH if persona is None else LENGTH_IN_PERSONA))
    after = (said("system", guidance),) if guidance else ()
    limit = turn.max_output_tokens or (_default_limit(turn) if limited else None)
    items = (*before, *instructions, *turn.items, *after)
    return replace(turn, items=items, max_output_tokens=limit, lead=len(before))


def makes_artifacts(turn: Turn) -> bool:
    """Whether the answer's blocks become artifacts; JSON that was asked for stays JSON."""
    return turn.canvas_mode and turn.format.type == "text"


def _guidance(turn: Turn, length: dict[Verbosity, str]) -> Iterator[str]:
    if makes_artifacts(turn):
        yield ARTIFACTS
    if turn.verbosity in length:
        yield length[turn.verbosity]


def _default_limit(turn: Turn) -> int | None:
    """A short answer has a low limit; JSON, calls and artifacts are as long as they have to be."""
    free_text = turn.format.type == "text" and not turn.tools and not turn.canvas_mode
    return TOKEN_LIMITS.get(turn.verbosity) if free_text else None
