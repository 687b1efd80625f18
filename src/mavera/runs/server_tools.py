"""
Model → server tools → model, until it answers in words or calls a function of the caller's.

    round 1: ask → text*, calls ─┬─ of the server's: run side by side, results into the conversation → round 2
                                 └─ of the caller's: passed on, and the run ends there
    …
    round 8, or the time is up: one last round without tools

The client sees the server's calls as `ServerCallStarted` and `ServerCallEnded`, never as
calls to make. A call that cannot be made (arguments that do not fit, an unknown name, one
that was made before) is an error that the model reads. Closing the iterator cancels what runs.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Self

import jsonschema_rs
import msgspec
from msgspec.structs import replace

from mavera.core.events import (
    Accepted,
    Finished,
    FinishReason,
    ModelEvent,
    ServerCallEnded,
    ServerCallEvent,
    ServerCallStarted,
    ToolCallDelta,
    ToolCallStarted,
)
from mavera.core.ids import new_id
from mavera.core.items import FunctionCall, FunctionOutput, Item, Text
from mavera.core.server_calls import ServerCall, ServerOutcome, Source
from mavera.core.turn import FunctionTool, OutputFormat, ToolChoice, Turn
from mavera.core.usage import Usage
from mavera.errors import ConversationTooLong, InvalidRequest
from mavera.models.model import Model, counts_tokens
from mavera.settings import Settings
from mavera.tools.tool import (
    Arguments,
    CallContext,
    Tool,
    ToolFailed,
    ToolResult,
    one_line,
    quoted,
    quoted_failure,
)
from mavera.tools.toolbox import Offer, matches

Ask = Callable[[Turn], AsyncGenerator[ModelEvent, None]]
LoopEvent = ModelEvent | ServerCallEvent

MOST_CALLS_IN_ROUND = 8
MOST_ARGUMENT_CHARACTERS = 20_000
# What the model may still be told when its context is full.
_LEAST_RESULT_CHARACTERS = 400
_ANY_OBJECT: dict[str, Any] = {"type": "object"}


class LoopLimits(msgspec.Struct, frozen=True):
    """`wall_seconds` is for all rounds together; past it the model answers with what it has."""

    rounds: int = 8
    wall_seconds: float = 120.0
    result_characters: int = 20_000

    @classmethod
    def of(cls, settings: Settings) -> Self:
        return cls(settings.tools_max_rounds, settings.tools_wall_seconds, settings.tools_result_characters)

    def fitting(self, model: Model) -> "LoopLimits":
        """Return limits whose results leave room in the context of `model`, where that is known."""
        if not counts_tokens(model):
            return self
        # About four characters a token: a quarter of the context for each result.
        return replace(self, result_characters=min(self.result_characters, model.context_tokens))


@dataclass(slots=True)
class _Asked:
    """A call while the model writes it."""

    call_id: str
    name: str
    pieces: list[str] = field(default_factory=list)

    @property
    def arguments(self) -> str:
        return "".join(self.pieces) or "{}"


class _Misfit(Exception):
    """The call cannot be made; the message is for the model."""


def offered_turn(turn: Turn, offer: Offer, model: Model) -> Turn:
    """Return `turn` with the offered tools beside the caller's functions."""
    tools = (*turn.tools, *(_function(tool, model) for tool in offer.tools.values()))
    choice = turn.tool_choice
    chosen = tuple(tool.name for tool in tools if matches(tool.name, choice.names))
    return replace(turn, tools=tools, tool_choice=replace(choice, names=chosen))


def _function(tool: Tool, model: Model) -> FunctionTool:
    """Describe a tool; a schema that the model cannot be held to is checked afterwards only."""
    parameters = tool.parameters
    try:
        model.keeps_to(OutputFormat("json_schema", tool.name, schema=parameters, at=tool.name))
    except InvalidRequest:
        parameters = _ANY_OBJECT
    return FunctionTool(tool.name, tool.description, parameters)


class ToolLoop:
    """One run. `ask` asks the model, and is given the conversation with all results so far."""

    def __init__(self, offer: Offer, ask: Ask, context: CallContext, limits: LoopLimits) -> None:
        self._offer = offer
        self._ask = ask
        self._context = context
        self._limits = limits
        self._deadline = time.monotonic() + limits.wall_seconds
        self._validators = {
            name: jsonschema_rs.validator_for(tool.parameters, offline=True)
            for name, tool in offer.tools.items()
        }
        self._accepted = False
        self._usage = Usage()
        self._round = 0
        self._calls_made = 0
        self._caller_calls = 0
        self._sources = 0
        self._asked: dict[int, _Asked] = {}
        self._results: set[str] = set()
        self._seen: set[tuple[str, str]] = set()
        self._misfits: dict[str, int] = {}

    async def stream(self, turn: Turn) -> AsyncGenerator[LoopEvent, None]:
        """Yield the events of all rounds, with one `Accepted` and one `Finished`. Raises APIError."""
        while True:
            self._round += 1
            callers_before = self._caller_calls
            last: Finished | None = None
            async with aclosing(self._ask_fitting(turn)) as events:
                async for event in events:
                    if isinstance(event, Finished):
                        last = event
                    else:
                        yield event
            if last is None:
                return
            self._usage += last.usage
            asked = list(self._asked.values())
            if not asked or last.reason in ("length", "content_filter") or turn.tool_choice.mode == "none":
                reason = last.reason if self._caller_calls or not asked else _without_calls(last.reason)
                yield replace(last, reason=reason, usage=self._usage)
                return
            results: list[Item] = []
            async with aclosing(self._run_calls(asked, turn, results)) as outcomes:
                async for outcome in outcomes:
                    yield outcome
            if self._caller_calls > callers_before:
                yield Finished("tool_calls", self._usage)
                return
            turn = self._next_turn(turn, results)

    async def _ask_fitting(self, turn: Turn) -> AsyncGenerator[ModelEvent, None]:
        """Ask, with shorter results where the model's context is too small for them."""
        while True:
            started = False
            try:
                async with aclosing(self._ask_once(turn)) as events:
                    async for event in events:
                        started = True
                        yield event
                return
            except ConversationTooLong:
                shorter = _with_shorter_results(turn, self._results)
                if started or self._round == 1 or shorter is None:
                    raise
                turn = shorter

    async def _ask_once(self, turn: Turn) -> AsyncGenerator[ModelEvent, None]:
        """Pass on the model's events; calls of tools that are not the caller's are taken out."""
        self._asked = {}
        indexes: dict[int, int] = {}
        own = frozenset(tool.name for tool in turn.tools) - self._offer.tools.keys()
        async with aclosing(self._ask(turn)) as events:
            async for event in events:
                match event:
                    case Accepted():
                        if not self._accepted:
                            self._accepted = True
                            yield event
                    case ToolCallStarted(index, call_id, name) if name not in own:
                        self._asked[index] = _Asked(call_id, name)
                    case ToolCallDelta(index, arguments) if index in self._asked:
                        self._asked[index].pieces.append(arguments)
                    case ToolCallStarted(index):
                        indexes[index] = self._caller_calls
                        self._caller_calls += 1
                        yield replace(event, index=indexes[index])
                    case ToolCallDelta(index):
                        yield replace(event, index=indexes[index])
                    case _:
                        yield event

    async def _run_calls(
        self, asked: list[_Asked], turn: Turn, results: list[Item]
    ) -> AsyncGenerator[ServerCallEvent, None]:
        """Run the calls side by side; `results` is given what the model reads, in the order of the calls."""
        calls = [self._announced(one) for one in asked]
        for call in calls:
            yield ServerCallStarted(call)
        tasks = [asyncio.create_task(self._run(call, turn)) for call in calls]
        try:
            for done in asyncio.as_completed(tasks):
                outcome, _ = await done
                yield ServerCallEnded(outcome)
            told = [task.result()[1] for task in tasks]
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        self._results |= {one.call_id for one in asked}
        results += [FunctionCall(one.call_id, one.name, one.arguments) for one in asked]
        results += [FunctionOutput(one.call_id, (Text(text),)) for one, text in zip(asked, told, strict=True)]

    def _announced(self, asked: _Asked) -> ServerCall:
        tool = self._offer.tools.get(asked.name)
        kind = tool.kind if tool is not None else "function"
        arguments = asked.arguments[:MOST_ARGUMENT_CHARACTERS]
        target = _target(tool, arguments) if tool is not None else ""
        return ServerCall(new_id("call"), asked.name[:128], arguments, kind, self._round, target)

    async def _run(self, call: ServerCall, turn: Turn) -> tuple[ServerOutcome, str]:
        """Return what became of a call, and what the model is told of it."""
        started = time.perf_counter()

        def ended(status: str, summary: str, **members: Any) -> ServerOutcome:
            milliseconds = round((time.perf_counter() - started) * 1000)
            failed = status == "failed"
            return ServerOutcome(call, "failed" if failed else "completed", milliseconds, summary, **members)

        try:
            tool, arguments = self._checked(call, turn)
            left = max(1.0, self._deadline - time.monotonic())
            seconds = min(tool.timeout_seconds, left)
            result = await self._offer.call(tool, arguments, self._context, seconds)
        except _Misfit as error:
            return ended("failed", one_line(str(error))), f"This call failed: {error}"
        except ToolFailed as error:
            return ended("failed", error.summary), quoted_failure(call.name, error)
        text, sources = self._told(call, result)
        outcome = ended(
            "completed",
            result.summary,
            sources=sources,
            image=result.image,
            media_url=result.media_url,
        )
        return outcome, text

    def _told(self, call: ServerCall, result: ToolResult) -> tuple[str, tuple[Source, ...]]:
        first = self._sources + 1
        self._sources += len(result.found)
        most = self._limits.result_characters
        text = quoted(call.name, result, first_number=first, most_characters=most)
        sources = tuple(
            Source(number, found.url, one_line(found.title) or found.url)
            for number, found in enumerate(result.found, first)
        )
        return text, sources

    def _checked(self, call: ServerCall, turn: Turn) -> tuple[Tool, Arguments]:
        """Return the tool and its arguments. Raises _Misfit where the call is not to be made."""
        tool = self._offer.tools.get(call.name)
        if tool is None:
            raise _Misfit(f"there is no function '{one_line(call.name, 64)}'. Use only those you were given.")
        self._calls_made += 1
        if turn.max_tool_calls is not None and self._calls_made > turn.max_tool_calls:
            raise _Misfit("no more calls are allowed in this answer. Answer with what you have.")
        if self._calls_made > MOST_CALLS_IN_ROUND * self._limits.rounds:
            raise _Misfit("too many calls. Answer with what you have.")
        arguments = self._arguments(call)
        same = (call.name, msgspec.json.encode(arguments, order="deterministic").decode())
        if same in self._seen:
            raise _Misfit("the same call was made before, and its result stands above. Answer with it.")
        self._seen.add(same)
        return tool, arguments

    def _arguments(self, call: ServerCall) -> Arguments:
        try:
            arguments = msgspec.json.decode(call.arguments)
            self._validators[call.name].validate(arguments)
        except jsonschema_rs.ValidationError as error:
            raise self._misfit(call, error.message.splitlines()[0][:200]) from error
        except (ValueError, RecursionError) as error:
            raise self._misfit(call, "they are no JSON") from error
        return dict(arguments)

    def _misfit(self, call: ServerCall, reason: str) -> _Misfit:
        """The first time the model may mend it; the second time it is told to go on without."""
        self._misfits[call.name] = self._misfits.get(call.name, 0) + 1
        again = self._misfits[call.name] == 1
        advice = "Call it once more, with arguments that fit." if again else "Answer without it."
        return _Misfit(f"the arguments do not fit the schema: {reason}. {advice}")

    def _next_turn(self, turn: Turn, results: list[Item]) -> Turn:
        spent = self._round >= self._limits.rounds or time.monotonic() >= self._deadline
        turn = replace(turn, items=(*turn.items, *results))
        if spent or not self._progressed(results):
            return replace(turn, tool_choice=ToolChoice("none"))
        gone = {name for name, times in self._misfits.items() if times > 1}
        tools = tuple(tool for tool in turn.tools if tool.name not in gone)
        choice = turn.tool_choice
        if choice.mode == "required":  # it has called one; another is its own choice
            forced = len(choice.names) == 1
            choice = ToolChoice("auto", () if forced else choice.names)
        names = tuple(name for name in choice.names if name not in gone)
        return replace(turn, tools=tools, tool_choice=ToolChoice(choice.mode if tools else "none", names))

    def _progressed(self, results: list[Item]) -> bool:
        """Whether anything new came of the last round: a model that repeats itself is made to answer."""
        return any(not _is_repeat(text) for text in _outputs(results))


_REPEATED = "This call failed: the same call was made before"


def _is_repeat(text: str) -> bool:
    return text.startswith(_REPEATED)


def _outputs(items: Iterable[Item]) -> Iterator[str]:
    for item in items:
        if isinstance(item, FunctionOutput):
            yield "".join(part.text for part in item.output if isinstance(part, Text))


def _target(tool: Tool, arguments: str) -> str:
    try:
        decoded = msgspec.json.decode(arguments)
    except (ValueError, RecursionError):
        return ""
    return one_line(tool.target(decoded), 2000) if isinstance(decoded, dict) else ""


def _without_calls(reason: FinishReason) -> FinishReason:
    """A call that is neither made nor passed on is no reason to end."""
    return "stop" if reason == "tool_calls" else reason


def _with_shorter_results(turn: Turn, ours: set[str]) -> Turn | None:
    """Return `turn` with our own long results cut in half, None where none is long."""
    mine = [item for item in turn.items if isinstance(item, FunctionOutput) and item.call_id in ours]
    longest = max((len(text) for text in _outputs(mine)), default=0)
    if longest <= _LEAST_RESULT_CHARACTERS:
        return None
    most = max(_LEAST_RESULT_CHARACTERS, longest // 2)
    return replace(turn, items=tuple(_shorter(item, most) if item in mine else item for item in turn.items))


def _shorter(item: Item, most: int) -> Item:
    assert isinstance(item, FunctionOutput)  # noqa: S101 - one of ours
    text = "".join(_outputs([item]))
    if len(text) <= most:
        return item
    half = most // 2
    return replace(item, output=(Text(f"{text[:half]}\n… (cut here) …\n{text[-half:]}"),))
