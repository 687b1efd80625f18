"""
OpenAI's /chat/completions as a client sees it: a prompt out, a stream of events in.

    Prompt →  request_body()                          the JSON to send
    bytes  → ChunkDecoder.feed() → ModelEvent*       of `data:` lines, or of one whole JSON body

Pure: no socket, no clock. Servers differ in small ways that clients trip over (a call's
index left out, ids repeated or empty, null deltas, usage late or never); what is known
of these is settled here, so that nothing above ever sees them.
"""

import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeGuard

import msgspec

from mavera.core.analysis import Analysis
from mavera.core.events import (
    FinishReason,
    ModelEvent,
    RefusalDelta,
    RunCompleted,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
    ToolCallStarted,
)
from mavera.core.ids import new_id
from mavera.core.items import FunctionCall, FunctionOutput, Image, Item, Message, Part
from mavera.core.json_schema import Schema
from mavera.core.prompt import FunctionTool, OutputFormat, Prompt
from mavera.core.usage import Usage, to_token_count
from mavera.errors import APIError, ServiceUnavailable
from mavera.models.dialects import DIALECTS, Dialect, JSONMode

# A line longer than this is no chat chunk; without a bound a broken upstream could fill the memory.
MAX_LINE_BYTES = 8 * 1024 * 1024
MOST_PREFIXES = 512
# As many tools as OpenAI takes; a name of a function has 64 characters at most.
MOST_CALLS = 128
MOST_NAME_CHARACTERS = 256
MOST_ID_CHARACTERS = 1024
_CHARACTERS_PER_TOKEN = 4
_SHORT_ID_CHARACTERS = 9
_ANY_SERVER = DIALECTS["auto"]
_WITH_USAGE = {"include_usage": True}

_FINISH_REASONS: dict[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
    "max_tokens": "length",
}
# What servers call an answer that they broke off.
_BROKEN_OFF = frozenset({"error", "abort", "aborted", "cancelled", "canceled"})


def request_body(
    prompt: Prompt,
    *,
    model: str,
    dialect: Dialect = _ANY_SERVER,
    reasoning_effort: bool = False,
    constrain: Callable[[OutputFormat], Mapping[str, Any]] | None = None,
    prefixes: "EncodedPrefixes | None" = None,
) -> dict[str, Any]:
    """
    Return the request for `prompt`, always streamed, with only the members that were asked for or needed.

    `dialect` says which of them the server takes, and under which names. `reasoning_effort` is for servers
    that know it. `constrain` is another way to ask for JSON than `response_format`. `prefixes` saves encoding
    a persona each time.
    """
    merges = dialect.merges_system
    prefix = prefixes.messages(prompt.prefix) if prefixes is not None and not merges else ()
    messages: list[Any] = [*prefix, *_messages(prompt.items[prompt.prefix_length if prefix else 0 :])]
    body: dict[str, Any] = {"model": model, "messages": messages, "stream": True}
    sampling = prompt.sampling
    optional = {
        "stream_options": _WITH_USAGE,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "frequency_penalty": sampling.frequency_penalty,
        "presence_penalty": sampling.presence_penalty,
        "seed": sampling.seed,
        "stop": list(sampling.stop) or None,
        "logit_bias": sampling.logit_bias,
        "reasoning_effort": prompt.reasoning_effort if reasoning_effort else None,
    }
    body.update({name: value for name, value in optional.items() if value is not None})
    if prompt.max_output_tokens is not None and dialect.limits:
        body[dialect.limits[0]] = prompt.max_output_tokens
    if prompt.format.type != "text":
        body.update(constrain(prompt.format) if constrain else _json_format(prompt, dialect, messages))
    if prompt.top_logprobs is not None:
        # Asked for no others than the token itself, llama.cpp's server sends nothing at all.
        body.update(logprobs=True, top_logprobs=max(prompt.top_logprobs, 1))
    if prompt.tools and prompt.tool_choice.mode != "none":
        body.update(_tools(prompt, dialect))
    if dialect.left_out or dialect.names:
        _leave_out(body, dialect, prompt.preferences)
    if merges:
        body["messages"] = _merged(messages)
    if dialect.short_call_ids:
        _shorten_call_ids(body["messages"])
    return body


def _leave_out(body: dict[str, Any], dialect: Dialect, preferences: Collection[str]) -> None:
    for name in dialect.left_out:
        if name in body and dialect.leaves_out(name, body[name], preferences):
            del body[name]
            if name == "top_logprobs":
                del body["logprobs"]
    for name, theirs in dialect.names:
        if name in body:
            body[theirs] = body.pop(name)


def _json_format(prompt: Prompt, dialect: Dialect, messages: list[Any]) -> dict[str, Any]:
    """Return the members that ask for JSON. What they cannot say is said in one more message."""
    wanted = prompt.format
    asked: JSONMode = "json_schema" if wanted.type == "json_schema" else "json_object"
    mode = dialect.json_mode(asked)
    if mode != asked or (mode == "json_object" and dialect.mentions_json and not _mentions_json(prompt)):
        messages.append({"role": "system", "content": _json_in_words(wanted)})
    if mode is None:
        return {}
    if mode == "json_object":
        return {"response_format": {"type": "json_object"}}
    described = {"description": wanted.description} if wanted.description is not None else {}
    schema = {"name": wanted.name, "schema": wanted.schema, "strict": wanted.strict, **described}
    return {"response_format": {"type": "json_schema", "json_schema": schema}}


def _json_in_words(wanted: OutputFormat) -> str:
    words = "Answer with one JSON object and nothing else: no Markdown, no words around it."
    if wanted.schema is None:
        return words
    return f"{words} It fits this JSON Schema:\n{msgspec.json.encode(wanted.schema).decode()}"


def _mentions_json(prompt: Prompt) -> bool:
    return any(isinstance(item, Message) and "json" in item.text.lower() for item in prompt.items)


class EncodedPrefixes:
    """The prefixes of prompts as JSON messages. A persona's prefix is encoded once."""

    def __init__(self) -> None:
        self._encoded: dict[Item, tuple[tuple[Item, ...], tuple[msgspec.Raw, ...]]] = {}

    def messages(self, prefix: tuple[Item, ...]) -> tuple[msgspec.Raw, ...]:
        if not prefix:
            return ()
        known = self._encoded.get(prefix[0])  # to hash all items would take longer than the rest
        if known is None or known[0] != prefix:
            if len(self._encoded) >= MOST_PREFIXES:
                self._encoded.clear()
            encoded = tuple(msgspec.Raw(msgspec.json.encode(message)) for message in _messages(prefix))
            known = self._encoded[prefix[0]] = (prefix, encoded)
        return known[1]


def _messages(items: tuple[Item, ...]) -> Iterator[dict[str, Any]]:
    calls: list[dict[str, Any]] = []
    for item in items:
        if isinstance(item, FunctionCall):
            function = {"name": item.name, "arguments": item.arguments}
            calls.append({"id": item.call_id, "type": "function", "function": function})
            continue
        if calls:  # calls made side by side are one message
            yield {"role": "assistant", "content": None, "tool_calls": calls}
            calls = []
        match item:
            case Message(role, parts):
                yield {"role": role, "content": _content(parts)}
            case FunctionOutput(call_id, output):
                yield {"role": "tool", "tool_call_id": call_id, "content": _content(output)}
    if calls:
        yield {"role": "assistant", "content": None, "tool_calls": calls}


def _content(parts: tuple[Part, ...]) -> str | list[dict[str, Any]]:
    texts = [part.text for part in parts if not isinstance(part, Image)]
    if len(texts) == len(parts):
        return "".join(texts)
    return [
        {"type": "image_url", "image_url": {"url": part.url, "detail": part.detail}}
        if isinstance(part, Image)
        else {"type": "text", "text": part.text}
        for part in parts
    ]


def _merged(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    system = [message["content"] for message in messages if message["role"] == "system"]
    if not system:
        return messages
    rest = [message for message in messages if message["role"] != "system"]
    return [{"role": "system", "content": "\n\n".join(system)}, *rest]


def _tools(prompt: Prompt, dialect: Dialect) -> dict[str, Any]:
    """Return the members for `tools`. A choice is sent only if it is not the one that servers start with."""
    choice = prompt.tool_choice
    offered = [tool for tool in prompt.tools if not choice.names or tool.name in choice.names]
    leaves_strict_out = "strict" in dialect.left_out
    members: dict[str, Any] = {"tools": [_tool(tool, dialect, leaves_strict_out) for tool in offered]}
    if choice.mode == "required":
        is_named = len(choice.names) == 1 and dialect.names_function
        named = {"type": "function", "function": {"name": choice.names[0]}} if is_named else None
        members["tool_choice"] = named or dialect.required
    if not (prompt.parallel_tool_calls and dialect.allows_parallel_calls):
        members["parallel_tool_calls"] = prompt.parallel_tool_calls
    return members


def _tool(tool: FunctionTool, dialect: Dialect, leaves_strict_out: bool) -> dict[str, Any]:
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
    """Return the schema of a function as OpenAI takes it, which refuses one without `properties`."""
    if schema.get("properties") is not None or "$ref" in schema:
        return schema
    return {"type": "object", **schema, "properties": {}}


def _shorten_call_ids(messages: list[Any]) -> None:
    """Exchange the ids of calls for ones of nine letters and digits, each always for the same one."""
    for message in messages:
        if not isinstance(message, dict):
            continue  # the prefix, which calls nothing
        for call in message.get("tool_calls", ()):
            call["id"] = _short_id(call["id"])
        if "tool_call_id" in message:
            message["tool_call_id"] = _short_id(message["tool_call_id"])


def _short_id(call_id: str) -> str:
    if len(call_id) == _SHORT_ID_CHARACTERS and call_id.isalnum() and call_id.isascii():
        return call_id
    return hashlib.sha256(call_id.encode()).hexdigest()[:_SHORT_ID_CHARACTERS]


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | dict[str, Any] | None = None

    @property
    def text(self) -> str:
        """The arguments as JSON text, also from a server that sends them as an object."""
        if isinstance(self.arguments, dict):
            return msgspec.json.encode(self.arguments).decode()
        return self.arguments or ""


class _Call(msgspec.Struct):
    index: int | None = None
    id: str | None = None
    function: _Function | None = None


class _Delta(msgspec.Struct):
    content: str | None = None
    refusal: str | None = None
    tool_calls: list[_Call] | None = None


class _Logprob(msgspec.Struct):
    token: str
    logprob: float
    bytes: list[int] | None = None
    top_logprobs: list["_Logprob"] | None = None

    def to_token(self, most: int = 0) -> TokenLogprob:
        """`most`: how many of the other tokens are wanted."""
        top = tuple(other.to_token() for other in (self.top_logprobs or ())[:most])
        return TokenLogprob(self.token, self.logprob, tuple(self.bytes) if self.bytes else None, top)


class _Logprobs(msgspec.Struct):
    content: list[_Logprob] | None = None


class _Choice(msgspec.Struct):
    delta: _Delta | None = None
    message: _Delta | None = None
    finish_reason: str | None = None
    logprobs: _Logprobs | None = None


class _Cached(msgspec.Struct):
    cached_tokens: Any = None


class _Reasoning(msgspec.Struct):
    reasoning_tokens: Any = None


class _Usage(msgspec.Struct):
    """What the server says it counted. Nothing in it is believed before `to_token_count` has seen it."""

    prompt_tokens: Any = None
    completion_tokens: Any = None
    prompt_tokens_details: _Cached | None = None
    completion_tokens_details: _Reasoning | None = None

    def to_usage(self) -> Usage:
        cached, reasoning = self.prompt_tokens_details, self.completion_tokens_details
        return Usage(
            input_tokens=to_token_count(self.prompt_tokens),
            output_tokens=to_token_count(self.completion_tokens),
            cached_tokens=to_token_count(cached.cached_tokens) if cached else 0,
            reasoning_tokens=to_token_count(reasoning.reasoning_tokens) if reasoning else 0,
        )


class _Chunk(msgspec.Struct):
    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    analysis: Any = None
    error: Any = None
    object: str | None = None
    message: Any = None


_decode_chunk = msgspec.json.Decoder(_Chunk).decode


@dataclass(slots=True)
class _StartedCall:
    """A tool call while it comes in; `given_id` is what the server calls it, if anything."""

    name: str
    given_id: str | None
    call_id: str
    pieces: list[str] = field(default_factory=list)

    @property
    def arguments(self) -> str:
        return "".join(self.pieces)

    def is_another(self, call: _Call, function: _Function) -> bool:
        """
        Whether `call`, sent in this one's place, is a call of its own.

        A name begins a call, but some servers repeat it with every delta, and some give
        all calls one index and no id: then arguments that are whole already tell.
        """
        if not function.name:
            return False
        if function.name != self.name:
            return True
        if call.id:
            return call.id != self.given_id
        return bool(function.text) and _is_json(self.arguments)


def _analysis(told: Any) -> Analysis | None:
    """Read what a mavera server sends; another server's member of that name is none."""
    try:
        found = msgspec.convert(told, Analysis)
    except (msgspec.ValidationError, RecursionError):
        return None
    return found if found.method or found.error else None


def _is_usable(call_id: str | None) -> TypeGuard[str]:
    """Whether a server's own id of a call can be passed on; for any other we make one."""
    return call_id is not None and 0 < len(call_id) <= MOST_ID_CHARACTERS


def _is_json(text: str) -> bool:
    try:
        msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


class ChunkDecoder:
    """
    Turn the bytes of one answer into events.

    `feed` and `feed_body` yield deltas; `close` yields `RunCompleted`, or raises where the
    answer stopped before its end: a connection that dies never looks like a normal end.

    Text, refusals and arguments may have `most_characters` together. `chunks` counts the chunks so far.
    """

    def __init__(self, prompt: Prompt, *, most_characters: int = 4_000_000) -> None:
        self._prompt = prompt
        self._characters_left = most_characters
        self.chunks = 0
        self._pending = bytearray()
        self._reason: FinishReason | None = None
        self._usage: Usage | None = None
        self._analysis: Analysis | None = None
        self._deltas = 0
        self._calls: list[_StartedCall] = []
        self._positions: dict[int, int] = {}
        self.done = False

    def feed(self, data: bytes) -> Iterable[ModelEvent]:
        """Return the events of the `data:` lines that `data` completes. They may raise ServiceUnavailable."""
        # Most reads are one whole chunk, and a generator for each would be a third of what it costs here.
        alone = data.startswith(b"data: {") and data.find(b"\n") == len(data) - 2 and data.endswith(b"\n\n")
        if alone and not self._pending and not self.done:
            return self._feed_chunk(data[6:-2])
        return self._feed_lines(data)

    def _feed_lines(self, data: bytes) -> Iterator[ModelEvent]:
        for line in self._lines(data):
            if line.startswith(b"data:"):
                yield from self._feed_line(line[5:].strip())

    def _lines(self, data: bytes) -> list[bytes]:
        """Return the lines completed by `data`, and keep what is left of it."""
        lines = data.split(b"\n")
        if self._pending:
            self._pending += lines[0]
            if len(lines) > 1:
                lines[0] = bytes(self._pending)
        last = lines.pop()
        if lines:
            self._pending = bytearray(last)
        elif not self._pending:
            self._pending += last
        if len(self._pending) > MAX_LINE_BYTES:
            raise _broken("a line without end")
        return lines

    def feed_body(self, body: bytes) -> Iterator[ModelEvent]:
        """Yield the events of an answer that came whole, from a server that did not stream."""
        yield from self._feed_chunk(body)
        self.done = True

    def close(self) -> Iterator[ModelEvent]:
        """End the answer. Raises ServiceUnavailable if it was not finished."""
        if self._reason is None:
            raise ServiceUnavailable("The model stopped before its answer was finished.", retry_after=1)
        if self._reason in ("stop", "tool_calls"):
            for position, call in enumerate(self._calls):
                if not call.arguments.strip():  # callers parse them, and "" is no JSON
                    yield ToolCallDelta(position, "{}")
        yield RunCompleted(self._reason, self._usage or self._estimated_usage(), analysis=self._analysis)

    def _feed_line(self, line: bytes) -> Iterable[ModelEvent]:
        if line == b"[DONE]":
            self.done = True
        return self._feed_chunk(line) if line and not self.done else ()

    def _feed_chunk(self, text: bytes) -> Iterable[ModelEvent]:
        try:
            chunk = _decode_chunk(text)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise _broken(str(error)) from error
        self.chunks += 1
        if chunk.error:
            raise reported_error(chunk.error)
        if chunk.object == "error":
            raise reported_error(chunk.message)
        if chunk.analysis is not None:
            self._analysis = _analysis(chunk.analysis)
        if chunk.usage is not None:
            self._usage = chunk.usage.to_usage()
        if not chunk.choices:
            return ()
        choice = chunk.choices[0]
        delta = choice.delta
        if delta is None or not delta.content or choice.finish_reason or choice.logprobs is not None:
            return self._feed_choice(choice)
        if delta.refusal or delta.tool_calls:
            return self._feed_choice(choice)
        self._deltas += 1
        self._characters_left -= len(delta.content)
        if self._characters_left < 0:
            raise _too_long()
        return (TextDelta(delta.content),)

    def _feed_choice(self, choice: _Choice) -> Iterator[ModelEvent]:
        delta = choice.delta or choice.message
        if delta is not None:
            logprobs = self._logprobs(choice)
            if delta.content or (delta.content is not None and logprobs):  # some tokens are no text yet
                self._deltas += 1
                self._count(delta.content)
                yield TextDelta(delta.content, logprobs)
            if delta.refusal:
                self._count(delta.refusal)
                yield RefusalDelta(delta.refusal)
            for call in delta.tool_calls or ():
                yield from self._feed_call(call, whole=choice.message is delta)
        if choice.finish_reason in _BROKEN_OFF:
            raise reported_error(f"it ended with '{choice.finish_reason}'.")
        if choice.finish_reason:  # some say "" until the end
            self._reason = _FINISH_REASONS.get(choice.finish_reason, "stop")
            if self._calls and self._reason == "stop":
                self._reason = "tool_calls"  # llama.cpp and others say "stop" after a call

    def _logprobs(self, choice: _Choice) -> tuple[TokenLogprob, ...]:
        """Return the tokens' log-probabilities where they were asked for: some servers always send them."""
        if self._prompt.top_logprobs is None or choice.logprobs is None:
            return ()
        return tuple(token.to_token(self._prompt.top_logprobs) for token in choice.logprobs.content or ())

    def _feed_call(self, call: _Call, *, whole: bool) -> Iterator[ModelEvent]:
        """`whole` says that the answer came in one piece: each entry is a call of its own."""
        function = call.function or _Function()
        position = None if whole else self._position_of(call, function)
        if position is None:
            if not function.name:
                raise _broken("a tool call without a name")
            position = len(self._calls)
            if position >= MOST_CALLS:
                raise _broken("too many tool calls")
            # No function has so long a name. The call fails by its name, cut or not.
            name = function.name[:MOST_NAME_CHARACTERS]
            known = {started.call_id for started in self._calls}
            call_id = call.id if _is_usable(call.id) and call.id not in known else new_id("call")
            self._calls.append(_StartedCall(name, call.id, call_id))
            yield ToolCallStarted(position, call_id, name)
        if call.index is not None:
            self._positions[call.index] = position
        if text := function.text:
            self._count(text)
            self._calls[position].pieces.append(text)
            yield ToolCallDelta(position, text)

    def _position_of(self, call: _Call, function: _Function) -> int | None:
        """Which started call this continues; None where it begins another one."""
        if not self._calls:
            return None
        last = len(self._calls) - 1
        if call.index is not None:
            position = self._positions.get(call.index)
            if position is None:
                return None if function.name else last
        else:
            ids = [started.given_id for started in self._calls]
            position = ids.index(call.id) if call.id in ids and call.id else last
        return None if self._calls[position].is_another(call, function) else position

    def _count(self, text: str) -> None:
        self._characters_left -= len(text)
        if self._characters_left < 0:
            raise _too_long()

    def _estimated_usage(self) -> Usage:
        characters = sum(len(item.text) for item in self._prompt.items if isinstance(item, Message))
        return Usage(
            input_tokens=characters // _CHARACTERS_PER_TOKEN, output_tokens=self._deltas, estimated=True
        )


def joined(events: Iterable[ModelEvent]) -> Iterable[ModelEvent]:
    """
    Return `events` with pieces of text that follow each other made one.

    What came in one read has waited here together: it goes the rest of the way once. Pieces with
    log-probabilities stay as they are. Where `events` raises, what came before goes first.
    """
    return events if isinstance(events, tuple) and len(events) < 2 else _joined(events)


def _joined(events: Iterable[ModelEvent]) -> Iterator[ModelEvent]:
    pieces: list[str] = []
    try:
        for event in events:
            if isinstance(event, TextDelta) and not event.logprobs:
                pieces.append(event.text)
                continue
            if pieces:
                yield _one(pieces)
                pieces = []
            yield event
    except APIError:
        if pieces:
            yield _one(pieces)
        raise
    if pieces:
        yield _one(pieces)


def _one(pieces: list[str]) -> TextDelta:
    return TextDelta("".join(pieces), (), len(pieces))


def reported_error(error: Any) -> APIError:
    """Return what a server's own error object comes down to; shapes differ, a message is all we rely on."""
    message = error.get("message") if isinstance(error, dict) else error
    text = message if isinstance(message, str) and message else "no reason given"
    return ServiceUnavailable(f"The model failed while answering: {text[:500]}", retry_after=1)


def _too_long() -> APIError:
    return ServiceUnavailable("The model's answer is longer than this server passes on.", retry_after=60)


def _broken(reason: str) -> APIError:
    return ServiceUnavailable(f"The model's server sent what is no chat completion: {reason}.", retry_after=1)
