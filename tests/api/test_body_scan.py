"""The scan of a large body: what it counts is what is there, however the slices fall, and what it refuses."""

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mavera.api.http import body_scan
from mavera.api.http.body_scan import MAX_DEPTH, MAX_NUMBER_CHARACTERS, MAX_TEXT_BYTES, MAX_VALUES, scan
from mavera.api.http.decoding import SMALL_BODY_BYTES, decode
from mavera.core.text import clean_json, clean_json_pieces
from mavera.errors import APIError, InvalidRequest, RequestTooLarge

texts = st.text(alphabet='ab"\\,:[]{}\n\u00fc\U0001f600', max_size=20)
texts |= texts.map("data:{}/A/A/A".format)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | texts,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(texts, inner, max_size=5),
    max_leaves=40,
)


def members_of(value: Any) -> int:
    if isinstance(value, dict):
        return len(value) + sum(members_of(inner) for inner in value.values())
    return sum(members_of(inner) for inner in value) if isinstance(value, list) else 0


def scanned(body: bytes) -> int:
    return asyncio.run(scan(body)).members


@settings(max_examples=500)
@given(value=values, ascii_only=st.booleans(), size=st.integers(1, 40))
def test_members_are_counted_wherever_the_slices_end(value: Any, ascii_only: bool, size: int) -> None:
    body = json.dumps(value, ensure_ascii=ascii_only).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(body_scan, "_SLICE", size)
        patch.setattr(body_scan, "_DATA_SLICE", size)

        assert scanned(body) == scanned(body.replace(b"/", b"\\/")) == members_of(value)


@given(
    text=st.lists(st.sampled_from(["\\u0000", "\\ud83d", "\\ude00", "\\\\", "\\n", "ud83d", "\u00fc", "a"])),
    size=st.integers(12, 40),
)
def test_a_large_body_is_cleaned_in_pieces_as_a_small_one_is_at_once(text: list[str], size: int) -> None:
    body = f'{{"a": "{"".join(text)}"}}'.encode()

    assert b"".join(clean_json_pieces(body, size)) == clean_json(body)


@given(body=st.binary(max_size=60), size=st.integers(6, 40))
def test_cleaning_in_pieces_ends_on_any_bytes(body: bytes, size: int) -> None:
    assert len(b"".join(clean_json_pieces(body, size))) == len(clean_json(body))


def free(value: bytes) -> bytes:
    return b'{"a": ' + value + b"}"


def list_of(count: int, value: bytes = b"1") -> bytes:
    return free(b"[" + b",".join([value] * count) + b"]")


ALLOWED = {
    "as many values as may be": list_of(MAX_VALUES - 1),
    "as much text as may be": free(b'"' + b"x" * (MAX_TEXT_BYTES - 9) + b'"'),
    "as many levels as may be": free(b"[" * (MAX_DEPTH - 1) + b"]" * (MAX_DEPTH - 1)),
    "a number as long as may be": free(b"1" * MAX_NUMBER_CHARACTERS),
    "a long number within a text": free(b'"' + b"1" * 70_000 + b'"'),
    "commas and brackets within a text": free(b'"' + b"[{,:" * 100_000 + b'"'),
    "an image of 20 MB": free(b'"data:image/png;base64,' + b"A" * 27_000_000 + b'"'),
    "an image whose slashes are escaped": free(
        b'"data:image/png;base64,' + (b"A" * 63 + b"\\/") * 200_000 + b'"'
    ),
    "ten images": list_of(10, b'"DATA:image/png;base64,' + b"A" * 3_000_000 + b'"'),
    "an image where a slice ends within its beginning": b'{"a":"%b","b": "data:image/png;base64,%b"}'
    % (b"x" * (body_scan._SLICE - 20), b"A" * 10_000_000),
}
REFUSED: dict[str, tuple[bytes, type[APIError]]] = {
    "one value more": (list_of(MAX_VALUES), RequestTooLarge),
    "as many objects": (list_of(MAX_VALUES // 2 + 1, b"{}"), RequestTooLarge),
    "one byte of text more": (free(b'"' + b"x" * (MAX_TEXT_BYTES - 8) + b'"'), RequestTooLarge),
    "as much space": (free(b" " * MAX_TEXT_BYTES + b"1"), RequestTooLarge),
    "escapes that call themselves an image": (
        free(b'"data:a,' + b"\\n" * MAX_TEXT_BYTES + b'"'),
        RequestTooLarge,
    ),
    "emoji that call themselves an image": (
        free(b'"data:a,' + "\U0001f600".encode() * (MAX_TEXT_BYTES // 3) + b'"'),
        RequestTooLarge,
    ),
    "an image without an end": (b'{"a": "data:a,' + b"A" * 2 * MAX_TEXT_BYTES, RequestTooLarge),
    "one level more": (free(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH), InvalidRequest),
    "levels without an end": (b"[" * 1_000_000, InvalidRequest),
    "a longer number": (free(b"1" * (MAX_NUMBER_CHARACTERS + 1)), InvalidRequest),
    "a longer fraction": (free(b"-0." + b"3" * MAX_NUMBER_CHARACTERS), InvalidRequest),
}


@pytest.mark.parametrize("body", ALLOWED.values(), ids=ALLOWED.keys())
def test_what_decodes_quickly_is_let_through(body: bytes) -> None:
    scanned(body)

    json.loads(body)


@pytest.mark.parametrize(("body", "error"), REFUSED.values(), ids=REFUSED.keys())
def test_what_takes_long_to_decode_is_refused(body: bytes, error: type[APIError]) -> None:
    with pytest.raises(error):
        scanned(body)


@given(value=values, at=st.integers(0, 3))
def test_a_large_body_is_taken_as_a_small_one_is(value: Any, at: int) -> None:
    padding = '"' + "x" * SMALL_BODY_BYTES + '"'
    body = f'{{"padding": {padding}, "value": {json.dumps(value)}}}'.encode()

    assert asyncio.run(decode(body, dict[str, Any]))["value"] == value


@pytest.mark.parametrize("name", ["a", "a\\u0062", ""])
def test_a_name_that_stands_twice_in_a_large_body_is_refused_by_name(name: str) -> None:
    padding = "x" * SMALL_BODY_BYTES
    body = f'{{"b": [{{"{name}": 1, "c": "{padding}", "{name}": 2}}]}}'.encode()

    with pytest.raises(InvalidRequest) as refused:
        asyncio.run(decode(body, dict[str, Any]))

    assert refused.value.param == json.loads(f'"{name}"')


def test_a_name_that_stands_twice_among_many_escapes_is_refused_without_the_name() -> None:
    body = b'{"a": 1, "text": "' + b"\\n" * SMALL_BODY_BYTES + b'", "a": 2}'

    with pytest.raises(InvalidRequest) as refused:
        asyncio.run(decode(body, dict[str, Any]))

    assert refused.value.param is None
