"""
Write a prompt as a request for OpenAI's /chat/completions.

    Prompt → build_request_body() → the JSON to send

Pure: no socket, no clock. `chunk_decoder.py` reads the answer.
"""

import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from mavera.core.items import FunctionCall, FunctionOutput, Image, Item, Message, Part
from mavera.core.json_schema import Schema
from mavera.core.prompt import FunctionTool, OutputFormat, Prompt, Repetition, Sampling
from mavera.models.dialects import DIALECTS, Dialect, JSONMode

MOST_PREFIXES = 512
_SHORT_ID_CHARACTERS = 9
_ANY_SERVER = DIALECTS["auto"]
_WITH_USAGE = {"include_usage": True}
_DEFAULT_SAMPLING = Sampling()


def build_request_body(
    prompt: Prompt,
    *,
    model: str,
    dialect: Dialect = _ANY_SERVER,
    reasoning_effort: bool = False,
    constrain: Callable[[OutputFormat], Mapping[str, Any]] | None = None,
    prefixes: "EncodedPrefixes | None" = None,
) -> dict[str, Any]:
    """
    Return the request for `prompt`. It is always streamed, and has only members that are needed.

    `dialect` says which members the server accepts, and under which names. `reasoning_effort` says whether
    the server accepts that member. `constrain` returns the members that ask for JSON, in place of
    `response_format`. With `prefixes`, the prefix of a persona is encoded only once.
    """
    merges = dialect.merges_system
    prefix = prefixes.messages(prompt.prefix) if prefixes is not None and not merges else ()
    messages: list[Any] = [*prefix, *_build_messages(prompt.items[prompt.prefix_length if prefix else 0 :])]
    body: dict[str, Any] = {
        "model": model,
        "messages": messages,
        "stream": True,
        "stream_options": _WITH_USAGE,
    }
    if prompt.sampling != _DEFAULT_SAMPLING:
        body.update(_build_sampling(prompt.sampling))
    if reasoning_effort:
        body["reasoning_effort"] = prompt.reasoning_effort
    if prompt.max_output_tokens is not None and dialect.limits:
        body[dialect.limits[0]] = prompt.max_output_tokens
    if prompt.format.type != "text":
        body.update(constrain(prompt.format) if constrain else _build_json_format(prompt, dialect, messages))
    elif prompt.format.constrains_text and constrain:
        body.update(constrain(prompt.format))
    if prompt.top_logprobs is not None:
        # With `top_logprobs: 0`, llama.cpp's server sends no log-probabilities at all.
        body.update(logprobs=True, top_logprobs=max(prompt.top_logprobs, 1))
    if prompt.tools and prompt.tool_choice.mode != "none":
        body.update(_build_tools(prompt, dialect))
    if dialect.left_out or dialect.names:
        _leave_out(body, dialect, prompt.preferences)
    if merges:
        body["messages"] = _merge_system(messages)
    if dialect.short_call_ids:
        _shorten_call_ids(body["messages"])
    return body


def _build_sampling(sampling: Sampling) -> dict[str, Any]:
    optional = {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "frequency_penalty": sampling.frequency_penalty,
        "presence_penalty": sampling.presence_penalty,
        "seed": sampling.seed,
        "stop": list(sampling.stop) or None,
        "logit_bias": sampling.logit_bias,
        "top_k": sampling.top_k,
        "min_p": sampling.min_p,
    }
    members = {name: value for name, value in optional.items() if value is not None}
    if sampling.repetition is not None:
        members.update(_build_repetition(sampling.repetition))
    return members


def _build_repetition(wanted: Repetition) -> dict[str, Any]:
    """Return llama.cpp's members for it."""
    return {
        "repeat_penalty": wanted.penalty,
        "repeat_last_n": wanted.window,
        "dry_multiplier": wanted.dry_multiplier,
        "dry_base": wanted.dry_base,
        "dry_allowed_length": wanted.dry_length,
        "dry_penalty_last_n": wanted.window,
    }


def _leave_out(body: dict[str, Any], dialect: Dialect, preferences: Collection[str]) -> None:
    for name in dialect.left_out:
        if name in body and dialect.omits(name, body[name], preferences):
            del body[name]
            if name == "top_logprobs":
                del body["logprobs"]
    for name, theirs in dialect.names:
        if name in body:
            body[theirs] = body.pop(name)


def _build_json_format(prompt: Prompt, dialect: Dialect, messages: list[Any]) -> dict[str, Any]:
    """Return the members that ask for JSON. If they are not enough, append a message that asks for it."""
    wanted = prompt.format
    asked: JSONMode = "json_schema" if wanted.type == "json_schema" else "json_object"
    mode = dialect.choose_json_mode(asked)
    if mode != asked or (mode == "json_object" and dialect.mentions_json and not _has_word_json(prompt)):
        messages.append({"role": "system", "content": _describe_json(wanted)})
    if mode is None:
        return {}
    if mode == "json_object":
        return {"response_format": {"type": "json_object"}}
    described = {"description": wanted.description} if wanted.description is not None else {}
    schema = {"name": wanted.name, "schema": wanted.schema, "strict": wanted.strict, **described}
    return {"response_format": {"type": "json_schema", "json_schema": schema}}


def _describe_json(wanted: OutputFormat) -> str:
    words = "Answer with one JSON object and nothing else: no Markdown, no words around it."
    if wanted.schema is None:
        return words
    return f"{words} It fits this JSON Schema:\n{msgspec.json.encode(wanted.schema).decode()}"


def _has_word_json(prompt: Prompt) -> bool:
    return any(isinstance(item, Message) and "json" in item.text.lower() for item in prompt.items)


class EncodedPrefixes:
    """The prefixes of prompts as JSON messages. A persona's prefix is encoded once."""

    def __init__(self) -> None:
        self._encoded: dict[Item, _EncodedPrefix] = {}

    def messages(self, prefix: tuple[Item, ...]) -> tuple[msgspec.Raw, ...]:
        return self._encode(prefix).messages if prefix else ()

    def digest(self, prefix: tuple[Item, ...]) -> bytes:
        """Return a digest that is the same for the same prefix on every machine."""
        return self._encode(prefix).digest

    def _encode(self, prefix: tuple[Item, ...]) -> "_EncodedPrefix":
        known = self._encoded.get(prefix[0])  # hashing all items would take longer than the rest
        if known is None or known.prefix != prefix:
            if len(self._encoded) >= MOST_PREFIXES:
                self._encoded.clear()
            messages = tuple(msgspec.json.encode(message) for message in _build_messages(prefix))
            digest = hashlib.blake2b(b"\0".join(messages), digest_size=16).digest()
            known = _EncodedPrefix(prefix, tuple(map(msgspec.Raw, messages)), digest)
            self._encoded[prefix[0]] = known
        return known


@dataclass(frozen=True, slots=True)
class _EncodedPrefix:
    prefix: tuple[Item, ...]
    messages: tuple[msgspec.Raw, ...]
    digest: bytes


def _build_messages(items: tuple[Item, ...]) -> Iterator[dict[str, Any]]:
    """
    Yield the messages. The text and the calls of one assistant turn become one message.

    Many chat templates refuse two messages in a row from one role, and a result that does not follow its
    call.
    """
    turn: dict[str, Any] | None = None
    for item in items:
        match item:
            case FunctionCall():
                turn = turn or {"role": "assistant", "content": None}
                function = {"name": item.name, "arguments": item.arguments}
                call = {"id": item.call_id, "type": "function", "function": function}
                turn.setdefault("tool_calls", []).append(call)
                continue
            case Message("assistant", parts):
                turn = turn or {"role": "assistant", "content": None}
                turn["content"] = _join_content(turn["content"], _build_content(parts))
                continue
        if turn is not None:
            yield turn
            turn = None
        match item:
            case Message(role, parts):
                yield {"role": role, "content": _build_content(parts)}
            case FunctionOutput(call_id, output):
                yield {"role": "tool", "tool_call_id": call_id, "content": _build_content(output)}
    if turn is not None:
        yield turn


_Content = str | list[dict[str, Any]]


def _join_content(before: _Content | None, content: _Content) -> _Content:
    if not before or not content:
        return before or content
    if isinstance(before, str) and isinstance(content, str):
        return f"{before}\n\n{content}"
    both = (before, content)
    lists = [[{"type": "text", "text": one}] if isinstance(one, str) else one for one in both]
    return [*lists[0], *lists[1]]


def _build_content(parts: tuple[Part, ...]) -> str | list[dict[str, Any]]:
    texts = [part.text for part in parts if not isinstance(part, Image)]
    if len(texts) == len(parts):
        return "".join(texts)
    return [
        {"type": "image_url", "image_url": {"url": part.url, "detail": part.detail}}
        if isinstance(part, Image)
        else {"type": "text", "text": part.text}
        for part in parts
    ]


def _merge_system(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    system = [message["content"] for message in messages if message["role"] == "system"]
    if not system:
        return messages
    rest = [message for message in messages if message["role"] != "system"]
    return [{"role": "system", "content": "\n\n".join(system)}, *rest]


def _build_tools(prompt: Prompt, dialect: Dialect) -> dict[str, Any]:
    """Return the members for `tools`. A tool choice is sent only if it is not the default of servers."""
    choice = prompt.tool_choice
    offered = [tool for tool in prompt.tools if not choice.names or tool.name in choice.names]
    leaves_strict_out = "strict" in dialect.left_out
    members: dict[str, Any] = {"tools": [_build_tool(tool, dialect, leaves_strict_out) for tool in offered]}
    if choice.mode == "required":
        is_named = len(choice.names) == 1 and dialect.names_function
        named = {"type": "function", "function": {"name": choice.names[0]}} if is_named else None
        members["tool_choice"] = named or dialect.required
    if not (prompt.parallel_tool_calls and dialect.allows_parallel_calls):
        members["parallel_tool_calls"] = prompt.parallel_tool_calls
    return members


def _build_tool(tool: FunctionTool, dialect: Dialect, leaves_strict_out: bool) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name}
    parameters = _with_properties(tool.parameters or {})
    if parameters.get("properties") != {} or dialect.keeps_empty_parameters:
        function["parameters"] = parameters
    if tool.description is not None:
        function["description"] = tool.description
    if tool.strict and not leaves_strict_out:
        function["strict"] = True
    return {"type": "function", "function": function}


def _with_properties(schema: Schema) -> Schema:
    """Return the schema with `properties`, because OpenAI refuses a function without them."""
    if schema.get("properties") is not None or "$ref" in schema:
        return schema
    return {"type": "object", **schema, "properties": {}}


def _shorten_call_ids(messages: list[Any]) -> None:
    """Replace the id of each call by nine letters and digits. The same id always gets the same ones."""
    for message in messages:
        if not isinstance(message, dict):
            continue  # an encoded prefix, which has no calls
        for call in message.get("tool_calls", ()):
            call["id"] = _shorten_id(call["id"])
        if "tool_call_id" in message:
            message["tool_call_id"] = _shorten_id(message["tool_call_id"])


def _shorten_id(call_id: str) -> str:
    if len(call_id) == _SHORT_ID_CHARACTERS and call_id.isalnum() and call_id.isascii():
        return call_id
    return hashlib.sha256(call_id.encode()).hexdigest()[:_SHORT_ID_CHARACTERS]
