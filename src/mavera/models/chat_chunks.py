"""
Decode one chunk of a chat completion, or a whole completion, as real servers write it.

    decode_plain(b'{"choices": […]}') → PlainChunk, if it holds a piece of text and nothing else
    decode_chunk(b'{"choices": […]}') → Chunk

Both are typed decoders for the format that OpenAI documents. If a chunk does not fit `Chunk`, this module
reads it by hand. It accepts each needed member in every form that servers are known to send, and it ignores
all other members. It raises an error only if the chunk is not JSON, or if it holds text in an unknown form:
without that text, the answer would be a different one.
"""

import json
import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import msgspec

from mavera.core.events import TokenLogprob
from mavera.core.usage import Usage, to_token_count


class NoChunk(Exception):
    """The bytes are not a JSON object, or they hold text in an unknown form. The message says why."""


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
    """Some servers send `name` and `arguments` directly, without `function`."""

    index: int | None = None
    id: str | None = None
    function: Function | None = None
    name: str | None = None
    arguments: str | dict[str, Any] | None = None

    @property
    def called(self) -> Function:
        return self.function or Function(self.name, self.arguments)


class Delta(msgspec.Struct):
    """Servers call the reasoning by one of five names: `reasoning_content` and the four after it."""

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
        """Return the reasoning. If a server sends it under several names, return it once."""
        if self.reasoning_content:
            return self.reasoning_content
        value = (self.reasoning, self.thinking, self.reasoning_details, self.thinking_blocks)
        return next((text for text in map(_read_thought, value) if text), "")


class _Logprob(msgspec.Struct):
    token: str
    logprob: float
    bytes: list[int] | None = None
    top_logprobs: list["_Logprob"] | None = None

    def to_token(self, most: int = 0) -> TokenLogprob:
        """Return the token with at most `most` alternatives."""
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
    """A delta that is only text. Every other member that matters is null or empty."""

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
# The exceptions of `decode_plain` for any other chunk, and for bytes that are not a chunk.
NOT_PLAIN = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


# The members in which a part of reasoning has its text, and the deepest nesting of parts that is read.
_THOUGHT_MEMBERS = ("thinking", "text", "summary", "reasoning", "content")
_MOST_DEPTH = 6
_HALF = re.compile(rb"\\u[dD][89a-fA-F]")

_decode = msgspec.json.Decoder(Chunk).decode


def decode_chunk(text: bytes) -> Chunk:
    """Return the chunk in `text`. Raises NoChunk."""
    try:
        return _decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _read_chunk(_decode_object(text))


def join_halves(text: str) -> str:
    """Return `text` with the halves of surrogate pairs joined, and U+FFFD in place of a single half."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def read_usage(value: Any) -> Usage | None:
    """Return the token counts that a server sent, or None if it sent none. Counts may be floats or text."""
    if not isinstance(value, dict):
        return None
    read = _find_first(value, "prompt_tokens", "input_tokens")
    written = _find_first(value, "completion_tokens", "output_tokens")
    if read is None and written is None:
        return None
    given = _find_details(value, "prompt_tokens_details", "input_tokens_details")
    made = _find_details(value, "completion_tokens_details", "output_tokens_details")
    cached = _find_first(given, "cached_tokens")
    if cached is None:  # DeepSeek's name, and Anthropic's
        cached = _find_first(value, "prompt_cache_hit_tokens", "cache_read_input_tokens")
    reasoning = _find_first(made, "reasoning_tokens")
    if reasoning is None:
        reasoning = _find_first(value, "reasoning_tokens")
    return Usage(_count(read), _count(written), _count(cached), _count(reasoning))


def _find_first(value: dict[str, Any], *names: str) -> Any:
    return next((value[name] for name in names if value.get(name) is not None), None)


def _find_details(value: dict[str, Any], *names: str) -> dict[str, Any]:
    found = _find_first(value, *names)
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
        value = msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        value = _decode_with_halves(text)
        if value is None:
            raise NoChunk(str(error)) from error
    except (UnicodeDecodeError, RecursionError) as error:
        raise NoChunk(str(error)) from error
    if not isinstance(value, dict):
        raise NoChunk("it is not a JSON object")
    return value


def _decode_with_halves(text: bytes) -> Any:
    """
    Decode JSON with halves of surrogate pairs. Returns None if `text` is not JSON.

    JavaScript can cut an emoji in two, so that one half ends a chunk and the other half begins the next one.
    Only the answer's text keeps its halves, so that they can be joined.
    """
    if not _HALF.search(text):
        return None
    try:
        return json.loads(text.decode(), object_hook=_without_halves, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return None


def _without_halves(members: dict[str, Any]) -> dict[str, Any]:
    return {
        name: join_halves(value) if isinstance(value, str) and name not in ("content", "text") else value
        for name, value in members.items()
    }


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _read_chunk(value: dict[str, Any]) -> Chunk:
    choices = value.get("choices")
    if isinstance(choices, dict):
        choices = [choices]
    kind = value.get("object")
    return Chunk(
        [_read_choice(choice) for choice in _keep_objects(choices)],
        value.get("usage"),
        value.get("analysis"),
        value.get("error"),
        kind if isinstance(kind, str) else None,
        value.get("message"),
    )


def _read_choice(value: dict[str, Any]) -> Choice:
    index = _number(value.get("index"))
    try:
        logprobs = msgspec.convert(value.get("logprobs"), Logprobs | None)
    except (msgspec.ValidationError, RecursionError):
        logprobs = None
    return Choice(
        index or 0,
        _read_delta(value.get("delta")),
        _read_delta(value.get("message")),
        value.get("finish_reason"),
        logprobs,
    )


def _read_delta(value: Any) -> Delta | None:
    if not value:
        return None
    if not isinstance(value, dict):
        raise NoChunk("a delta in an unknown form")
    content = value.get("content")
    thoughts = value.get("reasoning_content") or "".join(_find_thoughts(content)) or None
    called = value.get("function_call")
    return Delta(
        _read_text(content),
        _read_refusal(value.get("refusal")),
        [_read_call(call) for call in _list_calls(value.get("tool_calls"))],
        _read_function(called) if isinstance(called, dict) and called else None,
        _read_thought(thoughts) or None,
        *(value.get(name) for name in ("reasoning", "reasoning_details", "thinking", "thinking_blocks")),
    )


def _read_text(value: Any) -> str | None:
    """Return the text of a content, which may be a list of parts. Returns None if there is no text."""
    if value is None or isinstance(value, str):
        return value
    if not value:  # [], {}, false and 0 stand for nothing
        return None
    parts = value if isinstance(value, list) else [value]
    return "".join(_read_part(part) for part in parts)


def _read_refusal(value: Any) -> str | None:
    try:
        return _read_text(value)
    except NoChunk:
        return None  # the answer can be read without it


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
    """Yield the text of each thinking part of a content."""
    for part in _keep_objects(content if isinstance(content, list) else [content]):
        if part.get("type") in ("thinking", "reasoning", "reasoning_content"):
            yield _read_thought(part)


def _read_thought(value: Any, depth: int = 0) -> str:
    """Return reasoning in any known form as one text, and "" for an unknown form."""
    if isinstance(value, str):
        return value
    if depth > _MOST_DEPTH:
        return ""
    if isinstance(value, list):
        return "".join(_read_thought(one, depth + 1) for one in value)
    if isinstance(value, dict):
        members = (_read_thought(value.get(name), depth + 1) for name in _THOUGHT_MEMBERS)
        return next((text for text in members if text), "")
    return ""


def _list_calls(value: Any) -> list[dict[str, Any]]:
    if isinstance(value, dict):
        value = [value] if value.keys() & {"function", "name"} else list(value.values())
    return _keep_objects(value)


def _read_call(value: dict[str, Any]) -> Call:
    function = value.get("function")
    if not isinstance(function, dict):
        function = value
    call_id = value.get("id")
    if isinstance(call_id, int) and not isinstance(call_id, bool):
        call_id = str(call_id)
    return Call(
        _number(value.get("index")), call_id if isinstance(call_id, str) else None, _read_function(function)
    )


def _read_function(value: dict[str, Any]) -> Function:
    name, arguments = value.get("name"), value.get("arguments")
    if arguments is not None and not isinstance(arguments, str | dict):
        arguments = msgspec.json.encode(arguments).decode()
    return Function(name if isinstance(name, str) else None, arguments)


def _number(value: Any) -> int | None:
    """Return an index, which may be a float or text. Returns None for any other value."""
    try:
        return None if value is None or isinstance(value, bool | list | dict) else int(float(value))
    except (ValueError, OverflowError):
        return None


def _keep_objects(value: Any) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
