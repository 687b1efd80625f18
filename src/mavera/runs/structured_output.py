"""
Hold an answer to the JSON format that was asked for.

    check_schemas   checks the schemas of a turn before any work: 400 if one is not a JSON Schema
    HoldToFormat    the stage that checks the JSON before `RunCompleted`
    HoldCalls       the stage that checks the arguments of strict functions

If decoding itself enforces the format, the text is streamed and checked too. If it does not fit, the run
fails. For any other model, and for a schema that decoding cannot enforce, the text is held back until it has
been checked. If it does not fit, the model gets one more try. If that does not fit either, the answer is a
refusal. An answer that was cut off ends with `length` and does not count as JSON. A Markdown fence around the
JSON is removed.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from typing import Final

import msgspec
from msgspec.structs import replace

from mavera.core.events import (
    AnswerEvent,
    Parsed,
    ReasoningDelta,
    RefusalDelta,
    RunCompleted,
    RunStarted,
    TextDelta,
    TextWasReasoning,
    ToolCallDelta,
    ToolCallStarted,
)
from mavera.core.items import make_message
from mavera.core.json_schema import Schema, walk_schemas
from mavera.core.prompt import FunctionTool, OutputFormat, Prompt
from mavera.core.schema_validators import patterns_of
from mavera.core.turn import Turn
from mavera.core.usage import Usage
from mavera.errors import APIError, InvalidRequest
from mavera.models.model import ModelProfile
from mavera.runs.schema_checker import CompiledSchema, SchemaChecker
from mavera.runs.stage import Events, Open, begin
from mavera.runs.unfenced import Unfenced

MAX_SUBSCHEMAS = 5000
MAX_DEPTH = 32
MAX_PATTERNS = 100
MAX_PATTERN_CHARACTERS = 20_000
# From here on, schemas are compiled one at a time, with the event loop between them.
MANY_SUBSCHEMAS = 200
MANY_PATTERNS = 5
TRIES = 2

_OBJECT: Final[Schema] = {"type": "object"}
_NOTHING: Final = Usage()


async def check_schemas(turn: Turn, checker: SchemaChecker, *, caller: str = "") -> None:
    """
    Raise InvalidRequest if a schema of `turn` is invalid. The event loop runs between large schemas.

    `caller` is a workspace's id.
    """
    if not turn.tools and turn.format.type == "text":
        return
    schemas = [(tool.parameters, tool.at) for tool in turn.tools if tool.parameters is not None]
    if turn.format.schema is not None:
        schemas.append((turn.format.schema, turn.format.at))
    is_large = _refuse_large(schemas)
    for schema, at in schemas:
        if is_large:
            await asyncio.sleep(0)
        await checker.compile(schema, at, caller=caller)
    for tool in turn.tools:
        _refuse_no_object(tool.parameters or _OBJECT, tool.at)


def _refuse_large(schemas: list[tuple[Schema, str]]) -> bool:
    """
    Refuse a schema that would hold the event loop for more than some tens of milliseconds.

    Returns whether it takes more than a few milliseconds.
    """
    count, patterns = 0, list[str]()
    for schema, at in schemas:
        for path, inner in walk_schemas(schema):
            count += 1
            patterns += patterns_of(inner)
            if len(path) > 2 * MAX_DEPTH:
                raise InvalidRequest(f"'{at}' is nested more than {MAX_DEPTH} levels deep.", param=at)
        if count > MAX_SUBSCHEMAS:
            raise InvalidRequest(f"With '{at}' there are more than {MAX_SUBSCHEMAS:,} schemas.", param=at)
        if len(patterns) > MAX_PATTERNS:
            raise InvalidRequest(f"With '{at}' there are more than {MAX_PATTERNS} patterns.", param=at)
        if sum(len(pattern) for pattern in patterns) > MAX_PATTERN_CHARACTERS:
            reason = (
                f"With '{at}' the patterns have more than {MAX_PATTERN_CHARACTERS:,} characters together."
            )
            raise InvalidRequest(reason, param=at)
    return count > MANY_SUBSCHEMAS or len(patterns) > MANY_PATTERNS


def _refuse_no_object(schema: Schema, at: str) -> None:
    kind = schema.get("type", "object")
    if kind != "object":
        raise InvalidRequest(f"'{at}' has to be a schema of type 'object', not '{kind}'.", param=f"{at}.type")


class HoldToFormat:
    """The stage for prompts with a JSON format. `caller` is a workspace's id."""

    def __init__(
        self, wanted: OutputFormat, profile: ModelProfile, checker: SchemaChecker, *, caller: str = ""
    ) -> None:
        self._wanted = wanted
        self._is_enforced = profile.enforces_format(wanted)
        self._checker = checker
        self._caller = caller

    async def open(self, prompt: Prompt, open_next: Open) -> Events:
        """
        Open the next stage. Raises InvalidRequest if the schema is invalid.

        The events raise APIError if an answer does not fit although decoding enforces the format, and
        ValidationFailed if the check takes too much work.
        """
        schema = self._wanted.schema if self._wanted.schema is not None else _OBJECT
        compiled = await self._checker.compile(schema, self._wanted.at, caller=self._caller)
        events = await open_next(prompt)
        if self._is_enforced:
            return await begin(self._check(events, compiled))
        return await begin(self._hold(prompt, events, open_next, compiled))

    async def _check(self, events: Events, compiled: CompiledSchema) -> Events:
        """Pass the events on. Raises APIError in place of `RunCompleted` if the text does not fit."""
        answer = _Answer()
        yield RunStarted()
        try:
            async for event in self._note_events(events, answer, compiled):
                yield event
        except _Misfit as misfit:
            raise APIError(
                "The model's answer does not fit the JSON format that decoding enforces."
            ) from misfit

    async def _hold(
        self, prompt: Prompt, events: Events, open_next: Open, compiled: CompiledSchema
    ) -> Events:
        """Hold the events of each try back until the text is known to fit. Refuse if no try fits."""
        usage = Usage()
        for number in range(TRIES):
            answer = _Answer(usage)
            if number == 0:
                yield RunStarted()
            try:
                held = [event async for event in self._note_events(events, answer, compiled)]
            except _Misfit as misfit:
                usage = answer.usage
                if number + 1 < TRIES:
                    events = await open_next(_build_second_prompt(prompt, answer.text, str(misfit)))
                continue
            for event in _settle(held):
                yield event
            return
        yield RefusalDelta("I cannot give an answer in the form that was asked for.")
        yield RunCompleted("stop", usage)

    async def _note_events(
        self, events: Events, answer: "_Answer", compiled: CompiledSchema
    ) -> AsyncGenerator[AnswerEvent, None]:
        """Yield `events` with bare JSON, and `RunCompleted` with the value and all usage. Raises _Misfit."""
        async with aclosing(events):
            async for event in events:
                for noted in answer.note(event):
                    if isinstance(noted, RunCompleted) and answer.is_json(noted):
                        parsed = await self._parse(answer.text, compiled)
                        yield RunCompleted(noted.reason, noted.usage, parsed)
                    else:
                        yield noted

    async def _parse(self, text: str, compiled: CompiledSchema) -> Parsed:
        try:
            value = msgspec.json.decode(text)
        except (ValueError, RecursionError) as error:  # DecodeError is a ValueError, and so is deep nesting
            raise _Misfit(f"no JSON ({error})") from error
        reason = await self._checker.find_misfit(compiled, text, value, caller=self._caller)
        if reason is not None:
            raise _Misfit(reason)
        return Parsed(value)


def _settle(events: list[AnswerEvent]) -> list[AnswerEvent]:
    """Turn text that was reasoning after all into reasoning, and return all events."""
    for place, event in enumerate(events):
        if isinstance(event, TextWasReasoning):
            before = events[:place]
            thought = "".join(one.text for one in before if isinstance(one, TextDelta))
            others = [one for one in before if not isinstance(one, TextDelta)]
            shown: list[AnswerEvent] = [ReasoningDelta(thought)] if event.is_shown and thought else []
            return [*shown, *others, *_settle(events[place + 1 :])]
    return events


def _build_second_prompt(prompt: Prompt, answer: str, reason: str) -> Prompt:
    request = f"That is not in the form asked for: {reason}. Answer again, with the JSON alone."
    return replace(
        prompt, items=(*prompt.items, make_message("assistant", answer), make_message("user", request))
    )


class _Misfit(Exception):
    """The answer is complete, but it does not fit the format. The message says why."""


class _Answer:
    """The text so far, without a fence."""

    def __init__(self, usage: Usage = _NOTHING) -> None:
        self._unfenced = Unfenced()
        self._pieces: list[str] = []
        self._other = False
        self.usage = usage

    @property
    def text(self) -> str:
        return "".join(self._pieces)

    def is_json(self, end: RunCompleted) -> bool:
        """Whether the answer has to be JSON. It need not if it was cut off, or is a call or a refusal."""
        return end.reason == "stop" and not self._other

    def note(self, event: AnswerEvent) -> Iterator[AnswerEvent]:
        """Yield the event for the client. `RunCompleted` gets all usage so far."""
        match event:
            case TextDelta():
                yield from self._join_text(self._unfenced.feed(event))
            case TextWasReasoning():
                yield from self._join_text(self._unfenced.flush())
                self._pieces.clear()
                self._unfenced = Unfenced()
                yield event
            case RunCompleted(reason, usage):
                yield from self._join_text(self._unfenced.flush())
                self.usage += usage
                yield RunCompleted(reason, self.usage)
            case _:
                self._other = self._other or isinstance(event, ToolCallStarted | RefusalDelta)
                yield event

    def _join_text(self, deltas: Iterator[TextDelta]) -> Iterator[TextDelta]:
        for delta in deltas:
            self._pieces.append(delta.text)
            yield delta


def find_unenforced_tools(prompt: Prompt, profile: ModelProfile) -> tuple[FunctionTool, ...]:
    """Return the strict functions whose calls are decoded here without enforcing their schemas."""
    if profile.tools != "constrained":
        return ()
    return tuple(
        tool
        for tool in prompt.tools
        if tool.strict
        and tool.parameters is not None
        and not profile.enforces_format(OutputFormat("json_schema", schema=tool.parameters))
    )


class HoldCalls:
    """
    The stage that holds calls back until their arguments are known to fit.

    `tools` are the strict functions.
    """

    def __init__(self, tools: tuple[FunctionTool, ...], checker: SchemaChecker, *, caller: str = "") -> None:
        self._tools = {tool.name: tool for tool in tools}
        self._checker = checker
        self._caller = caller

    async def open(self, prompt: Prompt, open_next: Open) -> Events:
        return await begin(self._hold(prompt, await open_next(prompt), open_next))

    async def _hold(self, prompt: Prompt, events: Events, open_next: Open) -> Events:
        """Pass text on, and calls once they fit. Allow one more try, then refuse. Raises ValidationFailed."""
        usage = Usage()
        yield RunStarted()
        for number in range(TRIES):
            held: list[AnswerEvent] = []
            async with aclosing(events):
                async for event in events:
                    if isinstance(event, RunCompleted):
                        usage += event.usage
                        held.append(replace(event, usage=usage))
                    elif held or isinstance(event, ToolCallStarted):
                        held.append(event)
                    else:
                        yield event
            reason = await self._find_misfit(held)
            if reason is None:
                for event in held:
                    yield event
                return
            if number + 1 < TRIES:
                request = f"A call did not fit its function: {reason}. Make the calls again."
                events = await open_next(
                    replace(prompt, items=(*prompt.items, make_message("user", request)))
                )
        yield RefusalDelta("I cannot call the function in the form that was asked for.")
        yield RunCompleted("stop", usage)

    async def _find_misfit(self, held: list[AnswerEvent]) -> str | None:
        """Return the reason why a call does not fit, or None if all fit or the answer was cut off."""
        if not any(isinstance(event, RunCompleted) and event.reason == "tool_calls" for event in held):
            return None
        names: dict[int, str] = {}
        arguments: dict[int, str] = {}
        for event in held:
            if isinstance(event, ToolCallStarted):
                names[event.index] = event.name
            elif isinstance(event, ToolCallDelta):
                arguments[event.index] = arguments.get(event.index, "") + event.arguments
        for index, name in names.items():
            if name in self._tools:
                reason = await self._find_misfit_of(self._tools[name], arguments.get(index, "{}"))
                if reason is not None:
                    return reason
        return None

    async def _find_misfit_of(self, tool: FunctionTool, text: str) -> str | None:
        compiled = await self._checker.compile(tool.parameters or _OBJECT, tool.at, caller=self._caller)
        value = msgspec.json.decode(text)  # the model's reader has seen that it is JSON
        return await self._checker.find_misfit(compiled, text, value, caller=self._caller)
