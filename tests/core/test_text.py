"""Whatever a caller sends as text can be stored, and nothing else in it changes."""

import json
import re

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from mavera.core.text import REPLACEMENT, clean_json, clean_text

# Python's json takes lone surrogates and NUL, and writes them as escapes.
texts = st.text(st.characters(categories=None) | st.sampled_from('\\\0\ud83d\ude00\ud800\udfff"u0d'))
values = st.recursive(texts | st.integers() | st.none(), lambda v: st.lists(v) | st.dictionaries(texts, v))


def paired(text: str) -> str:
    """Return `text` with each high and low half that meet made one character, as JSON has it."""
    return re.sub("[\ud800-\udbff][\udc00-\udfff]", lambda m: chr(_joined(*map(ord, m[0]))), text)


def _joined(high: int, low: int) -> int:
    return 0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00)


@given(texts)
def test_a_clean_text_can_be_stored_and_is_as_long(text: str) -> None:
    cleaned = clean_text(text)
    cleaned.encode()
    assert "\0" not in cleaned
    assert len(cleaned) == len(text)
    assert clean_text(cleaned) == cleaned
    kept = zip(text, cleaned, strict=True)
    assert all(before == after or after == REPLACEMENT for before, after in kept)


@given(texts)
def test_a_text_in_json_is_cleaned_as_one_outside_of_it(text: str) -> None:
    for body in (json.dumps(text), json.dumps(text).replace("\\ud", "\\uD")):
        assert msgspec.json.decode(clean_json(body.encode())) == clean_text(paired(text))


@settings(max_examples=30)
@given(values)
def test_json_without_bad_text_stays_as_it_is(value: object) -> None:
    clean = json.loads(clean_json(json.dumps(value).encode()))
    body = json.dumps(clean).encode()
    assert clean_json(body) == body
    assert msgspec.json.decode(body) == clean


@given(st.binary() | st.lists(st.sampled_from([b"\\", b"u0000", b"ud800", b"\\ud83d\\ude00"])).map(b"".join))
def test_bytes_that_are_no_json_are_returned_all_the_same(body: bytes) -> None:
    assert len(clean_json(body)) == len(body)
