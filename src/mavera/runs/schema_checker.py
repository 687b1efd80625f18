"""
Check callers' JSON Schemas, and answers against them, within a budget.

    most schemas                             compiled here, in well under a millisecond
    recursive, multiplying, look-around      compiled and checked in a child process with a budget
    a pattern that is too large              the same

A short schema can need more work than a server can do. Examples are thirty references that each lead to the
next one twice, or a look-ahead at every place of a long text. Such work cannot be stopped inside this
process, so a child process does it, and the kernel ends that process.
"""

from dataclasses import dataclass
from typing import Any, Final

import jsonschema_rs
import msgspec

from mavera.core.json_schema import Schema
from mavera.core.schema_validators import compile_validator, count_visits, is_about_a_pattern
from mavera.errors import InvalidRequest, ServiceUnavailable, ValidationFailed
from mavera.fetch.child_reader import Budget, ReaderPool, TooHeavy

MODULE: Final = "mavera.runs.schema_checker_child"
# docs/explanation/threat-model.md states these.
SCHEMA_BUDGET: Final = Budget(cpu_seconds=2, clock_seconds=20, memory_bytes=512 * 1024 * 1024)
CHILDREN: Final = 2
IDLE_SECONDS: Final = 60.0
# The memory of one pattern. Here it costs some milliseconds of the event loop; in the child it is in the
# budget.
HERE_PATTERN_BYTES: Final = 100_000
CHILD_PATTERN_BYTES: Final = 32_000_000
# The schemas times the characters. It takes some tens of milliseconds.
_MOST_WORK_HERE: Final = 20_000_000
_MOST_REASON_CHARACTERS: Final = 300


class SchemaQuestion(msgspec.Struct, frozen=True):
    """Ask whether `schema` is valid and whether `text` fits it, or only the former if `text` is None."""

    schema: Schema
    text: str | None = None


class SchemaVerdict(msgspec.Struct, frozen=True):
    """`invalid` is the fault of the schema, and `misfit` of the text. Both are None if the text fits."""

    invalid: str | None = None
    misfit: str | None = None


@dataclass(frozen=True, slots=True)
class CompiledSchema:
    """
    A checked schema.

    `validator` is None if the child process has to check texts. `at` is its place in the request.
    """

    schema: Schema
    at: str
    validator: jsonschema_rs.Validator | None
    visits: int


class SchemaChecker:
    """Checks schemas and texts. The first schema that needs a child process starts it."""

    def __init__(self, *, budget: Budget = SCHEMA_BUDGET, idle_seconds: float = IDLE_SECONDS) -> None:
        self._pool = ReaderPool(MODULE, budget=budget, idle_seconds=idle_seconds, children=CHILDREN)

    async def close(self) -> None:
        await self._pool.close()

    async def compile(self, schema: Schema, at: str, *, caller: str = "") -> CompiledSchema:
        """
        Return `schema`, ready for checks. `caller` is a workspace's id.

        Raises InvalidRequest if the schema is invalid, and ValidationFailed if the check takes too much work.
        """
        compiled = compile_here(schema, at)
        if compiled.validator is None:
            verdict = await self._ask(compiled, None, caller)
            if verdict.invalid is not None:
                raise invalid_schema(at, verdict.invalid)
        return compiled

    async def find_misfit(
        self, compiled: CompiledSchema, text: str, value: Any, *, caller: str = ""
    ) -> str | None:
        """
        Return the reason why `value` does not fit, or None if it fits. `text` is its JSON.

        Raises ValidationFailed if the check takes too much work.
        """
        if compiled.validator is not None and compiled.visits * len(text) <= _MOST_WORK_HERE:
            return find_misfit(compiled.validator, value)
        return (await self._ask(compiled, text, caller)).misfit

    async def _ask(self, compiled: CompiledSchema, text: str | None, caller: str) -> SchemaVerdict:
        question = msgspec.json.encode(SchemaQuestion(compiled.schema, text))
        try:
            answer = await self._pool.read(question, caller=caller)
            return msgspec.json.decode(answer, type=SchemaVerdict)
        except TooHeavy as error:
            message = (
                f"'{compiled.at}' takes more time or memory to check than this server allows for a schema."
            )
            raise ValidationFailed(message, param=compiled.at or None) from error
        except msgspec.DecodeError as error:
            raise ServiceUnavailable("The schema could not be checked just now.", retry_after=5) from error


def compile_here(schema: Schema, at: str) -> CompiledSchema:
    """Return `schema`, with a validator unless it needs a child process. Raises InvalidRequest."""
    visits = count_visits(schema)
    if visits is None:
        return CompiledSchema(schema, at, None, 0)
    try:
        validator = compile_validator(schema, pattern_bytes=HERE_PATTERN_BYTES)
    except jsonschema_rs.ValidationError as error:
        if is_about_a_pattern(error):
            return CompiledSchema(schema, at, None, 0)
        raise invalid_schema(at, describe_fault(error)) from error
    except ValueError as error:
        raise invalid_schema(at, str(error)) from error
    return CompiledSchema(schema, at, validator, visits)


def invalid_schema(at: str, fault: str) -> InvalidRequest:
    return InvalidRequest(f"'{at}' is not a valid JSON Schema: {fault}", param=at)


def describe_fault(error: jsonschema_rs.ValidationError) -> str:
    """Return the fault of a schema, with its place."""
    place = "/".join(str(step) for step in error.instance_path)
    reason = error.message.splitlines()[0]
    if is_about_a_pattern(error):
        pattern = reason.removesuffix(' is not a "regex"')[:100]
        reason = f"the pattern {pattern} is not valid, or too large"
    return (f"at {place}: " if place else "") + reason[:_MOST_REASON_CHARACTERS]


def find_misfit(validator: jsonschema_rs.Validator, value: Any) -> str | None:
    """Return the reason why `value` does not fit, or None if it fits."""
    try:
        validator.validate(value)
    except jsonschema_rs.ValidationError as error:
        return error.message.splitlines()[0][:200]
    except (ValueError, RecursionError) as error:
        return str(error)[:200]
    return None
