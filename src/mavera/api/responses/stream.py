"""
Encode a run as the event stream of the Responses API.

    response.created → response.in_progress
      → output_item.added → content_part.added → output_text.delta* → output_text.done
      → content_part.done → output_item.done            (a message; refusal.* likewise)
      → output_item.added → content_part.added → reasoning_text.delta* → reasoning_text.done
      → content_part.done → output_item.done            (the model's reasoning, if its server shows it)
      → output_item.added → function_call_arguments.delta* → .done → output_item.done
      → output_item.added → custom_tool_call_input.delta* → .done → output_item.done
      → output_item.added → web_search_call.in_progress → .searching → .completed → output_item.done
    → response.completed | response.incomplete | response.failed

Every item is announced once, keeps its id and its place, and is closed once, even if the run fails. The last
event lists exactly the announced items, and its response is the body of a request without a stream. Pure: the
encoder gets its ids and its clock as arguments.
"""

from collections.abc import Callable, Collection, Generator, Iterator, Mapping
from itertools import count
from typing import Any, Literal, assert_never

from mavera.api.http.json import json_bytes
from mavera.api.wire.custom_tools import InputReader
from mavera.api.wire.members import build_analysis, build_artifacts, build_mosaic
from mavera.api.wire.server_calls import CallItem, call_object, url_citation
from mavera.core.events import (
    Event,
    FinishReason,
    Parsed,
    PersonasAnswered,
    ReasoningDelta,
    RefusalDelta,
    RunCompleted,
    RunFailed,
    RunPrepared,
    RunStarted,
    ServerCallEnded,
    ServerCallEvent,
    ServerCallStarted,
    TextDelta,
    TextWasReasoning,
    TokenLogprob,
    ToolCallDelta,
    ToolCallStarted,
)
from mavera.core.prompt import Sampling
from mavera.core.server_calls import ServerCall, ServerOutcome, Source, find_citations
from mavera.core.usage import Usage
from mavera.errors import APIError

Wire = dict[str, Any]
Status = Literal["completed", "incomplete"]

TEXT_DELTA = "response.output_text.delta"
_INCOMPLETE: dict[FinishReason, str] = {"length": "max_output_tokens", "content_filter": "content_filter"}


class ResponseEncoder:
    """
    Encodes the events of one run.

    `head` has the members of the Response that the request decides: id, created_at, model and the echoed
    settings. `namespaces` has the namespace and the name of tools, by their names for the model, and
    `custom_tools` the names of those that take a text. `new_id(prefix)` makes the ids of items, and `clock()`
    returns Unix seconds.
    """

    delta_name = TEXT_DELTA

    def __init__(
        self,
        head: Wire,
        *,
        new_id: Callable[[str], str],
        clock: Callable[[], int],
        namespaces: Mapping[str, tuple[str, str]] | None = None,
        custom_tools: Collection[str] = (),
    ) -> None:
        self._head = head
        self._namespaces = namespaces or {}
        self._custom_tools = custom_tools
        self._inputs: dict[int, InputReader] = {}
        self._new_id = new_id
        self._clock = clock
        self._numbers = count()
        self._output: list[Wire] = []
        self._message: _Message | None = None
        self._reasoning: _Reasoning | None = None
        self._calls: dict[int, int] = {}
        self._server_calls: dict[str, CallItem] = {}
        self._ran: list[Wire] = []
        self._sources: list[Source] = []
        self._closing: list[Wire] | None = None
        self._body: Wire | None = None

    def take(self, event: Event) -> None:
        """Keep the part of `event` that the whole response will contain."""
        if isinstance(event, TextWasReasoning):
            event = self._withdraw_message(event)
        for _ in self._translate(event):
            pass

    def feed(self, event: Event) -> Iterator[Wire]:
        """Take `event`, and yield its wire events with their numbers."""
        for wire in self._translate(event):
            wire["sequence_number"] = next(self._numbers)
            yield wire

    def encode_delta(self, event: Event) -> bytes | None:
        """
        Return the JSON of the wire event if `event` continues the open text.

        Returns None for any other event, which `feed` takes. Most events are of this kind, and they differ
        only in their text and their number.
        """
        if self._message is None or not isinstance(event, TextDelta) or event.logprobs or not event.text:
            return None
        frame = self._message.get_text_frame()
        if frame is None:
            return None
        self._message.note(event.text)
        before, after = frame
        return b"%b%b%b%d}" % (before, json_bytes(event.text), after, next(self._numbers))

    def encode_empty(self) -> Iterator[Wire]:
        """Yield the events of a response without output, for a turn that asks for none."""
        yield from self.feed(RunStarted())
        completed = self._build_envelope("response.completed", "completed", usage=Usage())
        yield {**completed, "sequence_number": next(self._numbers)}

    def close(self, event: RunCompleted) -> list[Wire]:
        """Return the output as it will be after `event`. Feed `event` afterwards."""
        self._closing = list(self._close(event.reason))
        return self._output

    def deny_kept(self) -> None:
        """Write `store: false` in the response from here on."""
        self._head = {**self._head, "store": False}

    @property
    def response_id(self) -> str:
        return str(self._head["id"])

    def build_body(self) -> Wire:
        """Return the finished response. Call it after the run has ended."""
        if self._body is None or self._body["status"] == "in_progress":
            raise RuntimeError("the run has not ended")
        return self._body

    def _translate(self, event: Event) -> Iterator[Wire]:
        match event:
            case RunPrepared(_, sampling):
                self._head = {**self._head, **_echo_sampling(sampling)}
            case TextWasReasoning():  # such text has already been sent
                return
            case RunStarted():
                yield self._build_envelope("response.created", "in_progress")
                yield self._build_envelope("response.in_progress", "in_progress")
            case PersonasAnswered():
                self._head = {**self._head, **build_mosaic(event)}
            case TextDelta(text, logprobs):
                message = yield from self._open_message()
                yield from message.add_text(text, logprobs)
            case ReasoningDelta(text):
                yield from self._add_reasoning(text)
            case RefusalDelta(text):
                message = yield from self._open_message()
                yield from message.add_refusal(text)
            case ToolCallStarted() | ToolCallDelta():
                yield from self._feed_call(event)
            case ServerCallStarted() | ServerCallEnded():
                yield from self._feed_server_call(event)
            case RunCompleted(reason, usage, parsed, artifacts, analysis):
                self._head = {**self._head, **build_artifacts(artifacts), **build_analysis(analysis)}
                yield from self._complete(reason, usage, parsed)
            case RunFailed(error):
                yield from self._fail(error)
            case _:
                assert_never(event)

    def _add_reasoning(self, text: str) -> Iterator[Wire]:
        if not text:
            return
        if self._reasoning is None:
            yield from self._close_message("completed")
            item: Wire = {"id": self._new_id("rs"), "type": "reasoning", "status": "in_progress"}
            item |= {"summary": [], "content": []}
            self._reasoning = _Reasoning(item, len(self._output))
            yield from self._announce(item)
            yield from self._reasoning.open()
        yield self._reasoning.add_text(text)

    def _withdraw_message(self, event: TextWasReasoning) -> ReasoningDelta:
        """Remove the open message from the output, and return its text as reasoning."""
        message, self._message = self._message, None
        if message is None:
            return ReasoningDelta("")
        self._output.pop()
        return ReasoningDelta(message.full_text if event.is_shown else "")

    def _open_message(self) -> Generator[Wire, None, "_Message"]:
        if self._message is None:
            yield from self._close_reasoning("completed")
            item = {
                "id": self._new_id("msg"),
                "type": "message",
                "role": "assistant",
                "status": "in_progress",
                "content": [],
            }
            self._message = _Message(item, len(self._output), self._sources)
            yield from self._announce(item)
        return self._message

    def _feed_call(self, event: ToolCallStarted | ToolCallDelta) -> Iterator[Wire]:
        if isinstance(event, ToolCallStarted):
            yield from self._open_call(event.index, event.call_id, event.name)
            return
        position = self._calls[event.index]
        item = self._output[position]
        if event.index in self._inputs:
            yield from self._add_input(position, self._inputs[event.index].feed(event.arguments))
            return
        item["arguments"] += event.arguments
        yield _build_arguments_event("delta", item["id"], position, delta=event.arguments)

    def _add_input(self, position: int, text: str) -> Iterator[Wire]:
        item = self._output[position]
        item["input"] += text
        if text:
            yield _build_input_event("delta", item["id"], position, delta=text)

    def _open_call(self, index: int, call_id: str, name: str) -> Iterator[Wire]:
        yield from self._close_message("completed")
        self._calls[index] = len(self._output)
        namespace, own_name = self._namespaces.get(name, (None, name))
        is_custom = name in self._custom_tools
        if is_custom:
            self._inputs[index] = InputReader()
        yield from self._announce(
            {
                "id": self._new_id("ctc" if is_custom else "fc"),
                "type": "custom_tool_call" if is_custom else "function_call",
                "status": "in_progress",
                "call_id": call_id,
                "name": own_name,
                "input" if is_custom else "arguments": "",
                **({"namespace": namespace} if namespace is not None else {}),
            }
        )

    def _feed_server_call(self, event: ServerCallEvent) -> Iterator[Wire]:
        if isinstance(event, ServerCallStarted):
            yield from self._open_server_call(event.call)
        else:
            yield from self._close_server_call(event.outcome)

    def _open_server_call(self, call: ServerCall) -> Iterator[Wire]:
        yield from self._close_message("completed")
        opened = CallItem(call, self._new_id(CallItem.prefix(call)), len(self._output))
        self._server_calls[call.id] = opened
        yield from self._announce(opened.item)
        yield from opened.announce_start()

    def _close_server_call(self, outcome: ServerOutcome) -> Iterator[Wire]:
        self._sources += outcome.sources
        self._ran.append(call_object(outcome))
        yield from self._server_calls.pop(outcome.call.id).announce_end(outcome)

    def _announce(self, item: Wire) -> Iterator[Wire]:
        self._output.append(item)
        position = len(self._output) - 1
        yield {"type": "response.output_item.added", "output_index": position, "item": _copy(item)}

    def _close_reasoning(self, status: Status) -> Iterator[Wire]:
        if self._reasoning is not None:
            yield from self._reasoning.close(status)
            self._reasoning = None

    def _close_message(self, status: Status) -> Iterator[Wire]:
        yield from self._close_reasoning(status)
        if self._message is not None:
            yield from self._message.close(status)
            self._message = None

    def _close_all(self, status: Status) -> Iterator[Wire]:
        yield from self._close_message(status)
        for opened in self._server_calls.values():
            yield from opened.announce_abort()
        self._server_calls = {}
        for index, position in self._calls.items():
            yield from self._close_call(index, position)
            item = self._output[position]
            item["status"] = status
            yield {"type": "response.output_item.done", "output_index": position, "item": _copy(item)}
        self._calls = {}
        self._inputs = {}

    def _close_call(self, index: int, position: int) -> Iterator[Wire]:
        item = self._output[position]
        if index in self._inputs:
            yield from self._add_input(position, self._inputs[index].close())
            yield _build_input_event("done", item["id"], position, input=item["input"])
        else:
            told = {"name": item["name"], "arguments": item["arguments"]}
            yield _build_arguments_event("done", item["id"], position, **told)

    def _complete(self, reason: FinishReason, usage: Usage, parsed: Parsed | None) -> Iterator[Wire]:
        status = _status_of(reason)
        yield from self._close(reason) if self._closing is None else self._closing
        details = {"reason": _INCOMPLETE[reason]} if status == "incomplete" else None
        yield self._build_envelope(
            f"response.{status}", status, usage=usage, incomplete_details=details, parsed=parsed
        )

    def _close(self, reason: FinishReason) -> Iterator[Wire]:
        if not self._output:  # an empty answer is still a message
            message = yield from self._open_message()
            yield from message.add_text("", ())
        yield from self._close_all(_status_of(reason))

    def _fail(self, error: APIError) -> Iterator[Wire]:
        yield from self._close_all("incomplete")
        # OpenAI's list of codes does not contain ours, so ours is sent as `type`.
        public_error = {"code": "server_error", "message": error.message, "type": error.code}
        yield self._build_envelope("response.failed", "failed", error=public_error)

    def _build_envelope(
        self,
        name: str,
        status: str,
        *,
        usage: Usage | None = None,
        incomplete_details: Wire | None = None,
        error: Wire | None = None,
        parsed: Parsed | None = None,
    ) -> Wire:
        self._body = {
            **self._head,
            "object": "response",
            "status": status,
            "completed_at": self._clock() if status == "completed" else None,
            "error": error,
            "incomplete_details": incomplete_details,
            "output": [_copy(item) for item in self._output],
            "usage": build_usage(usage) if usage is not None else None,
        }
        if parsed is not None:
            self._body["parsed"] = parsed.value
        if self._ran:
            self._body["server_tool_calls"] = list(self._ran)
        return {"type": name, "response": self._body}


class _Reasoning:
    """A reasoning item while it is being streamed. It has one part."""

    def __init__(self, item: Wire, position: int) -> None:
        self._item = item
        self._at = {"item_id": item["id"], "output_index": position, "content_index": 0}
        self._pieces: list[str] = []

    def open(self) -> Iterator[Wire]:
        part = {"type": "reasoning_text", "text": ""}
        self._item["content"].append(part)
        yield {"type": "response.content_part.added", **self._at, "part": _copy(part)}

    def add_text(self, text: str) -> Wire:
        self._pieces.append(text)
        return {"type": "response.reasoning_text.delta", **self._at, "delta": text}

    def close(self, status: Status) -> Iterator[Wire]:
        part = self._item["content"][0]
        part["text"] = "".join(self._pieces)
        self._item["status"] = status
        yield {"type": "response.reasoning_text.done", **self._at, "text": part["text"]}
        yield {"type": "response.content_part.done", **self._at, "part": _copy(part)}
        position = self._at["output_index"]
        yield {"type": "response.output_item.done", "output_index": position, "item": _copy(self._item)}


class _Message:
    """A message item while it is being streamed. One of its parts is open at a time."""

    def __init__(self, item: Wire, position: int, sources: list[Source]) -> None:
        self._item = item
        self._position = position
        self._sources = sources
        self._pieces: list[str] = []
        self._frame: tuple[bytes, bytes] | None = None

    def get_text_frame(self) -> tuple[bytes, bytes] | None:
        """Return the JSON before and after the text of each delta, or None unless a text is open."""
        return self._frame

    @property
    def full_text(self) -> str:
        return "".join(self._pieces)

    def note(self, text: str) -> None:
        self._pieces.append(text)

    def add_text(self, text: str, logprobs: tuple[TokenLogprob, ...]) -> Iterator[Wire]:
        yield from self._open({"type": "output_text", "text": "", "annotations": [], "logprobs": []})
        tokens = [_encode_token(token) for token in logprobs]
        self._part["logprobs"] += tokens
        self._pieces.append(text)
        if text or tokens:
            yield {"type": TEXT_DELTA, **self._at, "delta": text, "logprobs": tokens}

    def add_refusal(self, text: str) -> Iterator[Wire]:
        yield from self._open({"type": "refusal", "refusal": ""})
        self._pieces.append(text)
        yield {"type": "response.refusal.delta", **self._at, "delta": text}

    def close(self, status: Status) -> Iterator[Wire]:
        yield from self._close_part()
        self._item["status"] = status
        yield {"type": "response.output_item.done", "output_index": self._position, "item": _copy(self._item)}

    @property
    def _part(self) -> Wire:
        part: Wire = self._item["content"][-1]
        return part

    @property
    def _at(self) -> Wire:
        return {
            "item_id": self._item["id"],
            "output_index": self._position,
            "content_index": len(self._item["content"]) - 1,
        }

    def _open(self, part: Wire) -> Iterator[Wire]:
        if self._item["content"] and self._part["type"] == part["type"]:
            return
        yield from self._close_part()
        self._item["content"].append(part)
        self._frame = _build_delta_frame(self._at) if part["type"] == "output_text" else None
        yield {"type": "response.content_part.added", **self._at, "part": _copy(part)}

    def _close_part(self) -> Iterator[Wire]:
        if not self._item["content"]:
            return
        part = self._part
        self._frame = None
        text = "".join(self._pieces)
        self._pieces = []
        if part["type"] == "output_text":
            part["text"] = text
            yield from self._annotate(part, text)
            done = {"type": "response.output_text.done", "text": text, "logprobs": part["logprobs"]}
        else:
            part["refusal"] = text
            done = {"type": "response.refusal.done", "refusal": text}
        yield {**done, **self._at}
        yield {"type": "response.content_part.done", **self._at, "part": _copy(part)}

    def _annotate(self, part: Wire, text: str) -> Iterator[Wire]:
        for number, citation in enumerate(find_citations(text, self._sources)):
            annotation = url_citation(citation)
            part["annotations"].append(annotation)
            yield {
                "type": "response.output_text.annotation.added",
                **self._at,
                "annotation_index": number,
                "annotation": annotation,
            }


def _status_of(reason: FinishReason) -> Status:
    return "incomplete" if reason in _INCOMPLETE else "completed"


def _build_delta_frame(at: Wire) -> tuple[bytes, bytes]:
    """
    Return the JSON of a text delta at `at`: the part before its text, and the part from there to its number.
    """
    whole = json_bytes({"type": TEXT_DELTA, **at, "delta": "", "logprobs": []})
    before, _, after = whole.rpartition(b'""')
    return before, after[:-1] + b',"sequence_number":'


def _echo_sampling(used: Sampling) -> Wire:
    """Return the settings as they were used: the caller's own, and those recommended for the model."""
    echoed = ("temperature", "top_p", "frequency_penalty", "presence_penalty")
    return {name: value for name in echoed if (value := getattr(used, name)) is not None}


def build_usage(usage: Usage) -> Wire:
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.total_tokens,
        "credits_used": usage.credits,
    }


def _build_arguments_event(step: str, item_id: str, position: int, **members: str) -> Wire:
    kind = f"response.function_call_arguments.{step}"
    return {"type": kind, "item_id": item_id, "output_index": position, **members}


def _build_input_event(step: str, item_id: str, position: int, **members: str) -> Wire:
    kind = f"response.custom_tool_call_input.{step}"
    return {"type": kind, "item_id": item_id, "output_index": position, **members}


def _copy(item: Wire) -> Wire:
    """Return a copy of `item` as it is now, because a sent event must not change any more."""
    return {key: list(value) if isinstance(value, list) else value for key, value in item.items()}


def _encode_token(token: TokenLogprob) -> Wire:
    return {**_encode_plain(token), "top_logprobs": [_encode_plain(other) for other in token.top]}


def _encode_plain(token: TokenLogprob) -> Wire:
    data = token.bytes if token.bytes is not None else tuple(token.token.encode())
    return {"token": token.token, "logprob": token.logprob, "bytes": data}
