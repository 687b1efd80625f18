"""
Encode a run as Chat Completions: chunks, and the whole completion they add up to.

    RunStarted → {"role"} · TextDelta → {"content"} · RefusalDelta → {"refusal"}
    ToolCallStarted, ToolCallDelta → {"tool_calls"} · RunCompleted → finish_reason + usage
    RunFailed → {"error": …}, the last chunk

Many clients read `choices[0]` of every chunk, so `usage` rides on the chunk with the
`finish_reason`; only a client that asks for `include_usage` gets it in OpenAI's extra
chunk without choices. The encoder is pure: ids and times are given to it.
"""

from collections.abc import Iterator
from typing import Any, assert_never

from mavera.api.artifacts import artifacts_member
from mavera.api.errors import error_body
from mavera.api.mosaic import mosaic_member
from mavera.core.events import (
    Event,
    FinishReason,
    Parsed,
    PersonasAnswered,
    RefusalDelta,
    RunCompleted,
    RunFailed,
    RunPrepared,
    RunStarted,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
    ToolCallStarted,
)
from mavera.core.usage import Usage

Wire = dict[str, Any]


class ChatCompletionEncoder:
    """`logprobs`: whether the client asked for them; `include_usage`: the stream option of that name."""

    def __init__(
        self,
        completion_id: str,
        created: int,
        model: str,
        *,
        logprobs: bool = False,
        include_usage: bool = False,
    ) -> None:
        self._head = {"id": completion_id, "created": created, "model": model}
        self._wants_logprobs = logprobs
        self._include_usage = include_usage
        self._text: list[str] = []
        self._refusal: list[str] = []
        self._logprobs: list[Wire] = []
        self._calls: list[Wire] = []
        self._finish_reason: FinishReason | None = None
        self._usage: Usage | None = None
        self._artifacts: Wire = {}
        self._mosaic: Wire = {}
        self._parsed: Parsed | None = None

    def feed(self, event: Event) -> Iterator[Wire]:
        """Yield the chunks that `event` gives rise to."""
        match event:
            case RunPrepared():
                return
            case RunStarted():
                yield self._chunk({"role": "assistant", "content": "", "refusal": None})
            case PersonasAnswered():
                self._mosaic = mosaic_member(event)
            case TextDelta(text, logprobs):
                self._text.append(text)
                yield self._chunk({"content": text}, logprobs=self._note(logprobs))
            case RefusalDelta(text):
                self._refusal.append(text)
                yield self._chunk({"refusal": text})
            case ToolCallStarted(index, call_id, name):
                call = {"id": call_id, "type": "function", "function": {"name": name, "arguments": ""}}
                yield self._chunk({"tool_calls": [{"index": index, **call}]})
                self._calls.append({**call, "function": {"name": name, "arguments": ""}})
            case ToolCallDelta(index, arguments):
                self._calls[index]["function"]["arguments"] += arguments
                yield self._chunk({"tool_calls": [{"index": index, "function": {"arguments": arguments}}]})
            case RunCompleted(reason, usage, parsed, artifacts):
                self._finish_reason, self._usage, self._parsed = reason, usage, parsed
                self._artifacts = artifacts_member(artifacts)
                yield from self._finish(usage)
            case RunFailed(error):
                yield error_body(error)
            case _:
                assert_never(event)

    def body(self) -> Wire:
        """Return the completion; only once `RunCompleted` has been fed."""
        if self._usage is None:
            raise RuntimeError("the run has not completed")
        message: Wire = {
            "role": "assistant",
            "content": "".join(self._text) if self._text or not (self._calls or self._refusal) else None,
            "refusal": "".join(self._refusal) or None,
            "annotations": [],
            **self._artifacts,
        }
        if self._calls:
            message["tool_calls"] = self._calls
        message.update(self._told())
        choice = {
            "index": 0,
            "message": message,
            "logprobs": _logprobs(self._logprobs) if self._wants_logprobs else None,
            "finish_reason": self._finish_reason,
        }
        return {
            **self._head,
            "object": "chat.completion",
            "choices": [choice],
            "usage": usage_body(self._usage),
            "service_tier": "default",
            **self._mosaic,
        }

    def _note(self, logprobs: tuple[TokenLogprob, ...]) -> Wire | None:
        if not self._wants_logprobs:
            return None
        tokens = [_token(token) for token in logprobs]
        self._logprobs += tokens
        return _logprobs(tokens)

    def _finish(self, usage: Usage) -> Iterator[Wire]:
        last = {
            **self._chunk(self._told(), finish_reason=self._finish_reason),
            **self._artifacts,
            **self._mosaic,
        }
        if not self._include_usage:
            yield {**last, "usage": usage_body(usage)}
            return
        yield last
        yield {**self._chunk({}), "choices": [], "usage": usage_body(usage)}

    def _told(self) -> Wire:
        return {"parsed": self._parsed.value} if self._parsed is not None else {}

    def _chunk(
        self, delta: Wire, *, finish_reason: FinishReason | None = None, logprobs: Wire | None = None
    ) -> Wire:
        choice = {"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": finish_reason}
        chunk = {**self._head, "object": "chat.completion.chunk", "choices": [choice]}
        if self._include_usage:
            chunk["usage"] = None
        return chunk


def usage_body(usage: Usage) -> Wire:
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "credits_used": usage.credits,
    }


def _logprobs(tokens: list[Wire]) -> Wire:
    return {"content": tokens, "refusal": None}


def _token(token: TokenLogprob) -> Wire:
    return {**_plain(token), "top_logprobs": [_plain(other) for other in token.top]}


def _plain(token: TokenLogprob) -> Wire:
    data = token.bytes if token.bytes is not None else tuple(token.token.encode())
    return {"token": token.token, "logprob": token.logprob, "bytes": data}
