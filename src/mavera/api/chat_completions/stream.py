"""
Encode a run as Chat Completions: chunks, and the whole completion they add up to.

    RunStarted                          {"role"}
    TextDelta, RefusalDelta             {"content"}, {"refusal"}
    ReasoningDelta                      {"reasoning_content"}, as DeepSeek and others call it
    ToolCallStarted, ToolCallDelta      {"tool_calls"}
    ServerCallStarted, ServerCallEnded  `tool_calls` beside `choices`, in the last chunk
    RunCompleted                        finish_reason and usage
    RunFailed                           {"error": …}, the last chunk

Many clients read `choices[0]` of every chunk, so `usage` is in the chunk with the `finish_reason`. Only with
`include_usage` does a client get it in OpenAI's extra chunk, which has no choices. The encoder is pure: it
gets ids and times as arguments.
"""

from collections.abc import Collection, Iterator
from functools import cached_property
from typing import Any, assert_never

from mavera.api.chat_completions.calls import CalledTools
from mavera.api.http.errors import error_body
from mavera.api.http.json import json_bytes
from mavera.api.wire.members import build_analysis, build_artifacts, build_mosaic
from mavera.api.wire.server_calls import call_object, url_citation
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
from mavera.core.server_calls import Source, find_citations
from mavera.core.usage import Usage

Wire = dict[str, Any]


class ChatCompletionEncoder:
    """
    `logprobs` says whether the client asked for them.

    `include_usage` is the stream option of that name. `custom_tools` are the names of the tools that take a
    text.
    """

    delta_name = None

    def __init__(
        self,
        completion_id: str,
        created: int,
        model: str,
        *,
        logprobs: bool = False,
        include_usage: bool = False,
        custom_tools: Collection[str] = (),
    ) -> None:
        self._head = {"id": completion_id, "created": created, "model": model}
        self._wants_logprobs = logprobs
        self._include_usage = include_usage
        self._text: list[str] = []
        self._reasoning: list[str] = []
        # The index at which the text and the tokens of the latest round begin. Tools may have run before it.
        self._begins = (0, 0)
        self._refusal: list[str] = []
        self._logprobs: list[Wire] = []
        self._called = CalledTools(custom_tools)
        self._call_deltas: list[Wire] = []
        self._finish_reason: FinishReason | None = None
        self._usage: Usage | None = None
        self._artifacts: Wire = {}
        self._analysis: Wire = {}
        self._mosaic: Wire = {}
        self._parsed: Parsed | None = None
        self._ran: list[Wire] = []
        self._sources: list[Source] = []
        self._paused = False

    def take(self, event: Event) -> None:
        """Keep the part of `event` that the whole completion will contain."""
        match event:
            case TextDelta(text, logprobs):
                self._text.append(self._separate(text))
                if self._wants_logprobs:
                    self._logprobs += map(_encode_token, logprobs)
            case ReasoningDelta(text):
                self._reasoning.append(text)
            case TextWasReasoning(is_shown):
                self._withdraw_text(is_shown)
            case RefusalDelta(text):
                self._refusal.append(text)
            case ToolCallStarted() | ToolCallDelta():
                self._call_deltas = self._called.take(event)
            case ServerCallStarted() | ServerCallEnded():
                self._note_server_call(event)
            case PersonasAnswered():
                self._mosaic = build_mosaic(event)
            case RunCompleted(reason, usage, parsed, artifacts, analysis):
                self._call_deltas = self._called.close()
                self._finish_reason, self._usage, self._parsed = reason, usage, parsed
                self._artifacts = build_artifacts(artifacts)
                self._analysis = build_analysis(analysis)
            case RunPrepared() | RunStarted() | RunFailed():
                pass
            case _:
                assert_never(event)

    def feed(self, event: Event) -> Iterator[Wire]:
        """Take `event`, and yield its chunks."""
        if isinstance(event, TextWasReasoning):
            return  # the text has already been sent
        self.take(event)
        match event:
            case ReasoningDelta(text):
                yield self._build_chunk({"reasoning_content": text})
            case RunStarted():
                yield self._build_chunk({"role": "assistant", "content": "", "refusal": None})
            case TextDelta(_, logprobs):
                tokens = self._logprobs[len(self._logprobs) - len(logprobs) :]
                logged = _wrap_logprobs(tokens) if self._wants_logprobs else None
                yield self._build_chunk({"content": self._text[-1]}, logprobs=logged)
            case RefusalDelta(text):
                yield self._build_chunk({"refusal": text})
            case ToolCallStarted() | ToolCallDelta():
                yield from self._build_call_chunks()
            case RunCompleted(usage=usage):
                yield from self._build_call_chunks()
                yield from self._finish(usage)
            case RunFailed(error):
                yield error_body(error)

    def encode_delta(self, event: Event) -> bytes | None:
        """
        Return the JSON of the chunk if `event` is only text, and None for any other event.

        Most chunks are of this kind, and they differ only in their text.
        """
        if self._wants_logprobs or self._paused or not isinstance(event, TextDelta):
            return None
        self._text.append(event.text)
        before, after = self._frame
        return b"%b%b%b" % (before, json_bytes(event.text), after)

    @cached_property
    def _frame(self) -> tuple[bytes, bytes]:
        """The JSON before and after the text of each delta."""
        before, _, after = json_bytes(self._build_chunk({"content": ""})).rpartition(b'""')
        return before, after

    def build_body(self) -> Wire:
        """Return the completion. Call it after `RunCompleted` has been fed."""
        if self._usage is None:
            raise RuntimeError("the run has not completed")
        calls = self._called.calls
        message: Wire = {
            "role": "assistant",
            "content": "".join(self._text) if self._text or not (calls or self._refusal) else None,
            "refusal": "".join(self._refusal) or None,
            "annotations": self._find_annotations(),
            **self._artifacts,
        }
        if self._reasoning:
            message["reasoning_content"] = "".join(self._reasoning)
        if calls:
            message["tool_calls"] = calls
        message.update(self._build_parsed())
        choice = {
            "index": 0,
            "message": message,
            "logprobs": _wrap_logprobs(self._logprobs) if self._wants_logprobs else None,
            "finish_reason": self._finish_reason,
        }
        return {
            **self._head,
            "object": "chat.completion",
            "choices": [choice],
            "usage": build_usage(self._usage),
            **self._analysis,
            "service_tier": "default",
            **self._build_server_calls(),
            **self._mosaic,
        }

    def _build_call_chunks(self) -> Iterator[Wire]:
        for delta in self._call_deltas:
            yield self._build_chunk({"tool_calls": [delta]})

    def _finish(self, usage: Usage) -> Iterator[Wire]:
        annotations = self._find_annotations()
        delta = {**self._build_parsed(), **({"annotations": annotations} if annotations else {})}
        last = {
            **self._build_chunk(delta, finish_reason=self._finish_reason),
            **self._artifacts,
            **self._analysis,
            **self._build_server_calls(),
            **self._mosaic,
        }
        if not self._include_usage:
            yield {**last, "usage": build_usage(usage)}
            return
        yield last
        yield {**self._build_chunk({}), "choices": [], "usage": build_usage(usage)}

    def _note_server_call(self, event: ServerCallEvent) -> None:
        if isinstance(event, ServerCallStarted):
            self._paused = bool(self._text)
            self._begins = (len(self._text), len(self._logprobs))
        else:
            self._sources += event.outcome.sources
            self._ran.append(call_object(event.outcome))

    def _withdraw_text(self, is_shown: bool) -> None:
        texts, tokens = self._begins
        if is_shown:
            self._reasoning += self._text[texts:]
        del self._text[texts:], self._logprobs[tokens:]
        self._paused = bool(self._text)

    def _separate(self, text: str) -> str:
        """Put a blank line between the texts before and after a tool call, because here they are one text."""
        paused, self._paused = self._paused, False
        return f"\n\n{text}" if paused else text

    def _build_server_calls(self) -> Wire:
        return {"tool_calls": self._ran} if self._ran else {}

    def _find_annotations(self) -> list[Wire]:
        if not self._sources:
            return []
        cited = find_citations("".join(self._text), self._sources)
        return [{"type": "url_citation", "url_citation": _without_type(url_citation(one))} for one in cited]

    def _build_parsed(self) -> Wire:
        return {"parsed": self._parsed.value} if self._parsed is not None else {}

    def _build_chunk(
        self, delta: Wire, *, finish_reason: FinishReason | None = None, logprobs: Wire | None = None
    ) -> Wire:
        choice = {"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": finish_reason}
        chunk = {**self._head, "object": "chat.completion.chunk", "choices": [choice]}
        if self._include_usage:
            chunk["usage"] = None
        return chunk


def _without_type(annotation: Wire) -> Wire:
    return {name: value for name, value in annotation.items() if name != "type"}


def build_usage(usage: Usage) -> Wire:
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "credits_used": usage.credits,
    }


def _wrap_logprobs(tokens: list[Wire]) -> Wire:
    return {"content": tokens, "refusal": None}


def _encode_token(token: TokenLogprob) -> Wire:
    return {**_encode_plain(token), "top_logprobs": [_encode_plain(other) for other in token.top]}


def _encode_plain(token: TokenLogprob) -> Wire:
    data = token.bytes if token.bytes is not None else tuple(token.token.encode())
    return {"token": token.token, "logprob": token.logprob, "bytes": data}
