"""
Read a whole answer in the most common form: one text, a finish reason, and OpenAI's counts of tokens.

    {"choices": [{"message": {"content": …}, "finish_reason": "stop"}], "usage": {…}}
        → (TextDelta, RunCompleted)

One typed decoder reads it in a fifteenth of the time that `ChunkDecoder` takes. If the answer has anything
more, such as a call, reasoning or an odd number, `ChunkDecoder` reads it instead. Both make the same events
of a plain answer.
"""

from typing import Annotated, Literal

import msgspec

from mavera.core.events import RunCompleted, TextDelta
from mavera.core.usage import MOST_TOKENS, Usage
from mavera.models.chat_chunks import NOT_PLAIN, PlainDelta
from mavera.models.thinking import may_hold_marks

_Count = Annotated[int, msgspec.Meta(ge=0, le=MOST_TOKENS)]


class _Details(msgspec.Struct, gc=False):
    cached_tokens: _Count | None = None
    reasoning_tokens: _Count | None = None


class _Usage(msgspec.Struct, gc=False):
    """Other servers use the names of the null members for these counts."""

    prompt_tokens: _Count
    completion_tokens: _Count
    prompt_tokens_details: _Details | None = None
    completion_tokens_details: _Details | None = None
    input_tokens_details: None = None
    output_tokens_details: None = None
    prompt_cache_hit_tokens: None = None
    cache_read_input_tokens: None = None
    reasoning_tokens: None = None


class _Choice(msgspec.Struct, gc=False):
    message: PlainDelta
    finish_reason: Literal["stop", "length"]
    index: Literal[0] = 0
    delta: None = None
    logprobs: None = None


class _Answer(msgspec.Struct, gc=False):
    choices: tuple[_Choice]
    usage: _Usage
    object: Literal["chat.completion"] = "chat.completion"
    analysis: None = None
    error: None = None


_decode = msgspec.json.Decoder(_Answer).decode


def read_plain_answer(body: bytes, *, splits_thoughts: bool) -> tuple[TextDelta, RunCompleted] | None:
    """
    Return the events of a plain answer, or None for any other.

    `splits_thoughts` says that marks of reasoning in the text count.
    """
    try:
        answer = _decode(body)
    except NOT_PLAIN:
        return None
    choice, usage = answer.choices[0], answer.usage
    text = choice.message.content
    if not text or (splits_thoughts and may_hold_marks(text)):
        return None
    given, made = usage.prompt_tokens_details, usage.completion_tokens_details
    counted = Usage(
        usage.prompt_tokens,
        usage.completion_tokens,
        (given and given.cached_tokens) or 0,
        (made and made.reasoning_tokens) or 0,
    )
    return TextDelta(text), RunCompleted(choice.finish_reason, counted)
