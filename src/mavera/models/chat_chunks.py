"""
One chunk of a chat completion, or a whole one, as servers really write them.

    decode_plain(b'{"choices": […]}') → PlainChunk, if it holds a piece of text and nothing else
    decode_chunk(b'{"choices": […]}') → Chunk

Both are typed decoders, which take what OpenAI documents. A chunk that does not fit the second is read by
hand: what is needed is taken in every form in which servers are known to send it, and a member that nobody
needs is left aside, whatever it holds. Only what is no JSON, or a text in a form that cannot be read, is an
error: to leave out a piece of the answer would be to give another answer.
"""

import json
import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import msgspec

from mavera.core.events import TokenLogprob
from mavera.core.usage import Usage, to_token_count


class NoChunk(Exception):
    """The bytes are no JSON object, or hold a text that cannot be read; the message says why."""


class Function(msgspec.Struct):
    name: str | None = None
    arguments: str | dict[str, Any] | None = None

    @property
    def text(self) -> str:
        """The arguments as JSON text, even from a server that sends them as an object."""
        if isinstance(self.arguments, dict):
            return msgspec.json.encode(self.arguments).decode()
        return self.arguments or ""


class Call(msgspec.Struct):
    """Some servers leave `function` out, and put the name and the arguments in its place."""

    index: int | None = None
    id: str | None = None
    function: Function | None = None
    name: str | None = None
    arguments: str | dict[str, Any] | None = None

    @property
    def called(self) -> Function:
        return self.function or Function(self.name, self.arguments)


class Delta(msgspec.Struct):
    """`reasoning_content` and the four after it are the names that servers have for the same."""

    content: str | None = None
    refusal: str | None = None
    tool_calls: list[Call] | None = None
    function_call: Function | None = None
    reasoning_content: str | None = None
    reasoning: Any = None
    reasoning_details: Any = None
    thinking: Any = None
    thinking_blocks: Any = None

    def reasoning_text(self) -> str:
        """Return the reasoning, once, even from a server that sends it under several names."""
        if self.reasoning_content:
            return self.reasoning_content
        told = (self.reasoning, self.thinking, self.reasoning_details, self.thinking_blocks)
        return next((text for text in map(_read_thought, told) if text), "")


class _Logprob(msgspec.Struct):
    token: str
    logprob: float
    bytes: list[int] | None = None
    top_logprobs: list["_Logprob"] | None = None

    def to_token(self, most: int = 0) -> TokenLogprob:
        """`most`: how many of the other tokens are wanted."""
        top = tuple(other.to_token() for other in (self.top_logprobs or ())[:most])
        return TokenLogprob(self.token, self.logprob, tuple(self.bytes) if self.bytes else None, top)


class Logprobs(msgspec.Struct):
    content: list[_Logprob] | None = None


class Choice(msgspec.Struct):
    index: int = 0
    delta: Delta | None = None
    message: Delta | None = None
    finish_reason: Any = None
    logprobs: Logprobs | None = None


class Chunk(msgspec.Struct):
    choices: list[Choice] | None = None
    usage: Any = None
    analysis: Any = None
    error: Any = None
    object: str | None = None
    message: Any = None


_Empty = Literal[""] | None


class PlainDelta(msgspec.Struct, gc=False):
    """Nothing but text: any other member that counts is null or empty."""

    content: str
    refusal: _Empty = None
    tool_calls: Annotated[list[Any], msgspec.Meta(max_length=0)] | None = None
    function_call: None = None
    reasoning_content: _Empty = None
    reasoning: _Empty = None
    reasoning_details: None = None
    thinking: _Empty = None
    thinking_blocks: None = None


class _PlainChoice(msgspec.Struct, gc=False):
    delta: PlainDelta
    index: Literal[0] = 0
    message: None = None
    finish_reason: _Empty = None
    logprobs: None = None


class PlainChunk(msgspec.Struct, gc=False):
    """A chunk that is a piece of text and nothing else."""

    choices: tuple[_PlainChoice]
    usage: None = None
    analysis: None = None
    error: None = None


decode_plain = msgspec.json.Decoder(PlainChunk).decode
# What `decode_plain` raises for any other chunk, and for what is none.
NOT_PLAIN = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


# Where a part or a block of reasoning has its text, and how deep parts lie within each other.
_THOUGHT_MEMBERS = ("thinking", "text", "summary", "reasoning", "content")
_MOST_DEPTH = 6
_HALF = re.compile(rb"\\u[dD][89a-fA-F]")

_decode = msgspec.json.Decoder(Chunk).decode


def decode_chunk(text: bytes) -> Chunk:
    """Return the chunk that `text` is. Raises NoChunk."""
    try:
        return _decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _read_chunk(_decode_object(text))


def join_halves(text: str) -> str:
    """Return `text` with halves of surrogate pairs joined, and U+FFFD for a half alone."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def read_usage(told: Any) -> Usage | None:
    """Return what a server says it counted, None if it names no count. Counts may be floats or text."""
    if not isinstance(told, dict):
        return None
    read = _find_first(told, "prompt_tokens", "input_tokens")
    written = _find_first(told, "completion_tokens", "output_tokens")
    if read is None and written is None:
        return None
    given = _find_details(told, "prompt_tokens_details", "input_tokens_details")
    made = _find_details(told, "completion_tokens_details", "output_tokens_details")
    cached = _find_first(given, "cached_tokens")
    if cached is None:  # DeepSeek's name, and Anthropic's
        cached = _find_first(told, "prompt_cache_hit_tokens", "cache_read_input_tokens")
    reasoning = _find_first(made, "reasoning_tokens")
    if reasoning is None:
        reasoning = _find_first(told, "reasoning_tokens")
    return Usage(_count(read), _count(written), _count(cached), _count(reasoning))


def _find_first(told: dict[str, Any], *names: str) -> Any:
    return next((told[name] for name in names if told.get(name) is not None), None)


def _find_details(told: dict[str, Any], *names: str) -> dict[str, Any]:
    found = _find_first(told, *names)
    return found if isinstance(found, dict) else {}


def _count(reported: Any) -> int:
    if isinstance(reported, str):
        try:
            reported = float(reported[:32])
        except ValueError:
            return 0
    return to_token_count(reported)


def _decode_object(text: bytes) -> dict[str, Any]:
    try:
        told = msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        told = _decode_with_halves(text)
        if told is None:
            raise NoChunk(str(error)) from error
    except (UnicodeDecodeError, RecursionError) as error:
        raise NoChunk(str(error)) from error
    if not isinstance(told, dict):
        raise NoChunk("it is no JSON object")
    return told


def _decode_with_halves(text: bytes) -> Any:
    """
    Return JSON with halves of surrogate pairs, None for what is no JSON.

    JavaScript cuts an emoji in two, so that one half ends a chunk and the other begins the next one. Only
    texts of the answer keep their halves.
    """
    if not _HALF.search(text):
        return None
    try:
        return json.loads(text.decode(), object_hook=_without_halves, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return None


def _without_halves(told: dict[str, Any]) -> dict[str, Any]:
    return {
        name: join_halves(value) if isinstance(value, str) and name not in ("content", "text") else value
        for name, value in told.items()
    }


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _read_chunk(told: dict[str, Any]) -> Chunk:
    choices = told.get("choices")
    if isinstance(choices, dict):
        choices = [choices]
    kind = told.get("object")
    return Chunk(
        [_read_choice(choice) for choice in _keep_objects(choices)],
        told.get("usage"),
        told.get("analysis"),
        told.get("error"),
        kind if isinstance(kind, str) else None,
        told.get("message"),
    )


def _read_choice(told: dict[str, Any]) -> Choice:
    index = _number(told.get("index"))
    try:
        logprobs = msgspec.convert(told.get("logprobs"), Logprobs | None)
    except (msgspec.ValidationError, RecursionError):
        logprobs = None
    return Choice(
        index or 0,
        _read_delta(told.get("delta")),
        _read_delta(told.get("message")),
        told.get("finish_reason"),
        logprobs,
    )


def _read_delta(told: Any) -> Delta | None:
    if not told:
        return None
    if not isinstance(told, dict):
        raise NoChunk("a delta in an unknown form")
    content = told.get("content")
    thoughts = told.get("reasoning_content") or "".join(_find_thoughts(content)) or None
    called = told.get("function_call")
    return Delta(
        _read_text(content),
        _read_refusal(told.get("refusal")),
        [_read_call(call) for call in _list_calls(told.get("tool_calls"))],
        _read_function(called) if isinstance(called, dict) and called else None,
        _read_thought(thoughts) or None,
        *(told.get(name) for name in ("reasoning", "reasoning_details", "thinking", "thinking_blocks")),
    )


def _read_text(told: Any) -> str | None:
    """Return the text of a content, which may be a list of parts; None where there is none."""
    if told is None or isinstance(told, str):
        return told
    if not told:  # [], {}, false and 0 stand for nothing
        return None
    parts = told if isinstance(told, list) else [told]
    return "".join(_read_part(part) for part in parts)


def _read_refusal(told: Any) -> str | None:
    try:
        return _read_text(told)
    except NoChunk:
        return None  # it says nothing, and the answer stands beside it


def _read_part(part: Any) -> str:
    if part is None or isinstance(part, str):
        return part or ""
    if not isinstance(part, dict):
        raise NoChunk("a content in an unknown form")
    if part.get("type") not in (None, "text", "output_text"):
        return ""
    text = part.get("text")
    if isinstance(text, dict):  # {"value": …}, as OpenAI's older Assistants have it
        text = text.get("value")
    if text is not None and not isinstance(text, str):
        raise NoChunk("a text in an unknown form")
    return text or ""


def _find_thoughts(content: Any) -> Iterator[str]:
    """Yield what the thinking parts of a content say."""
    for part in _keep_objects(content if isinstance(content, list) else [content]):
        if part.get("type") in ("thinking", "reasoning", "reasoning_content"):
            yield _read_thought(part)


def _read_thought(told: Any, depth: int = 0) -> str:
    """Return reasoning in any of its forms as one text; "" for a form that is not known."""
    if isinstance(told, str):
        return told
    if depth > _MOST_DEPTH:
        return ""
    if isinstance(told, list):
        return "".join(_read_thought(one, depth + 1) for one in told)
    if isinstance(told, dict):
        members = (_read_thought(told.get(name), depth + 1) for name in _THOUGHT_MEMBERS)
        return next((text for text in members if text), "")
    return ""


def _list_calls(told: Any) -> list[dict[str, Any]]:
    if isinstance(told, dict):
        told = [told] if told.keys() & {"function", "name"} else list(told.values())
    return _keep_objects(told)


def _read_call(told: dict[str, Any]) -> Call:
    function = told.get("function")
    if not isinstance(function, dict):
        function = told
    call_id = told.get("id")
    if isinstance(call_id, int) and not isinstance(call_id, bool):
        call_id = str(call_id)
    return Call(
        _number(told.get("index")), call_id if isinstance(call_id, str) else None, _read_function(function)
    )


def _read_function(told: dict[str, Any]) -> Function:
    name, arguments = told.get("name"), told.get("arguments")
    if arguments is not None and not isinstance(arguments, str | dict):
        arguments = msgspec.json.encode(arguments).decode()
    return Function(name if isinstance(name, str) else None, arguments)


def _number(told: Any) -> int | None:
    """Return an index that may be a float or text, None for any other value."""
    try:
        return None if told is None or isinstance(told, bool | list | dict) else int(float(told))
    except (ValueError, OverflowError):
        return None


def _keep_objects(told: Any) -> list[dict[str, Any]]:
    return [one for one in told if isinstance(one, dict)] if isinstance(told, list) else []
