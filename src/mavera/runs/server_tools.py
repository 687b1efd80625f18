"""
Run server tools between rounds of the model, until it answers in words or calls a caller's function.

    round 1: ask → text*, calls ─┬─ of server tools: run in parallel, results into the conversation → round 2
                                 └─ of the caller's functions: passed on, and the run ends there
    …
    round 8, or the time is up: one last round without tools

The client sees calls of server tools as `ServerCallStarted` and `ServerCallEnded`, never as calls to make. If
a call cannot be made (arguments that do not fit, an unknown name, a repeated call), the model reads an error.
Closing the iterator cancels running calls.
"""

import asyncio
import dataclasses
import time
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Self

import jsonschema_rs
import msgspec
import structlog
from msgspec.structs import replace

from mavera.core.events import (
    AnswerEvent,
    FinishReason,
    RunCompleted,
    RunStarted,
    ServerCallEnded,
    ServerCallEvent,
    ServerCallStarted,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
)
from mavera.core.ids import new_id
from mavera.core.items import FunctionCall, FunctionOutput, Item, Text
from mavera.core.prompt import FunctionTool, Prompt, ToolChoice
from mavera.core.schema_validators import TOOL_PATTERN_BYTES, compile_validator
from mavera.core.server_calls import ServerCall, ServerOutcome, Source
from mavera.core.turn import Turn
from mavera.core.usage import Usage
from mavera.models.model import ModelProfile
from mavera.reading.encoder import NoEncoder
from mavera.reading.orders import OrderReader
from mavera.runs.citing import ReferenceFinder
from mavera.runs.lookup import LookupReader
from mavera.runs.stage import Events, Open, begin, open_first_taken
from mavera.settings import Settings
from mavera.tools.tool import (
    LEAST_SHARE,
    Arguments,
    CallContext,
    Tool,
    ToolFailed,
    ToolResult,
    one_line,
    quote_failure,
    quote_result,
)
from mavera.tools.toolbox import Offer, matches

log = structlog.get_logger()

MOST_CALLS_IN_ROUND = 8
MOST_ARGUMENT_CHARACTERS = 20_000
# Results are never cut shorter than this, even if the model's context is full.
_LEAST_RESULT_CHARACTERS = 400


class LoopLimits(msgspec.Struct, frozen=True):
    """
    `wall_seconds` is for all rounds together; after it, the model answers with the results so far.

    `answers_after_result` makes the model answer once a call has given a result, and adds a reference if the
    answer has none.
    """

    rounds: int = 8
    wall_seconds: float = 120.0
    result_characters: int = 20_000
    answers_after_result: bool = False

    @classmethod
    def of(cls, settings: Settings) -> Self:
        return cls(settings.tools_max_rounds, settings.tools_wall_seconds, settings.tools_result_characters)

    def fit_to(self, profile: ModelProfile) -> "LoopLimits":
        """Return limits that suit a model. Its results fit into its context, if its size is known."""
        limits = replace(self, answers_after_result=profile.answers_after_result)
        if profile.context is None:
            return limits
        # Each result may take a quarter of the context, at about four characters a token.
        return replace(limits, result_characters=min(self.result_characters, profile.context.tokens))


@dataclass(slots=True)
class _WrittenCall:
    """A call while the model writes it."""

    call_id: str
    name: str
    pieces: list[str] = field(default_factory=list)

    @property
    def arguments(self) -> str:
        return "".join(self.pieces) or "{}"


class _Misfit(Exception):
    """The call cannot be made. The message is for the model."""


class _Repeated(_Misfit):
    """The same call was made before."""


@dataclass(frozen=True, slots=True)
class _Ended:
    """A call that has ended, and the text of its result for the model."""

    outcome: ServerOutcome
    text: str
    is_repeat: bool = False


def add_server_tools(turn: Turn, offer: Offer) -> Turn:
    """Return `turn` with the offered tools beside the caller's functions."""
    tools = (*turn.tools, *(_to_function(tool) for tool in offer.tools.values()))
    choice = turn.tool_choice
    chosen = tuple(tool.name for tool in tools if matches(tool.name, choice.names))
    return replace(turn, tools=tools, tool_choice=replace(choice, names=chosen))


def _to_function(tool: Tool) -> FunctionTool:
    return FunctionTool(tool.name, tool.description, tool.parameters)


class CallTools:
    """
    The stage that runs the calls of one turn. `max_calls` is the caller's `max_tool_calls`.

    `lookups` chooses between search and answer for a model that cannot do it itself. `orders` leaves out of
    results what a small model would obey.
    """

    def __init__(
        self,
        offer: Offer,
        context: CallContext,
        limits: LoopLimits,
        *,
        max_calls: int | None = None,
        lookups: LookupReader | None = None,
        orders: OrderReader | None = None,
    ) -> None:
        self._offer = offer
        self._context = context
        self._limits = limits
        self._max_calls = max_calls
        self._lookups = lookups
        self._orders = orders
        self._deadline = time.monotonic() + limits.wall_seconds
        self._validators = {
            name: compile_validator(tool.parameters, pattern_bytes=TOOL_PATTERN_BYTES)
            for name, tool in offer.tools.items()
        }
        self._usage = Usage()
        self._round = 1
        self._calls_made = 0
        self._caller_calls = 0
        self._sources = 0
        self._references = ReferenceFinder()
        self._written: dict[int, _WrittenCall] = {}
        self._caller_indexes: dict[int, int] = {}
        self._result_ids: set[str] = set()
        self._seen: set[tuple[str, str]] = set()
        self._misfits: dict[str, int] = {}

    async def open(self, prompt: Prompt, open_next: Open) -> Events:
        if self._lookups is not None:
            prompt, self._usage = await self._lookups.choose(prompt)
        return await begin(self._run_rounds(prompt, await open_next(prompt), open_next))

    async def _run_rounds(self, prompt: Prompt, events: Events, open_next: Open) -> Events:
        """Yield the events of all rounds, with one `RunCompleted`. Raises APIError."""
        while True:
            self._written, self._caller_indexes = {}, {}
            callers_before = self._caller_calls
            own = frozenset(tool.name for tool in prompt.tools) - self._offer.tools.keys()
            completed: RunCompleted | None = None
            async with aclosing(events):
                if self._round == 1:
                    yield RunStarted()
                async for event in events:
                    if isinstance(event, RunCompleted):
                        completed = event
                    elif (shown := self._take_out_calls(event, own)) is not None:
                        if isinstance(shown, TextDelta):
                            self._references.add_text(shown.text)
                        yield shown
            if completed is None:
                return
            self._usage += completed.usage
            written = list(self._written.values())
            is_last = completed.reason in ("length", "content_filter") or prompt.tool_choice.mode == "none"
            if not written or is_last:
                is_passed_on = self._caller_calls or not written
                reason = completed.reason if is_passed_on else _without_calls(completed.reason)
                is_prose = prompt.format.type == "text" and not prompt.format.begins and reason == "stop"
                if is_prose and (missing := self._references.find_missing()):
                    yield TextDelta(missing)
                yield replace(completed, reason=reason, usage=self._usage)
                return
            ended: list[_Ended] = []
            async with aclosing(self._run_calls(written, ended)) as calls:
                async for call_event in calls:
                    yield call_event
            if self._caller_calls > callers_before:
                yield RunCompleted("tool_calls", self._usage)
                return
            prompt = self._build_next_prompt(prompt, written, ended)
            self._round += 1
            events = await open_first_taken(_shorten_results(prompt, self._result_ids), open_next)

    def _take_out_calls(self, event: AnswerEvent, own: frozenset[str]) -> AnswerEvent | None:
        """Return `event` for the client, or None if it is part of a call that is not one of `own`."""
        match event:
            case ToolCallStarted(index, call_id, name) if name not in own:
                self._written[index] = _WrittenCall(call_id, name)
                return None
            case ToolCallDelta(index, arguments) if index in self._written:
                self._written[index].pieces.append(arguments)
                return None
            case ToolCallStarted(index):
                self._caller_indexes[index] = self._caller_calls
                self._caller_calls += 1
                return replace(event, index=self._caller_indexes[index])
            case ToolCallDelta(index):
                return replace(event, index=self._caller_indexes[index])
            case _:
                return event

    async def _run_calls(
        self, written: list[_WrittenCall], ended: list[_Ended]
    ) -> AsyncGenerator[ServerCallEvent, None]:
        """Run the calls side by side, and fill `ended` in the order of the calls."""
        calls = [self._announce(one) for one in written]
        for call in calls:
            yield ServerCallStarted(call)
        tasks = [asyncio.create_task(self._run(call)) for call in calls]
        try:
            for done in asyncio.as_completed(tasks):
                yield ServerCallEnded((await done).outcome)
            ended += [task.result() for task in tasks]
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _announce(self, written: _WrittenCall) -> ServerCall:
        tool = self._offer.tools.get(written.name)
        kind = tool.kind if tool is not None else "function"
        arguments = written.arguments[:MOST_ARGUMENT_CHARACTERS]
        target = _describe_target(tool, arguments) if tool is not None else ""
        return ServerCall(new_id("call"), written.name[:128], arguments, kind, self._round, target)

    async def _run(self, call: ServerCall) -> _Ended:
        started = time.perf_counter()

        def end_call(status: str, summary: str, **members: Any) -> ServerOutcome:
            milliseconds = round((time.perf_counter() - started) * 1000)
            failed = status == "failed"
            return ServerOutcome(call, "failed" if failed else "completed", milliseconds, summary, **members)

        try:
            tool, arguments = self._check(call)
            left = max(1.0, self._deadline - time.monotonic())
            seconds = min(tool.timeout_seconds, left)
            result = await self._offer.call(tool, arguments, self._context, seconds)
        except _Misfit as error:
            outcome = end_call("failed", one_line(str(error)))
            return _Ended(outcome, f"This call failed: {error}", isinstance(error, _Repeated))
        except ToolFailed as error:
            outcome = end_call("failed", error.summary)
            (error.detail,) = await self._leave_out_orders([error.detail])
            return _Ended(outcome, quote_failure(call.name, error))
        said = await self._leave_out_orders(_list_texts(result, self._limits.result_characters))
        text, sources = self._to_text(call, _with_texts(result, said))
        outcome = end_call(
            "completed",
            result.summary,
            sources=sources,
            image=result.image,
            media_url=result.media_url,
        )
        return _Ended(outcome, text)

    async def _leave_out_orders(self, texts: list[str]) -> list[str]:
        """Return what the model may read of the `texts` of strangers: all if nothing can read them before."""
        if self._orders is None:
            return texts
        leave_out = self._orders.leave_out_orders
        try:
            return await asyncio.to_thread(lambda: [leave_out(text) for text in texts])
        except NoEncoder as error:
            log.warning("results_not_read", reason=str(error))
            return texts

    def _to_text(self, call: ServerCall, result: ToolResult) -> tuple[str, tuple[Source, ...]]:
        first = self._sources + 1
        self._sources += len(result.found)
        most = self._limits.result_characters
        text = quote_result(call.name, result, first_number=first, most_characters=most)
        if self._limits.answers_after_result:
            for number, found in enumerate(result.found, first):
                self._references.add_passage(number, f"{found.title} {found.text}")
        sources = tuple(
            Source(number, found.url, one_line(found.title) or found.url)
            for number, found in enumerate(result.found, first)
        )
        return text, sources

    def _check(self, call: ServerCall) -> tuple[Tool, Arguments]:
        """Return the tool and its arguments. Raises _Misfit if the call cannot be made."""
        tool = self._offer.tools.get(call.name)
        if tool is None:
            raise _Misfit(f"there is no function '{one_line(call.name, 64)}'. Use only those you were given.")
        self._calls_made += 1
        if self._max_calls is not None and self._calls_made > self._max_calls:
            raise _Misfit("no more calls are allowed in this answer. Answer with what you have.")
        if self._calls_made > MOST_CALLS_IN_ROUND * self._limits.rounds:
            raise _Misfit("too many calls. Answer with what you have.")
        arguments = self._check_arguments(call)
        same = (call.name, msgspec.json.encode(arguments, order="deterministic").decode())
        if same in self._seen:
            raise _Repeated("the same call was made before, and its result stands above. Answer with it.")
        self._seen.add(same)
        return tool, arguments

    def _check_arguments(self, call: ServerCall) -> Arguments:
        try:
            arguments = msgspec.json.decode(call.arguments)
            self._validators[call.name].validate(arguments)
        except jsonschema_rs.ValidationError as error:
            raise self._describe_misfit(call, error.message.splitlines()[0][:200]) from error
        except (ValueError, RecursionError) as error:
            raise self._describe_misfit(call, "they are no JSON") from error
        return dict(arguments)

    def _describe_misfit(self, call: ServerCall, reason: str) -> _Misfit:
        """
        Return the error for the model.

        It asks for one more try, or for an answer after a second misfit.
        """
        self._misfits[call.name] = self._misfits.get(call.name, 0) + 1
        again = self._misfits[call.name] == 1
        advice = "Call it once more, with arguments that fit." if again else "Answer without it."
        return _Misfit(f"the arguments do not fit the schema: {reason}. {advice}")

    def _build_next_prompt(self, prompt: Prompt, written: list[_WrittenCall], ended: list[_Ended]) -> Prompt:
        self._result_ids |= {one.call_id for one in written}
        calls = [FunctionCall(one.call_id, one.name, one.arguments) for one in written]
        outputs = [
            FunctionOutput(one.call_id, (Text(call.text),)) for one, call in zip(written, ended, strict=True)
        ]
        prompt = prompt.with_results((*calls, *outputs))
        is_over = self._round >= self._limits.rounds or time.monotonic() >= self._deadline
        is_answerable = self._limits.answers_after_result and any(
            call.outcome.status == "completed" for call in ended
        )
        # A model that only repeats its calls gets no more tools, so it has to answer.
        if is_over or is_answerable or all(call.is_repeat for call in ended):
            return replace(prompt, tool_choice=ToolChoice("none"))
        gone = {name for name, times in self._misfits.items() if times > 1}
        tools = tuple(tool for tool in prompt.tools if tool.name not in gone)
        choice = prompt.tool_choice
        if choice.mode == "required":  # the model has made the required call, so it may choose now
            is_forced = len(choice.names) == 1
            choice = ToolChoice("auto", () if is_forced else choice.names)
        names = tuple(name for name in choice.names if name not in gone)
        return replace(prompt, tools=tools, tool_choice=ToolChoice(choice.mode if tools else "none", names))


def _list_texts(result: ToolResult, most: int) -> list[str]:
    """Return the texts of strangers in `result`. Of longer ones than `most`, it is what will be quoted."""
    # One character more than a share shows that a text has to be cut.
    share = max(LEAST_SHARE, most // max(1, len(result.found))) + 1
    said = result.text[: most + 1] if result.origin else ""
    return [said, *(text for one in result.found for text in (one.title, one.text[:share]))]


def _with_texts(result: ToolResult, texts: Sequence[str]) -> ToolResult:
    """Return `result` with `texts` in place of those that `_list_texts` gave."""
    said, *rest = texts
    found = tuple(
        dataclasses.replace(one, title=title, text=text)
        for one, title, text in zip(result.found, rest[::2], rest[1::2], strict=True)
    )
    return dataclasses.replace(result, found=found, text=said if result.origin else result.text)


def _find_outputs(items: Iterable[Item]) -> Iterator[str]:
    for item in items:
        if isinstance(item, FunctionOutput):
            yield "".join(part.text for part in item.output if isinstance(part, Text))


def _describe_target(tool: Tool, arguments: str) -> str:
    try:
        decoded = msgspec.json.decode(arguments)
    except (ValueError, RecursionError):
        return ""
    return one_line(tool.target(decoded), 2000) if isinstance(decoded, dict) else ""


def _without_calls(reason: FinishReason) -> FinishReason:
    """Return the reason of an end whose calls were dropped. They are no reason to end."""
    return "stop" if reason == "tool_calls" else reason


def _shorten_results(prompt: Prompt, ours: set[str]) -> Iterator[Prompt]:
    """Yield `prompt`, and then the prompt with our long results cut in half each time, until none is long."""
    yield prompt
    while True:
        mine = [item for item in prompt.items if isinstance(item, FunctionOutput) and item.call_id in ours]
        longest = max((len(text) for text in _find_outputs(mine)), default=0)
        if longest <= _LEAST_RESULT_CHARACTERS:
            return
        most = max(_LEAST_RESULT_CHARACTERS, longest // 2)
        items = tuple(_shorten(item, most) if item in mine else item for item in prompt.items)
        prompt = replace(prompt, items=items)
        yield prompt


def _shorten(item: Item, most: int) -> Item:
    assert isinstance(item, FunctionOutput)  # noqa: S101 - one of ours
    text = "".join(_find_outputs([item]))
    if len(text) <= most:
        return item
    half = most // 2
    return replace(item, output=(Text(f"{text[:half]}\n… (cut here) …\n{text[-half:]}"),))
