"""Calls are read from constrained JSON the same way however it is cut."""

import json
from itertools import count, pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mavera.core.events import ToolCallDelta, ToolCallStarted
from mavera.errors import APIError
from mavera.models.constrained.calls import CallReader, OneCallReader

NAMES = ("look_up", "send", "f")

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
calls = st.lists(
    st.tuples(st.sampled_from(NAMES), st.dictionaries(st.text(max_size=9), json_values, max_size=3)),
    min_size=1,
    max_size=4,
)
cuttings = st.lists(st.integers(0, 500), max_size=20)


def pieces(text: str, cuts: list[int]) -> list[str]:
    places = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    return [text[start:end] for start, end in pairwise(places)]


def read(reader: CallReader | OneCallReader, parts: list[str]) -> list[tuple[str, str, str]]:
    """Return id, name and arguments of each call."""
    made: list[list[str]] = []
    for part in parts:
        for event in reader.feed(part):
            match event:
                case ToolCallStarted(index, call_id, name):
                    assert index == len(made)
                    made.append([call_id, name, ""])
                case ToolCallDelta(index, arguments):
                    assert index == len(made) - 1
                    made[index][2] += arguments
    reader.close()
    return [(call_id, name, arguments) for call_id, name, arguments in made]


def ids() -> Any:
    numbers = count()
    return lambda: f"call_{next(numbers)}"


@given(calls, cuttings, st.sampled_from([None, 1]), st.booleans())
def test_every_call_comes_out_with_its_arguments_as_written(
    wanted: list[tuple[str, dict[str, Any]]], cuts: list[int], indent: int | None, ascii_only: bool
) -> None:
    text = json.dumps(
        [{"name": name, "arguments": arguments} for name, arguments in wanted],
        indent=indent,
        ensure_ascii=ascii_only,
    )

    made = read(CallReader(NAMES, ids()), pieces(text, cuts))

    assert [(name, json.loads(arguments)) for _, name, arguments in made] == wanted
    assert [call_id for call_id, _, _ in made] == [f"call_{n}" for n in range(len(wanted))]


@given(st.dictionaries(st.text(), json_values, max_size=3), cuttings)
def test_one_call_has_the_whole_text_as_its_arguments(arguments: dict[str, Any], cuts: list[int]) -> None:
    text = json.dumps(arguments)

    assert read(OneCallReader("f", ids()), pieces(text, cuts)) == [("call_0", "f", text)]


@pytest.mark.parametrize(
    "text",
    [
        "Sure!",
        "",
        "[]",
        '[{"name": "unknown", "arguments": {}}]',
        '[{"arguments": {"a": 1}, "name": "f"}]',
        '[{"name": "f", "arguments": {"a": 1',
        '[{"name": "f", "arguments": {}}] and more',
    ],
)
def test_what_is_no_list_of_calls_is_an_error(text: str) -> None:
    with pytest.raises(APIError):
        read(CallReader(NAMES, ids()), [text])


@pytest.mark.parametrize("text", ["", "Sure!", '{"a": 1', '{"a": 1} and more', "[1]"])
def test_what_is_no_object_is_an_error(text: str) -> None:
    with pytest.raises(APIError):
        read(OneCallReader("f", ids()), [text])
