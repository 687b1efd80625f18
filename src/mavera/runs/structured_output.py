"""
Hold an answer to the JSON format that was asked for.

    check_schemas   the schemas of a turn, before any work: 400 if one cannot be enforced
    HoldToFormat    the stage that checks the JSON before `RunCompleted`

If decoding itself enforces the format, the text streams on as it comes and is checked all the same. If it
does not fit, the run fails. For any other model the text is held back until it has been checked. If it does
not fit, the model is asked once more, and after that the answer is a refusal. An answer that was cut off
ends with `length` and is not taken for JSON.
"""

import asyncio
from contextlib import aclosing
from typing import Final

import jsonschema_rs
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
    ToolCallStarted,
)
from mavera.core.items import make_message
from mavera.core.json_schema import Schema, walk_schemas
from mavera.core.prompt import OutputFormat, Prompt
from mavera.core.turn import Turn
from mavera.core.usage import Usage
from mavera.errors import APIError, InvalidRequest
from mavera.models.model import ModelProfile
from mavera.runs.stage import Events, Open, begin

MAX_SUBSCHEMAS = 5000
MAX_DEPTH = 32
MAX_PATTERNS = 100
MAX_PATTERN_CHARACTERS = 20_000
# From here on, schemas are compiled one at a time, with the event loop between them.
MANY_SUBSCHEMAS = 200
MANY_PATTERNS = 5
TRIES = 2

# Linear in the text, and small: a pattern is the caller's, and compiled on the event loop.
_PATTERNS: Final = jsonschema_rs.RegexOptions(size_limit=100_000, dfa_size_limit=100_000)
_OBJECT: Final[Schema] = {"type": "object"}
_NOTHING: Final = Usage()


async def check_schemas(turn: Turn, profile: ModelProfile) -> None:
    """
    Raise InvalidRequest if a schema of `turn` is invalid, or asks for what the model cannot be held to.

    The event loop runs between large schemas.
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
        compile_schema(schema, at)
    for tool in turn.tools:
        _refuse_no_object(tool.parameters or _OBJECT, tool.at)
        if tool.strict and tool.parameters is not None:
            _refuse_unsupported(profile, tool.parameters, tool.at)
    if turn.format.schema is not None:
        _refuse_unsupported(profile, turn.format.schema, turn.format.at)


def _refuse_unsupported(profile: ModelProfile, schema: Schema, at: str) -> None:
    unsupported = profile.unsupported_keyword(schema)
    if unsupported is not None:
        keyword, place = unsupported
        raise InvalidRequest(
            f"'{at}' uses '{keyword}' (at {place}), to which the embedded model cannot be held.", param=at
        )


def compile_schema(schema: Schema, at: str) -> jsonschema_rs.Validator:
    """Return a validator of `schema`, whose place in the request is `at`. Raises InvalidRequest."""
    try:
        return jsonschema_rs.validator_for(
            schema, pattern_options=_PATTERNS, offline=True, validate_formats=False
        )
    except jsonschema_rs.ValidationError as error:
        place = "/".join(str(step) for step in error.instance_path)
        where = f" (at {place})" if place else ""
        reason = error.message.splitlines()[0][:300]
        raise InvalidRequest(f"'{at}' is not a valid JSON Schema{where}: {reason}", param=at) from error
    except ValueError as error:
        raise InvalidRequest(f"'{at}' is not a usable JSON Schema: {error}", param=at) from error


def _refuse_large(schemas: list[tuple[Schema, str]]) -> bool:
    """
    Keep what a request can make this process do in one go to some tens of milliseconds.

    Return whether it is more than a few milliseconds.
    """
    count, patterns = 0, list[str]()
    for schema, at in schemas:
        for path, inner in walk_schemas(schema):
            count += 1
            patterns += _patterns(inner)
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


def _patterns(schema: Schema) -> list[str]:
    pattern, named = schema.get("pattern"), schema.get("patternProperties")
    found = [pattern] if isinstance(pattern, str) else []
    return [*found, *named] if isinstance(named, dict) else found


def _refuse_no_object(schema: Schema, at: str) -> None:
    kind = schema.get("type", "object")
    if kind != "object":
        raise InvalidRequest(f"'{at}' has to be a schema of type 'object', not '{kind}'.", param=f"{at}.type")


class HoldToFormat:
    """The stage for prompts with a JSON format. `__init__` raises InvalidRequest if its schema is invalid."""

    def __init__(self, wanted: OutputFormat, profile: ModelProfile) -> None:
        self._validator = compile_schema(wanted.schema if wanted.schema is not None else _OBJECT, wanted.at)
        self._is_enforced = profile.enforces_format(wanted)

    async def open(self, prompt: Prompt, open_next: Open) -> Events:
        """Raises APIError later on if an answer that decoding should hold to the format does not fit it."""
        events = await open_next(prompt)
        checked = self._check(events) if self._is_enforced else self._hold(prompt, events, open_next)
        return await begin(checked)

    async def _check(self, events: Events) -> Events:
        """Pass the events on. Raises APIError in the place of `RunCompleted` if the text does not fit."""
        answer = _Answer(self._validator)
        async with aclosing(events):
            yield RunStarted()
            async for event in events:
                try:
                    yield answer.note(event)
                except _Misfit as misfit:
                    raise APIError("The model left the JSON format it had to keep to.") from misfit

    async def _hold(self, prompt: Prompt, events: Events, open_next: Open) -> Events:
        """Hold the events of each try back until they are known to fit. Refuse if no try fits."""
        usage = Usage()
        for number in range(TRIES):
            answer = _Answer(self._validator, usage)
            try:
                async with aclosing(events):
                    if number == 0:
                        yield RunStarted()
                    held = [answer.note(event) async for event in events]
            except _Misfit as misfit:
                usage = answer.usage
                if number + 1 < TRIES:
                    events = await open_next(_second_prompt(prompt, answer.text, str(misfit)))
                continue
            for event in _settled(held):
                yield event
            return
        yield RefusalDelta("I cannot give an answer in the form that was asked for.")
        yield RunCompleted("stop", usage)


def _settled(events: list[AnswerEvent]) -> list[AnswerEvent]:
    """Return `events` with the text that turned out to be reasoning as reasoning."""
    for place, event in enumerate(events):
        if isinstance(event, TextWasReasoning):
            before = events[:place]
            thought = "".join(one.text for one in before if isinstance(one, TextDelta))
            others = [one for one in before if not isinstance(one, TextDelta)]
            shown: list[AnswerEvent] = [ReasoningDelta(thought)] if event.is_shown and thought else []
            return [*shown, *others, *_settled(events[place + 1 :])]
    return events


def _second_prompt(prompt: Prompt, answer: str, reason: str) -> Prompt:
    request = f"That is not in the form asked for: {reason}. Answer again, with the JSON alone."
    return replace(
        prompt, items=(*prompt.items, make_message("assistant", answer), make_message("user", request))
    )


class _Misfit(Exception):
    """The answer ended as it should, and is not in the format; the message says why."""


class _Answer:
    """The text so far, and its value as JSON."""

    def __init__(self, validator: jsonschema_rs.Validator, usage: Usage = _NOTHING) -> None:
        self._validator = validator
        self._pieces: list[str] = []
        self._other = False
        self.usage = usage

    @property
    def text(self) -> str:
        return "".join(self._pieces)

    def note(self, event: AnswerEvent) -> AnswerEvent:
        """Return `event`; `RunCompleted` with the value and all usage so far. Raises _Misfit."""
        match event:
            case TextDelta(text):
                self._pieces.append(text)
            case TextWasReasoning():
                self._pieces.clear()
            case ToolCallStarted() | RefusalDelta():
                self._other = True
            case RunCompleted(reason, usage):
                self.usage += usage
                # Cut off, a call or a refusal: nothing that could be JSON.
                parsed = self._parse() if reason == "stop" and not self._other else None
                return RunCompleted(reason, self.usage, parsed)
        return event

    def _parse(self) -> Parsed:
        try:
            value = msgspec.json.decode(self.text)
            self._validator.validate(value)
        except jsonschema_rs.ValidationError as error:
            raise _Misfit(error.message.splitlines()[0][:200]) from error
        except (
            ValueError,
            RecursionError,
        ) as error:  # DecodeError is a ValueError, and so is nesting too deep
            raise _Misfit(f"no JSON ({error})") from error
        return Parsed(value)
