"""
Give function calls to a model that has none, but whose output can be held to a JSON schema.

    no tools, or tool_choice none      answer
    tool_choice auto                   decision → answer, or calls
    tool_choice required, or named     calls

The decision is one short constrained question, which the caller does not see. The prompt of an answer does
not mention tools, so the model has nothing to imitate, and the answer is streamed. If its text still looks
like a call, the call is made, and its text is not sent. Calls are decoded under the schemas of the
functions, so each is valid. If the model's server may not be able to decode under them, calls are held back
until they are whole. docs/decisions/0007 has the reasons and figures.
"""

from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from dataclasses import replace

from msgspec import structs

from mavera.core.events import (
    FinishReason,
    ModelEvent,
    RunCompleted,
    RunStarted,
    TextDelta,
)
from mavera.core.ids import new_id
from mavera.core.prompt import FunctionTool, OutputFormat, Prompt
from mavera.core.usage import Usage
from mavera.models.collecting import collect_text
from mavera.models.constrained.calls import BrokenCall, CallReader, OneCallReader
from mavera.models.constrained.guard import CallGuard
from mavera.models.constrained.prompts import (
    answer_prompt,
    calls_prompt,
    decision_prompt,
    one_call_prompt,
    read_decision,
    select_tools,
)
from mavera.models.model import Model, ModelStatus
from mavera.models.tracing import CallTracing, CountsFailures, Traceable


class ConstrainedTools:
    """Answers as `model` does, and calls functions besides."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self.profile = replace(model.profile, tools="constrained")

    def trace_with(self, tracing: CallTracing) -> None:
        if isinstance(self._model, Traceable):
            self._model.trace_with(tracing)

    def count_failures(self, note: Callable[[str], None]) -> None:
        if isinstance(self._model, CountsFailures):
            self._model.count_failures(note)

    async def start(self) -> None:
        await self._model.start()

    async def close(self) -> None:
        await self._model.close()

    def status(self) -> ModelStatus:
        return self._model.status()

    def stream(self, prompt: Prompt) -> AsyncGenerator[ModelEvent, None]:
        tools = select_tools(prompt)
        if not tools:
            return self._model.stream(answer_prompt(prompt))
        return self._stream_steps(prompt, tools)

    async def _stream_steps(
        self, prompt: Prompt, tools: tuple[FunctionTool, ...]
    ) -> AsyncGenerator[ModelEvent, None]:
        """Decide if the choice is ours, then answer or call. An answer that begins a call ends in calls."""
        choice, usage, wanted = prompt.tool_choice.mode, Usage(), None
        if choice == "auto":
            wanted, usage = await self._decide(prompt, tools)
        calls = choice == "required" or wanted is not None
        enforces = self.profile.enforces_format
        step: _Answer | _Calls = _Calls(prompt, tools, wanted, enforces) if calls else _Answer(prompt, tools)
        reason: FinishReason = "stop"
        is_started = False
        while True:
            async with aclosing(self._model.stream(step.prompt)) as events:
                async for event in events:
                    match event:
                        case RunStarted():
                            if not is_started:
                                is_started = True
                                yield event
                        case RunCompleted():
                            reason = step.finish(event.reason)
                            usage += event.usage
                        case TextDelta():
                            for written in step.feed(event):
                                yield written
                            if step.caught is not None:
                                # A model that was stopped does not report its usage.
                                usage += Usage(output_tokens=step.deltas, estimated=True)
                                break
                        case _:
                            yield event
            if step.caught is None:
                break
            named = next((tool for tool in tools if tool.name == step.caught), None)
            step = _Calls(prompt, tools, named, enforces, is_loose=isinstance(step, _Calls))
        for held in step.flush():
            yield held
        yield RunCompleted(reason, usage)

    async def _decide(
        self, prompt: Prompt, tools: tuple[FunctionTool, ...]
    ) -> tuple[FunctionTool | None, Usage]:
        """Return the function to call, if any, and the tokens that the decision took: they are reasoning."""
        text, usage = await collect_text(self._model.stream(decision_prompt(prompt, tools)))
        return read_decision(text, tools), structs.replace(usage, reasoning_tokens=usage.output_tokens)


class _Answer:
    """An answer in words. If it begins a call, `caught` is the function's name, "" if that is unknown."""

    def __init__(self, prompt: Prompt, tools: tuple[FunctionTool, ...]) -> None:
        self.prompt = answer_prompt(prompt)
        is_text = self.prompt.format.type == "text"
        self._guard = CallGuard(tuple(tool.name for tool in tools) if is_text else ())
        self.deltas = 0

    @property
    def caught(self) -> str | None:
        return self._guard.caught

    def feed(self, delta: TextDelta) -> Iterator[ModelEvent]:
        self.deltas += 1
        return self._guard.feed(delta)

    def flush(self) -> Iterator[ModelEvent]:
        return self._guard.flush()

    def finish(self, reason: FinishReason) -> FinishReason:
        return reason


class _Calls:
    """
    Calls of `wanted`, or of any function if that is None.

    `caught` is set if the server could not decode under the functions' schemas and did without: then the
    calls are asked for again, with any object for arguments. A server may also do without in silence and
    begin as a call does. So with a schema that `enforces` does not vouch for, nothing of the calls is passed
    on before they are whole.
    """

    def __init__(
        self,
        prompt: Prompt,
        tools: tuple[FunctionTool, ...],
        wanted: FunctionTool | None,
        enforces: Callable[[OutputFormat], bool],
        *,
        is_loose: bool = False,
    ) -> None:
        self.caught: str | None = None
        self.deltas = 0
        self._held: list[ModelEvent] = []
        self._can_be_asked_again = not is_loose
        self._wanted = wanted
        is_named = prompt.tool_choice.mode == "required" and len(tools) == 1
        only = tools[0] if is_named else None if prompt.parallel_tool_calls else wanted
        self._reader: CallReader | OneCallReader
        if only is not None:
            self.prompt = one_call_prompt(prompt, only, is_loose=is_loose)
            self._reader = OneCallReader(only.name, _make_call_id)
        else:
            self.prompt = calls_prompt(prompt, tools, wanted, is_loose=is_loose)
            self._reader = CallReader(tuple(tool.name for tool in tools), _make_call_id)
        self._holds = not is_loose and not enforces(self.prompt.format)

    def feed(self, delta: TextDelta) -> Iterator[ModelEvent]:
        self.deltas += 1
        try:
            for event in self._reader.feed(delta.text):
                if self._holds:
                    self._held.append(event)
                else:
                    self._can_be_asked_again = False
                    yield event
        except BrokenCall as error:
            self._catch(error)

    def flush(self) -> Iterator[ModelEvent]:
        return iter(self._held)

    def finish(self, reason: FinishReason) -> FinishReason:
        """
        Return the reason for the end of the answer.

        Incomplete calls are caught, or raise BrokenCall if they cannot be asked for again.
        """
        if reason != "stop":
            return reason
        try:
            self._reader.close()
        except BrokenCall as error:
            self._catch(error)
        return "tool_calls"

    def _catch(self, error: BrokenCall) -> None:
        if not self._can_be_asked_again:
            raise error
        self.caught = self._wanted.name if self._wanted is not None else ""


def _make_call_id() -> str:
    return new_id("call")
