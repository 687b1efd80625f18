"""
A language model that answers from a script, for tests and for `mvra_test_` keys.

Its answers have the shapes and events of a real model, but they take no time and no memory, so an
integrator's tests are fast and free. The prompt alone decides the answer:

    a JSON format             the smallest value that fits
    a required call           a call with the smallest arguments that fit
    a letter of a list        one letter, and a probability for each that depends on persona and answer
    anything else             a fixed sentence that ends before any stop sequence

If log-probabilities are asked for, shorter words have higher ones.
"""

import asyncio
import hashlib
import math
import re
from collections.abc import AsyncGenerator, Iterator, Sequence

import msgspec

from mavera.core.events import (
    FinishReason,
    ModelEvent,
    RefusalDelta,
    RunCompleted,
    RunStarted,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
    ToolCallStarted,
)
from mavera.core.items import Message
from mavera.core.json_schema import Schema
from mavera.core.prompt import FunctionTool, Prompt
from mavera.core.usage import Usage
from mavera.models.minimal import NoValue, build_minimal_value
from mavera.models.model import ModelProfile, ModelStatus

_ANYTHING: Schema = {"type": "object"}
_LISTED = re.compile(r"^([A-T])\) (.+)$", re.MULTILINE)
_LISTED = re.compile(r"^([A-T])\) (.+)$", re.MULTILINE)


class ScriptedModel:
    """
    Answers with `deltas` or, if it has none, with a fixed sentence that repeats the last question.

    The model waits `delay_seconds` before each delta. `sees_images` is true by default, so that an
    integrator's tests need no other model for images. `prompts` holds every prompt for tests; servers set
    `keeps_prompts=False`, and it stays empty. After `fail_after` deltas, the model raises `failure`. With -1
    it raises it before `RunStarted`.
    """

    def __init__(
        self,
        deltas: Sequence[str] | None = None,
        *,
        delay_seconds: float = 0.0,
        fail_after: int | None = None,
        failure: Exception | None = None,
        sees_images: bool = True,
        keeps_prompts: bool = True,
    ) -> None:
        self.profile = ModelProfile(sees_images=sees_images, gives_logprobs=True)
        self._deltas = deltas
        self._delay_seconds = delay_seconds
        self._fail_after = fail_after
        self._failure = failure
        self.prompts: list[Prompt] = []
        self._keeps_prompts = keeps_prompts
        self.running = 0

    async def start(self) -> None:
        return None

    async def close(self) -> None:
        return None

    def status(self) -> ModelStatus:
        return ModelStatus("ready", "The scripted model answers.")

    async def stream(self, prompt: Prompt) -> AsyncGenerator[ModelEvent, None]:
        if self._keeps_prompts:
            self.prompts.append(prompt)
        deltas = [_add_logprobs(delta, prompt.top_logprobs) for delta in self._choose_deltas(prompt)]
        limit = prompt.max_output_tokens if prompt.max_output_tokens is not None else len(deltas)
        self.running += 1
        try:
            self._fail_at(-1)
            yield RunStarted()
            for number, delta in enumerate(deltas[:limit]):
                self._fail_at(number)
                if self._delay_seconds:
                    await asyncio.sleep(self._delay_seconds)
                yield delta
            self._fail_at(len(deltas))
            spent = sum(len(_split_words(item.text)) for item in prompt.items if isinstance(item, Message))
            usage = Usage(input_tokens=spent, output_tokens=min(limit, len(deltas)))
            yield RunCompleted(_find_reason(deltas, limit), usage)
        finally:
            self.running -= 1

    def _choose_deltas(self, prompt: Prompt) -> Iterator[ModelEvent]:
        if self._deltas is not None:
            yield from map(TextDelta, self._deltas)
        elif prompt.tool_choice.mode == "required":
            yield from _call_tool(prompt)
        elif prompt.format.type == "text":
            chosen = _choose_letter(prompt)
            words = map(TextDelta, _split_words(_write_answer(prompt)))
            yield from words if chosen is None else (chosen,)
        else:
            yield from _answer_in_json(prompt.format.schema or _ANYTHING)

    def _fail_at(self, number: int) -> None:
        if self._failure is not None and number == self._fail_after:
            raise self._failure


def _choose_letter(prompt: Prompt) -> TextDelta | None:
    """Return one letter of a list such as "A) Yes", or None if there is no list or words are wanted."""
    if prompt.max_output_tokens != 1 or prompt.top_logprobs is None:
        return None
    messages = [item for item in prompt.items if isinstance(item, Message)]
    question = next((item.text for item in reversed(messages) if item.role == "user"), "")
    listed = _LISTED.findall(question)
    if not listed:
        return None
    asked = question.partition("\nA) ")[0]
    likings = [1 + _compute_number(messages[0].text, asked, answer) % 1000 for _, answer in listed]
    total = sum(likings)
    tokens = [
        TokenLogprob(letter, math.log(liking / total))
        for (letter, _), liking in zip(listed, likings, strict=True)
    ]
    best = max(tokens, key=lambda token: token.logprob)
    return TextDelta(best.token, (TokenLogprob(best.token, best.logprob, top=tuple(tokens)),))


def _compute_number(*texts: str) -> int:
    return int.from_bytes(hashlib.sha256("\n".join(texts).encode()).digest()[:8])


def _add_logprobs(delta: ModelEvent, top: int | None) -> ModelEvent:
    """Add log-probabilities to text if they were asked for. A shorter word has a higher one."""
    if top is None or not isinstance(delta, TextDelta) or delta.logprobs:
        return delta
    logprob = -0.05 * (1 + len(delta.text) % 8)
    others = tuple(TokenLogprob(delta.text + "?" * place, logprob - place) for place in range(top))
    return TextDelta(delta.text, (TokenLogprob(delta.text, logprob, top=others),))


def _find_reason(deltas: list[ModelEvent], limit: int) -> FinishReason:
    if len(deltas) > limit:
        return "length"
    return "tool_calls" if any(isinstance(delta, ToolCallStarted) for delta in deltas) else "stop"


def _call_tool(prompt: Prompt) -> Iterator[ModelEvent]:
    """Call the function that the choice names, or else the first one that it allows."""
    allowed = prompt.tool_choice.names
    tool = next(tool for tool in prompt.tools if not allowed or tool.name in allowed)
    yield ToolCallStarted(0, f"call_scripted{len(prompt.items)}", tool.name)
    yield from (ToolCallDelta(0, piece) for piece in _split_words(_build_arguments(tool)))


def _build_arguments(tool: FunctionTool) -> str:
    try:
        return _write_json({"type": "object", **(tool.parameters or {})})
    except NoValue:
        return "{}"


def _answer_in_json(schema: Schema) -> Iterator[ModelEvent]:
    try:
        yield from map(TextDelta, _split_words(_write_json(schema)))
    except NoValue:
        yield RefusalDelta("No small value fits this schema.")


def _write_json(schema: Schema) -> str:
    """Write the smallest value with spaces, as Python does, so that it can be cut into deltas at them."""
    return msgspec.json.format(msgspec.json.encode(build_minimal_value(schema)), indent=0).decode()


def _write_answer(prompt: Prompt) -> str:
    questions = [item.text for item in prompt.items if isinstance(item, Message) and item.role == "user"]
    question = " ".join(questions[-1].split())[:200] if questions else ""
    answer = f"This is a scripted answer to: {question}"
    return min((answer.partition(stop)[0] for stop in prompt.sampling.stop), key=len, default=answer)


def _split_words(text: str) -> list[str]:
    """Split `text` into words. Each keeps the space before it, so that joining them gives the text again."""
    return re.findall(r"\s*\S+|\s+$", text)
