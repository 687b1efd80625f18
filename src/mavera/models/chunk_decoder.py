"""
Decode the answer of a server that speaks OpenAI's /chat/completions: bytes in, events out.

    bytes → EventStreamReader → decode_chunk() → ChunkDecoder → ModelEvent*

Pure: no socket, no clock. Servers deviate from OpenAI in small ways: they leave out the index of a call,
repeat ids or leave them empty, send null deltas, send usage late or never, or repeat the whole answer in the
last chunk. This module handles all known deviations, so that no other module has to.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeGuard

import msgspec

from mavera.core.analysis import Analysis
from mavera.core.events import (
    FinishReason,
    ModelEvent,
    ReasoningDelta,
    RefusalDelta,
    RunCompleted,
    TextDelta,
    TextWasReasoning,
    TokenLogprob,
    ToolCallDelta,
    ToolCallStarted,
)
from mavera.core.ids import new_id
from mavera.core.items import Message
from mavera.core.prompt import Prompt
from mavera.core.text import REPLACEMENT
from mavera.core.usage import Usage
from mavera.errors import APIError, ServiceUnavailable
from mavera.models import event_stream
from mavera.models.chat_chunks import (
    NOT_PLAIN,
    Call,
    Choice,
    Chunk,
    Delta,
    Function,
    NoChunk,
    decode_chunk,
    decode_plain,
    join_halves,
    read_usage,
)
from mavera.models.event_stream import EventStreamReader, LineTooLong
from mavera.models.finish_reasons import ending_of, read_reason
from mavera.models.thinking import Piece, ThoughtSplitter
from mavera.settings import Thinking

# No chunk is longer than this. Without a limit, a broken upstream could fill the memory.
MAX_LINE_BYTES = 8 * 1024 * 1024
# OpenAI accepts this many tools. The name of a function has at most 64 characters.
MOST_CALLS = 128
MOST_NAME_CHARACTERS = 256
MOST_ID_CHARACTERS = 1024
_CHARACTERS_PER_TOKEN = 4
_LINE_FEED, _CARRIAGE_RETURN = b"\n\r"
_HALF, _FIRST_HALF = re.compile("[\ud800-\udfff]"), re.compile("[\ud800-\udbff]")
# Events with these names only keep a connection alive.
_PINGS = frozenset({"ping", "heartbeat", "keepalive", "keep-alive"})


@dataclass(slots=True)
class _StartedCall:
    """
    A tool call while it arrives. `given_id` is its id from the server, if it has one.

    A call is announced when its name is known. `number` counts the announced calls.
    """

    name: str
    given_id: str | None
    number: int | None = None
    pieces: list[str] = field(default_factory=list)

    @property
    def arguments(self) -> str:
        return "".join(self.pieces)

    def is_another(self, call: Call, function: Function) -> bool:
        """
        Whether `call`, which has the position of this one, is a new call.

        A name begins a call, but some servers repeat the name with every delta. Others give all calls the
        same index and no id. For those, a name after complete arguments begins a new call.
        """
        if not function.name:
            return False
        if call.id and self.given_id:
            return call.id != self.given_id or (bool(self.name) and function.name != self.name)
        if not self.name:
            return False
        if function.name != self.name or call.id:
            return True
        return bool(function.text) and _is_json(self.arguments)

    def is_repeated_by(self, call: Call, function: Function) -> bool:
        """Whether `call` is this one again, in a message that repeats the answer."""
        if call.id and call.id == self.given_id:
            return True
        return function.name == self.name


class ChunkDecoder:
    """
    Turn the bytes of one answer into events.

    `feed` and `feed_body` yield deltas. `close` yields `RunCompleted`, or raises if the answer stopped before
    its end, so a broken connection never looks like a normal end.

    Text, reasoning, refusals and arguments may have `most_characters` together. `chunks` counts the chunks so
    far. `thinking` says what happens to reasoning: `auto` separates it from the text and reports it, `drop`
    discards it, and `keep` leaves marks of reasoning in the text. With `starts_inside`, the text is expected
    to begin within reasoning.
    """

    def __init__(
        self,
        prompt: Prompt,
        *,
        most_characters: int = 4_000_000,
        thinking: Thinking = "auto",
        starts_inside: bool = False,
    ) -> None:
        self._prompt = prompt
        self._characters_left = most_characters
        self.chunks = 0
        self.done = False
        # A finish reason that no list names, or "".
        self.unknown_reason = ""
        self._reader = EventStreamReader(most_bytes=MAX_LINE_BYTES)
        self._thinking = thinking
        self._splitter: ThoughtSplitter | None = None
        if thinking != "keep":
            self._splitter = ThoughtSplitter(lambda: "".join(self._texts), starts_inside=starts_inside)
        self._starts_inside = starts_inside
        self._reason: FinishReason | None = None
        self._usage: Usage | None = None
        self._analysis: Analysis | None = None
        # These are as the server sent them. The text includes any marks of reasoning.
        self._texts: list[str] = []
        self._refused: list[str] = []
        self._thoughts: list[str] = []
        self._most_characters = most_characters
        # The counted characters that are not text of the answer.
        self._other_characters = self._reasoning_characters = self._reasoning_deltas = 0
        self._held_tokens: list[TokenLogprob] = []
        # The first half of a surrogate pair, if a piece of text ended with one.
        self._half = ""
        self._streams_messages = False
        # Whether one read can be one message, and whether its text needs no look for marks.
        self._takes_plain = False
        self._watches = True
        self._calls: list[_StartedCall] = []
        self._call_ids: set[str] = set()
        self._positions: dict[int, int] = {}

    @property
    def starts_inside(self) -> bool | None:
        """
        Whether the answer began within reasoning that no mark opened.

        None if the answer does not show it.
        """
        if self._splitter is None or not self._texts:
            return None
        if self._starts_inside:
            return None if self._splitter.has_closed or self._reason == "length" else False
        return True if self._splitter.closed_alone else None

    @property
    def _text_characters(self) -> int:
        return self._most_characters - self._characters_left - self._other_characters

    def feed(self, data: bytes) -> Iterable[ModelEvent]:
        """Return the events of the messages that `data` completes. They may raise ServiceUnavailable."""
        # Most reads are one whole chunk of text. This shortcut saves most of the cost of each.
        if (
            self._takes_plain
            and data.startswith(b"data: {")
            and data.find(_LINE_FEED) == len(data) - 2
            and data[-1] == _LINE_FEED
            and _CARRIAGE_RETURN not in data
        ):
            try:
                text = decode_plain(data[6:-2]).choices[0].delta.content
            except NOT_PLAIN:
                return self._feed_messages(data)
            if text and not (self._watches and "<" in text):
                self.chunks += 1
                self._texts.append(text)
                self._characters_left -= len(text)
                if self._characters_left < 0:
                    raise _make_length_error()
                return (TextDelta(text),)
        return self._feed_messages(data)

    def _feed_messages(self, data: bytes) -> Iterator[ModelEvent]:
        try:
            messages = self._reader.feed(data)
        except LineTooLong as error:
            raise _make_broken_error("a line without end") from error
        for message in messages:
            if not self.done:
                yield from self._feed_message(message)
        splitter = self._splitter
        is_open = self._reader.is_idle and not self.done and not self._half
        self._takes_plain = is_open and (splitter is None or splitter.passes)
        self._watches = splitter is not None and not splitter.is_plain

    def _feed_message(self, message: event_stream.Message) -> Iterable[ModelEvent]:
        text = message.data.strip()
        if text == b"[DONE]":
            self.done = True
            return ()
        if not text or (message.event in _PINGS and b'"choices"' not in text):
            return ()
        if message.event == "error":
            raise make_reported_error(_find_error(text))
        return self._feed_chunk(text)

    def feed_body(self, body: bytes) -> Iterator[ModelEvent]:
        """Yield the events of a whole answer, from a server that did not stream."""
        yield from self._feed_chunk(body)
        self.done = True

    def close(self) -> Iterator[ModelEvent]:
        """End the answer. Raises ServiceUnavailable if it was not finished."""
        yield from self._flush()
        if self._reason is None:
            raise ServiceUnavailable("The model stopped before its answer was finished.", retry_after=1)
        if self._reason == "tool_calls" and not self._calls:
            self._reason = "stop"
        if self._reason in ("stop", "tool_calls"):
            yield from self._finish_text()
            yield from self._finish_calls()
        yield RunCompleted(self._reason, self._estimate_usage(), analysis=self._analysis)

    def _finish_text(self) -> Iterator[ModelEvent]:
        """Raise ServiceUnavailable if the answer is only reasoning, unless that turns out to be the text."""
        if not self._reasoning_characters or self._text_characters or self._refused or self._calls:
            return
        splitter = self._splitter
        if self._starts_inside and splitter is not None and not splitter.has_closed and self._texts:
            # It was not reasoning, because nothing ended it.
            self._reasoning_characters = self._reasoning_deltas = 0
            yield TextDelta("".join(self._texts))
            return
        raise ServiceUnavailable(
            "The model's server sent reasoning and then no answer. A higher token limit, or less reasoning "
            "effort, may help.",
            retry_after=1,
        )

    def _finish_calls(self) -> Iterator[ModelEvent]:
        for call in self._calls:
            if call.number is None:
                raise _make_broken_error("a tool call without a name")
            if not call.arguments.strip():  # callers parse them, and "" is not JSON
                yield ToolCallDelta(call.number, "{}")

    def _feed_chunk(self, text: bytes) -> Iterator[ModelEvent]:
        try:
            chunk = decode_chunk(text)
        except NoChunk as error:
            raise _make_broken_error(str(error)) from error
        self.chunks += 1
        if chunk.error or chunk.object == "error":
            self._check_error(chunk)
        if chunk.analysis is not None:
            self._analysis = _read_analysis(chunk.analysis)
        if chunk.usage is not None:
            self._usage = read_usage(chunk.usage) or self._usage
        yield from self._feed_choices(chunk)

    def _check_error(self, chunk: Chunk) -> None:
        """Raise the error that a chunk reports. An error with only empty members does not count."""
        if chunk.object == "error":
            raise make_reported_error(chunk.message)
        if not isinstance(chunk.error, dict) or any(chunk.error.values()):
            raise make_reported_error(chunk.error)

    def _feed_choices(self, chunk: Chunk) -> Iterator[ModelEvent]:
        choice = next((one for one in chunk.choices or () if not one.index), None)
        if choice is None:
            return
        if choice.delta is not None:
            yield from self._feed_delta(choice.delta, self._read_logprobs(choice))
        if choice.message is not None:
            logprobs = self._read_logprobs(choice) if choice.delta is None else ()
            if self._is_piece(choice, chunk):
                self._streams_messages = True
                yield from self._feed_delta(choice.message, logprobs)
            else:
                yield from self._feed_message_object(choice.message, logprobs)
        if reason := read_reason(choice.finish_reason):
            self._end(reason)

    def _is_piece(self, choice: Choice, chunk: Chunk) -> bool:
        """Whether the `message` of `choice` is a delta, because some servers stream under this name."""
        if self._streams_messages:
            content = choice.message.content if choice.message is not None else None
            return not choice.finish_reason or not (content or "").startswith("".join(self._texts))
        has_begun = self._texts or self._calls or self._thoughts or self._refused
        return not (has_begun or choice.finish_reason or chunk.object == "chat.completion")

    def _feed_delta(self, delta: Delta, logprobs: tuple[TokenLogprob, ...]) -> Iterator[ModelEvent]:
        if thought := delta.reasoning_text():
            self._thoughts.append(thought)
            yield from self._think(thought)
        if delta.content or (delta.content is not None and logprobs):  # some tokens are no text yet
            yield from self._feed_text(delta.content, logprobs)
        if delta.refusal:
            yield from self._refuse(delta.refusal)
        for call in delta.tool_calls or ():
            yield from self._feed_call(call)
        if delta.function_call is not None:
            yield from self._feed_call(Call(0, None, delta.function_call))

    def _feed_message_object(
        self, message: Delta, logprobs: tuple[TokenLogprob, ...]
    ) -> Iterator[ModelEvent]:
        """
        Take a whole message. All, some or none of it may have been streamed before.

        The new part is passed on. If the message contradicts the stream, the stream is right.
        """
        if not self._texts and (thought := _find_rest(message.reasoning_text(), self._thoughts)):
            self._thoughts.append(thought)
            yield from self._think(thought)
        text = _find_rest(message.content or "", self._texts)
        if text or (logprobs and not self._texts):
            yield from self._feed_text(text, logprobs)
        if refusal := _find_rest(message.refusal or "", self._refused):
            yield from self._refuse(refusal)
        calls = [*(message.tool_calls or ())]
        if message.function_call is not None and not calls:
            calls.append(Call(0, None, message.function_call))
        yield from self._feed_whole_calls(calls)

    def _end(self, reason: str) -> None:
        """Note the reason for the end. Raises ServiceUnavailable for a failure."""
        ending = ending_of(reason)
        if ending == "failed":
            raise make_reported_error(f"it ended with '{reason}'.")
        if ending is None:
            self.unknown_reason, ending = reason, "length"
        if ending == "stop" and self._calls:
            ending = "tool_calls"  # llama.cpp and others say "stop" after a call
        if self._reason in (None, "stop", "tool_calls"):  # an answer that was cut stays cut
            self._reason = ending

    def _feed_text(self, text: str, logprobs: tuple[TokenLogprob, ...] = ()) -> Iterator[ModelEvent]:
        if self._half or _HALF.search(text):
            text = self._hold_half(text)
            if not text and not logprobs:
                return
        self._count(text, is_text=True)
        self._texts.append(text)
        splitter = self._splitter
        if (
            splitter is None
            or splitter.is_plain
            or (not text and not self._held_tokens and not splitter.holds)
        ):
            yield TextDelta(text, logprobs)
            return
        if self._starts_inside and len(self._texts) == 1 and self._is_json_start(text):
            splitter.start_as_text()
            self._starts_inside = False
        self._other_characters += len(text)
        self._held_tokens += logprobs
        yield from self._encode_pieces(splitter.feed(text))

    def _hold_half(self, text: str) -> str:
        text = self._half + text
        self._half = text[-1:] if _FIRST_HALF.match(text[-1:]) else ""
        return join_halves(text.removesuffix(self._half) if self._half else text)

    def _is_json_start(self, text: str) -> bool:
        return self._prompt.format.type != "text" and text.lstrip()[:1] in ("{", "[")

    def _encode_pieces(self, pieces: Iterable[Piece]) -> Iterator[ModelEvent]:
        for kind, text in pieces:
            match kind:
                case "text":
                    self._other_characters -= len(text)
                    yield TextDelta(text, self._tokens_of(text))
                case "reasoning":
                    self._held_tokens.clear()
                    yield from self._report(text)
                case _:
                    self._reasoning_characters += self._text_characters
                    self._other_characters += self._text_characters
                    yield TextWasReasoning(self._thinking == "auto")

    def _tokens_of(self, text: str) -> tuple[TokenLogprob, ...]:
        """Return the last held tokens, as many as make up `text`."""
        left, begin = len(text), len(self._held_tokens)
        while begin and left > 0:
            begin -= 1
            left -= len(self._held_tokens[begin].token)
        tokens = tuple(self._held_tokens[begin:])
        self._held_tokens.clear()
        return tokens

    def _flush(self) -> Iterator[ModelEvent]:
        if self._half:
            self._half = ""
            yield from self._feed_text(REPLACEMENT)
        if self._splitter is not None:
            yield from self._encode_pieces(self._splitter.flush())

    def _think(self, text: str) -> Iterator[ModelEvent]:
        """Take reasoning that the server sent apart from the text."""
        if not text:
            return
        self._count(text)
        if self._splitter is not None:
            self._splitter.stop_watching()
            self._splitter.start_as_text()
        yield from self._report(text)

    def _report(self, text: str) -> Iterator[ModelEvent]:
        text = join_halves(text) if _HALF.search(text) else text
        self._reasoning_characters += len(text)
        self._reasoning_deltas += 1
        if self._thinking == "auto":
            yield ReasoningDelta(text)

    def _refuse(self, text: str) -> Iterator[ModelEvent]:
        text = join_halves(text) if _HALF.search(text) else text
        self._count(text)
        yield from self._flush()
        self._refused.append(text)
        yield RefusalDelta(text)

    def _read_logprobs(self, choice: Choice) -> tuple[TokenLogprob, ...]:
        """Return the log-probabilities if they were asked for, because some servers always send them."""
        if self._prompt.top_logprobs is None or choice.logprobs is None:
            return ()
        return tuple(token.to_token(self._prompt.top_logprobs) for token in choice.logprobs.content or ())

    def _feed_whole_calls(self, calls: list[Call]) -> Iterator[ModelEvent]:
        """Take the calls of a whole message, except for those that were streamed before."""
        streamed = list(self._calls)
        for call in calls:
            function = call.called
            same = next((one for one in streamed if one.is_repeated_by(call, function)), None)
            if same is not None:
                streamed.remove(same)
                if rest := _find_rest(function.text, same.pieces):
                    yield from self._feed_arguments(same, rest)
            elif not streamed:
                yield from self._start_call(call, function)

    def _feed_call(self, call: Call) -> Iterator[ModelEvent]:
        function = call.called
        position = self._position_of(call, function)
        if position is None:
            if not (function.name or function.text or call.id):
                return
            position = len(self._calls)
            yield from self._start_call(call, function)
        else:
            started = self._calls[position]
            if function.name and not started.name:
                started.given_id = started.given_id or call.id
                yield from self._announce(started, function.name)
            yield from self._feed_arguments(started, function.text)
        if call.index is not None:
            self._positions[call.index] = position

    def _start_call(self, call: Call, function: Function) -> Iterator[ModelEvent]:
        if len(self._calls) >= MOST_CALLS:
            raise _make_broken_error("too many tool calls")
        yield from self._flush()
        started = _StartedCall("", call.id)
        self._calls.append(started)
        if function.name:
            yield from self._announce(started, function.name)
        yield from self._feed_arguments(started, function.text)

    def _announce(self, call: _StartedCall, name: str) -> Iterator[ModelEvent]:
        # No function has so long a name, so the call fails, even if its name is cut.
        call.name = name[:MOST_NAME_CHARACTERS]
        call.number = sum(one.number is not None for one in self._calls)
        given = call.given_id
        call_id = given if _is_usable(given) and given not in self._call_ids else new_id("call")
        self._call_ids.add(call_id)
        yield ToolCallStarted(call.number, call_id, call.name)
        if call.arguments:
            yield ToolCallDelta(call.number, call.arguments)

    def _feed_arguments(self, call: _StartedCall, text: str) -> Iterator[ModelEvent]:
        if text:
            self._count(text)
            call.pieces.append(text)
            if call.number is not None:
                yield ToolCallDelta(call.number, text)

    def _position_of(self, call: Call, function: Function) -> int | None:
        """Return the position of the call that this one continues, or None if it begins a new call."""
        if not self._calls:
            return None
        last = len(self._calls) - 1
        position = None
        if call.index is not None:
            position = self._positions.get(call.index)
            if position is None and function.name:
                return None
        if position is None:
            ids = [started.given_id for started in self._calls]
            if call.id and call.id not in ids and call.index is not None:
                return None
            position = ids.index(call.id) if call.id and call.id in ids else last
        return None if self._calls[position].is_another(call, function) else position

    def _count(self, text: str, *, is_text: bool = False) -> None:
        self._characters_left -= len(text)
        if not is_text:
            self._other_characters += len(text)
        if self._characters_left < 0:
            raise _make_length_error()

    def _estimate_usage(self) -> Usage:
        """Return the usage that the server sent, or an estimate. Uncounted reasoning is estimated too."""
        usage = self._usage
        if usage is None:
            characters = sum(len(item.text) for item in self._prompt.items if isinstance(item, Message))
            return Usage(
                input_tokens=characters // _CHARACTERS_PER_TOKEN,
                output_tokens=len(self._texts) + len(self._thoughts),
                reasoning_tokens=self._reasoning_deltas,
                estimated=True,
            )
        if not self._reasoning_characters or usage.reasoning_tokens:
            return usage
        arguments = sum(len(call.arguments) for call in self._calls)
        share = self._reasoning_characters / (self._reasoning_characters + self._text_characters + arguments)
        return msgspec.structs.replace(usage, reasoning_tokens=round(usage.output_tokens * share))


def join_deltas(events: Iterable[ModelEvent]) -> Iterable[ModelEvent]:
    """
    Join consecutive pieces of text in `events`, and consecutive pieces of reasoning.

    Text that arrived in one read is sent on as one delta. Pieces with log-probabilities stay separate. If
    `events` raises, the pieces before the error are sent first.
    """
    return events if isinstance(events, tuple) and len(events) < 2 else _join(events)


def _join(events: Iterable[ModelEvent]) -> Iterator[ModelEvent]:
    kind: type[TextDelta | ReasoningDelta] = TextDelta
    pieces: list[str] = []
    try:
        for event in events:
            if isinstance(event, ReasoningDelta) or (isinstance(event, TextDelta) and not event.logprobs):
                if pieces and kind is not type(event):
                    yield _merge_pieces(kind, pieces)
                    pieces = []
                kind = type(event)
                pieces.append(event.text)
                continue
            if pieces:
                yield _merge_pieces(kind, pieces)
                pieces = []
            yield event
    except APIError:
        if pieces:
            yield _merge_pieces(kind, pieces)
        raise
    if pieces:
        yield _merge_pieces(kind, pieces)


def _merge_pieces(kind: type[TextDelta | ReasoningDelta], pieces: list[str]) -> TextDelta | ReasoningDelta:
    return kind("".join(pieces), pieces=len(pieces))


def _find_rest(whole: str, streamed: list[str]) -> str:
    """Return the rest of `whole` after the streamed text, or "" if `whole` contradicts it."""
    so_far = "".join(streamed)
    return whole[len(so_far) :] if whole.startswith(so_far) else ""


def _read_analysis(value: Any) -> Analysis | None:
    """Read the analysis of a mavera server. Returns None for any other member of that name."""
    try:
        found = msgspec.convert(value, Analysis)
    except (msgspec.ValidationError, RecursionError):
        return None
    return found if found.method or found.error else None


def _is_usable(call_id: str | None) -> TypeGuard[str]:
    """Whether the server's id of a call can be passed on. If not, we make one."""
    return call_id is not None and 0 < len(call_id) <= MOST_ID_CHARACTERS


def _is_json(text: str) -> bool:
    try:
        msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


def _find_error(text: bytes) -> Any:
    """Return the error in an event called `error`, in whatever form."""
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return text.decode(errors="replace")
    return value.get("error", value) if isinstance(value, dict) else value


def make_reported_error(error: Any) -> APIError:
    """Convert a server's error. Its shape may vary; only its message is used."""
    message = error.get("message") if isinstance(error, dict) else error
    text = message if isinstance(message, str) and message else "no reason given"
    return ServiceUnavailable(f"The model failed while answering: {text[:500]}", retry_after=1)


def _make_length_error() -> APIError:
    return ServiceUnavailable("The model's answer is longer than this server accepts.", retry_after=60)


def _make_broken_error(reason: str) -> APIError:
    return ServiceUnavailable(
        f"The model's server sent something other than a chat completion: {reason}.", retry_after=1
    )
