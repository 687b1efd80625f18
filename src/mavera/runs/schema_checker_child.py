"""
Compile callers' schemas and check texts against them, in a process of its own, one after the other.

    stdin    frames: a SchemaQuestion each
    stdout   one report, then frames: a SchemaVerdict each, as JSON

Started by `schema_checker.py` as `python -m mavera.runs.schema_checker_child MEMORY CPU_SECONDS`.
"""

import sys

import jsonschema_rs
import msgspec

from mavera.core.schema_validators import compile_validator
from mavera.fetch.reader_child import answer_frames, limit_memory, take_stdout
from mavera.runs.schema_checker import (
    CHILD_PATTERN_BYTES,
    SchemaQuestion,
    SchemaVerdict,
    describe_fault,
    find_misfit,
)


def main() -> None:
    memory_bytes, cpu_seconds = (int(float(argument)) for argument in sys.argv[1:3])
    limit_memory(memory_bytes)
    answer_frames(_encode_answer, cpu_seconds=cpu_seconds, answers=take_stdout())


def _encode_answer(frame: bytes) -> bytes:
    return msgspec.json.encode(_answer(msgspec.json.decode(frame, type=SchemaQuestion)))


def _answer(question: SchemaQuestion) -> SchemaVerdict:
    try:
        validator = compile_validator(question.schema, pattern_bytes=CHILD_PATTERN_BYTES)
    except jsonschema_rs.ValidationError as error:
        return SchemaVerdict(invalid=describe_fault(error))
    except ValueError as error:
        return SchemaVerdict(invalid=str(error)[:300])
    if question.text is None:
        return SchemaVerdict()
    try:
        value = msgspec.json.decode(question.text)
    except (ValueError, RecursionError) as error:
        return SchemaVerdict(misfit=f"no JSON ({error})")
    return SchemaVerdict(misfit=find_misfit(validator, value))


if __name__ == "__main__":
    main()
