"""
Give function calls to a model that has none, but whose output can be held to a JSON schema.

    no tools, or tool_choice none      answer
    tool_choice auto                   decision → answer, or calls
    tool_choice required, or named     calls

The decision is one short constrained question, never shown. An answer is then the plain
one, streamed as it comes: the prompt says nothing of tools, so there is nothing to
imitate; should text look like a call all the same, the call is made instead of said.
The calls come from decoding under the functions' own schemas, so each is a real one.
docs/decisions/0007 says why, with figures.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from msgspec.structs import replace

from mavera.core.events import Accepted, Finished, FinishReason, ModelEvent, TextDelta
from mavera.core.ids import new_id
from mavera.core.turn import FunctionTool, OutputFormat, Turn
from mavera.core.usage import Usage
from mavera.models.constrained.calls import CallReader, OneCallReader
from mavera.models.constrained.guard import CallGuard
from mavera.models.constrained.prompts import (
    answer_turn,
    calls_turn,
    chosen,
    decision_turn,
    offered,
    one_call_turn,
)
from mavera.models.model import Model, ModelStatus, reasons


class ConstrainedTools:
    """Answers as `model` does, and calls functions besides."""

    def __init__(self, model: Model) -> None:
        self._model = model

    @property
    def sees_images(self) -> bool:
        return self._model.sees_images

    @property
    def reasons(self) -> bool:
        return reasons(self._model)

    async def start(self) -> None:
        await self._model.start()

    async def close(self) -> None:
        await self._model.close()

    def status(self) -> ModelStatus:
        return self._model.status()

    def keeps_to(self, wanted: OutputFormat) -> bool:
        return self._model.keeps_to(wanted)

    def stream(self, turn: Turn) -> AsyncGenerator[ModelEvent, None]:
        tools = offered(turn)
        return _Steps(self._model, turn, tools).run() if tools else self._model.stream(answer_turn(turn))


class _Steps:
    """One turn on its way: what its steps have cost so far, and whether the model has taken it."""

    def __init__(self, model: Model, turn: Turn, tools: tuple[FunctionTool, ...]) -> None:
        self._model = model
        self._turn = turn
        self._tools = tools
        self._accepted = False
        self._usage = Usage()
        self._reason: FinishReason = "stop"
        self._wants: FunctionTool | None = None

    async def run(self) -> AsyncGenerator[ModelEvent, None]:
        if self._turn.tool_choice.mode == "auto":
            await self._decide()
        calling = self._turn.tool_choice.mode == "required" or self._wants is not None
        async with aclosing(self._call() if calling else self._answer()) as events:
            async for event in events:
                yield event
        yield Finished(self._reason, self._usage)

    async def _decide(self) -> None:
        said: list[str] = []
        async with aclosing(self._ask(decision_turn(self._turn, self._tools))) as events:
            async for event in events:
                if isinstance(event, TextDelta):
                    said.append(event.text)
        # The turn itself is not taken yet: it may still be too long.
        self._accepted = False
        self._usage = replace(self._usage, reasoning_tokens=self._usage.output_tokens)
        self._wants = chosen("".join(said), self._tools)

    async def _answer(self) -> AsyncGenerator[ModelEvent, None]:
        """Say the answer; text that turns out to be a call ends it, and the call is made."""
        turn = answer_turn(self._turn)
        guard = CallGuard(tuple(tool.name for tool in self._tools) if turn.format.type == "text" else ())
        said = 0
        async with aclosing(self._ask(turn)) as events:
            async for event in events:
                if not isinstance(event, TextDelta):
                    yield event
                    continue
                said += 1
                for safe in guard.feed(event):
                    yield safe
                if guard.caught is not None:
                    break
        for safe in guard.flush():
            yield safe
        if guard.caught is None:
            return
        # Broken off, the model does not report what the answer took.
        self._usage += Usage(output_tokens=said, estimated=True)
        self._wants = next((tool for tool in self._tools if tool.name == guard.caught), None)
        async with aclosing(self._call()) as calls:
            async for event in calls:
                yield event

    async def _call(self) -> AsyncGenerator[ModelEvent, None]:
        """Make calls: of the function that is settled on, of any where none is."""
        named = self._turn.tool_choice.mode == "required" and len(self._tools) == 1
        only = self._tools[0] if named else None if self._turn.parallel_tool_calls else self._wants
        reader: CallReader | OneCallReader
        if only is not None:
            turn, reader = one_call_turn(self._turn, only), OneCallReader(only.name, _new_call_id)
        else:
            turn = calls_turn(self._turn, self._tools, self._wants)
            reader = CallReader(tuple(tool.name for tool in self._tools), _new_call_id)
        async with aclosing(self._ask(turn)) as events:
            async for event in events:
                if isinstance(event, TextDelta):
                    for call_event in reader.feed(event.text):
                        yield call_event
                else:
                    yield event
        if self._reason == "stop":
            reader.close()
            self._reason = "tool_calls"

    async def _ask(self, turn: Turn) -> AsyncGenerator[ModelEvent, None]:
        """Yield the model's events without `Finished`, whose content is kept; `Accepted` the first time."""
        async with aclosing(self._model.stream(turn)) as events:
            async for event in events:
                match event:
                    case Accepted():
                        if not self._accepted:
                            self._accepted = True
                            yield event
                    case Finished(reason, usage):
                        self._reason = reason
                        self._usage += usage
                    case _:
                        yield event


def _new_call_id() -> str:
    return new_id("call")
