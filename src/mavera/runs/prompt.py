"""
Compose the prompt: what the model reads, in which order, and why in that one.

    persona (system message, sample turns)   the same bytes every time: the model's prefix cache serves it
    instructions, guidance                   per request, so they come after it
    the conversation                         last

One byte that changes before the conversation costs the whole persona again: seconds on
a laptop. So nothing here reads a clock, an id or a setting that changes by request
before the persona has been said.
"""

from collections.abc import Iterator
from dataclasses import replace

from mavera.core.items import said
from mavera.core.turn import Turn, Verbosity
from mavera.personas.persona import Persona
from mavera.personas.prompt import persona_items

_LENGTH: dict[Verbosity, str] = {
    "low": "Answer in one or two short sentences.",
    "high": "Answer at length: several paragraphs, with reasons and concrete examples.",
}


def compose(turn: Turn, persona: Persona | None) -> Turn:
    """Return `turn` with the persona, the instructions and the guidance before its conversation."""
    before = persona_items(persona) if persona is not None else ()
    guidance = "\n\n".join(_guidance(turn))
    spoken = (said("system", guidance),) if guidance else ()
    return replace(turn, items=(*before, *spoken, *turn.items), lead=len(before))


def _guidance(turn: Turn) -> Iterator[str]:
    if turn.instructions:
        yield turn.instructions
    if turn.verbosity in _LENGTH:
        yield _LENGTH[turn.verbosity]
