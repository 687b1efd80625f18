"""
Hold an answer to the JSON format that was asked for.

    check       the schemas of a turn, before any work: 400 where one cannot be enforced
    answers     the model's events for a checked turn, with JSON checked before `Finished`

Where decoding itself keeps to the format the text streams on as it comes, and is checked
all the same: should it not fit, the run fails. Where it does not, the text is held back
until it has been checked: should it not fit, the model is asked once more, and then the
answer is a refusal. Cut off, it ends with `length` and is not taken for JSON.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

import jsonschema_rs
import msgspec
from msgspec.structs import replace

from mavera.core.events import (
    Accepted,
    Finished,
    ModelEvent,
    Parsed,
    RefusalDelta,
    TextDelta,
    ToolCallStarted,
)
from mavera.core.items import Item, said
from mavera.core.json_schema import Schema, subschemas
from mavera.core.turn import OutputFormat, Turn
from mavera.core.usage import Usage
from mavera.errors import APIError, InvalidRequest
from mavera.models.model import Model

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


async def check(turn: Turn, model: Model) -> None:
    """
    Raise InvalidRequest where a schema of `turn` is none, or asks for what `model` cannot hold to.

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
        compiled(schema, at)
    for tool in turn.tools:
        _refuse_no_object(tool.parameters or _OBJECT, tool.at)
        if tool.strict and tool.parameters is not None:
            model.keeps_to(OutputFormat("json_schema", tool.name, schema=tool.parameters, at=tool.at))
    if turn.format.type != "text":
        model.keeps_to(turn.format)


def compiled(schema: Schema, at: str) -> jsonschema_rs.Validator:
    """Return a validator. Raises InvalidRequest where `schema`, which the request has at `at`, is invalid."""
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
        for path, inner in subschemas(schema):
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


def answers(model: Model, turn: Turn) -> AsyncGenerator[ModelEvent, None]:
    """Return the events of `model`. They raise APIError where they cannot be made to fit the format."""
    wanted = turn.format
    if wanted.type == "text":
        return model.stream(turn)
    validator = compiled(wanted.schema if wanted.schema is not None else _OBJECT, wanted.at)
    return _checked(model, turn, validator) if model.keeps_to(wanted) else _fitting(model, turn, validator)


async def _checked(
    model: Model, turn: Turn, validator: jsonschema_rs.Validator
) -> AsyncGenerator[ModelEvent, None]:
    """Pass the events on, and fail in the place of `Finished` where the text does not fit."""
    answer = _Answer(validator)
    async with aclosing(model.stream(turn)) as events:
        async for event in events:
            try:
                yield answer.note(event)
            except _Misfit as misfit:
                raise APIError("The model left the JSON format it had to keep to.") from misfit


async def _fitting(
    model: Model, turn: Turn, validator: jsonschema_rs.Validator
) -> AsyncGenerator[ModelEvent, None]:
    """Hold each try's events back until they are known to fit; refuse where none does."""
    usage, asked = Usage(), turn
    for number in range(TRIES):
        answer, held = _Answer(validator, usage), list[ModelEvent]()
        try:
            async with aclosing(model.stream(asked)) as events:
                async for event in events:
                    noted = answer.note(event)
                    if not isinstance(event, Accepted):
                        held.append(noted)
                    elif number == 0:
                        yield event
        except _Misfit as misfit:
            usage = answer.usage
            asked = replace(turn, items=(*turn.items, *_second_request(answer.text, str(misfit))))
            continue
        for event in held:
            yield event
        return
    yield RefusalDelta("I cannot give an answer in the form that was asked for.")
    yield Finished("stop", usage)


def _second_request(answer: str, reason: str) -> tuple[Item, ...]:
    told = f"That is not in the form asked for: {reason}. Answer again, with the JSON alone."
    return (said("assistant", answer), said("user", told))


class _Misfit(Exception):
    """The answer ended as it should, and is not in the format; the message says why."""


class _Answer:
    """What was said so far, and what it comes down to as JSON."""

    def __init__(self, validator: jsonschema_rs.Validator, usage: Usage = _NOTHING) -> None:
        self._validator = validator
        self._pieces: list[str] = []
        self._other = False
        self.usage = usage

    @property
    def text(self) -> str:
        return "".join(self._pieces)

    def note(self, event: ModelEvent) -> ModelEvent:
        """Return `event`, and `Finished` with the value and with all usage so far. Raises _Misfit."""
        match event:
            case TextDelta(text):
                self._pieces.append(text)
            case ToolCallStarted() | RefusalDelta():
                self._other = True
            case Finished(reason, usage):
                self.usage += usage
                # Cut off, a call or a refusal: nothing that could be JSON.
                parsed = self._parsed() if reason == "stop" and not self._other else None
                return Finished(reason, self.usage, parsed)
        return event

    def _parsed(self) -> Parsed:
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
