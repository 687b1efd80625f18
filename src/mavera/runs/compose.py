"""
Compose the prompt of a turn. It is the only way from a caller's request to the text that a model reads.

    persona (system message, sample turns)   the prefix: the same bytes every time, for the prefix cache
    instructions                             different per request, so they come after it
    the conversation
    guidance (length, artifacts)             last, because a small model obeys what it has just read

If one byte of the prefix changes, the model reads the whole persona again, which takes seconds on a laptop.
So nothing before the instructions depends on a clock, an id or the request.
"""

from collections.abc import Iterator

from msgspec.structs import replace

from mavera.core.items import Image, Message, make_message
from mavera.core.prompt import OutputFormat, Prompt
from mavera.core.turn import Turn, Verbosity
from mavera.fetch.image_description import BEGINNING
from mavera.personas.catalogue import AnyPersona, build_prefix
from mavera.runs.artifact_request import request_artifact
from mavera.runs.speaking import (
    IN_LANGUAGE,
    asks_for_form,
    asks_for_opinion,
    choose_opening,
    find_hint,
    find_language,
    separates_words,
)

# Medium is the persona's own length. docs/decisions/0012-guidance.md has the measurements.
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
# The limits if the caller sets none. At medium, the model's server decides.
TOKEN_LIMITS: dict[Verbosity, int] = {"low": 256, "high": 4096}
# The fewest words of a spoken answer at length, where decoding can enforce that: some 1.8 times the median at
# medium (evals/README.md).
LEAST_WORDS_AT_LENGTH = 100
# An answer of fewer tokens has no room for a reason.
FEWEST_TOKENS_OF_TALK = 16


def compose(
    turn: Turn,
    persona: AnyPersona | None,
    *,
    limits_length: bool = True,
    introduction: str = "",
    hints: bool = True,
) -> Prompt:
    """
    Return the prompt that answers `turn` as `persona`, or without a persona.

    `limits_length` lets the verbosity set a token limit. That is wrong for a model that reasons on its
    own, because its reasoning counts as well. `introduction` is the system message if neither a persona
    nor the caller has one. `hints` is false for a model that takes no hint: finding one takes 10 µs.
    """
    prefix = build_prefix(persona) if persona is not None else ()
    instructions = (make_message("system", turn.instructions),) if turn.instructions else ()
    if introduction and persona is None and not instructions and not _has_system_message(turn):
        instructions = (make_message("system", introduction),)
    notes = "\n\n".join(_build_guidance(turn, LENGTH if persona is None else LENGTH_IN_PERSONA))
    guidance = (make_message("system", notes),) if notes else ()
    limit = turn.max_output_tokens
    hint = ""
    if hints and persona is not None and _is_talk(turn):
        hint = find_hint(_find_question(turn), at_length=turn.verbosity == "high")
    wanted = _choose_format(turn)
    is_long = turn.verbosity == "high" and not turn.tools and separates_words(_find_question(turn))
    if hint and is_long:
        wanted = replace(wanted, least_words=LEAST_WORDS_AT_LENGTH)
    elif hint and _wants_reason(turn):
        wanted = replace(wanted, reason_opening=choose_opening(turn.persona_id or "", _find_question(turn)))
    preferences = turn.preferences if limit else turn.preferences | {"max_output_tokens"}
    return Prompt(
        (*prefix, *instructions, *turn.items, *guidance),
        sampling=turn.sampling,
        format=wanted,
        tools=turn.tools,
        tool_choice=turn.tool_choice,
        parallel_tool_calls=turn.parallel_tool_calls,
        max_output_tokens=limit or (_choose_limit(turn) if limits_length else None),
        top_logprobs=turn.top_logprobs,
        reasoning_effort=turn.reasoning_effort,
        prefix_length=len(prefix),
        guidance_length=len(guidance),
        hint=hint,
        preferences=preferences,
    )


def makes_artifacts(turn: Turn) -> bool:
    """Whether the answer's blocks become artifacts. An answer in JSON stays as it is."""
    return turn.canvas_mode and turn.format.type == "text"


def _has_system_message(turn: Turn) -> bool:
    return any(isinstance(item, Message) and item.role == "system" for item in turn.items)


def _choose_format(turn: Turn) -> OutputFormat:
    """Return the format, which for an artifact of a certain kind begins with the fence of its block."""
    if not makes_artifacts(turn) or turn.tools:
        return turn.format
    return replace(turn.format, begins=request_artifact(_find_question(turn)).begins)


def _is_talk(turn: Turn) -> bool:
    """
    Return whether an answer in words is wanted that is not very short.

    A study has wordings of its own. A question about an image is about what stands in it.
    """
    is_short = (
        turn.verbosity == "low" or (turn.max_output_tokens or FEWEST_TOKENS_OF_TALK) < FEWEST_TOKENS_OF_TALK
    )
    if is_short or turn.format.type != "text" or turn.canvas_mode or turn.operation == "focus_groups":
        return False
    return not asks_for_form(turn.instructions or "") and not _shows_image(turn)


def _wants_reason(turn: Turn) -> bool:
    """
    Return whether decoding is to see to a reason.

    An answer with tools may begin with a call, and a reader of probabilities wants those of the model.
    """
    return not turn.tools and turn.top_logprobs is None and asks_for_opinion(_find_question(turn))


def _shows_image(turn: Turn) -> bool:
    """Return whether the user's last message has an image, or the description of one."""
    asked = next(
        (item for item in reversed(turn.items) if isinstance(item, Message) and item.role == "user"), None
    )
    return asked is not None and any(
        isinstance(part, Image) or part.text.startswith(BEGINNING) for part in asked.parts
    )


def _find_question(turn: Turn) -> str:
    """Return what the user said last."""
    said = (item.text for item in reversed(turn.items) if isinstance(item, Message) and item.role == "user")
    return next(said, "")


def _build_guidance(turn: Turn, length: dict[Verbosity, str]) -> Iterator[str]:
    if makes_artifacts(turn):
        yield request_artifact(_find_question(turn)).guidance
    if turn.verbosity in length:
        language = IN_LANGUAGE.get(find_language(_find_question(turn)))
        yield length[turn.verbosity] + (f" {language}" if language else "")


def _choose_limit(turn: Turn) -> int | None:
    """Return a low limit for a short answer, and none for JSON, calls and artifacts."""
    free_text = turn.format.type == "text" and not turn.tools and not turn.canvas_mode
    return TOKEN_LIMITS.get(turn.verbosity) if free_text else None
