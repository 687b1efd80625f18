"""The encoding for pipes: UTF-8 as it is, but for the end of lines that are too long."""

import codecs
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mavera.fetch import capped_lines


@given(st.text(), st.lists(st.integers(0, 200)))
def test_what_is_not_too_long_is_utf8_however_it_comes(text: str, cuts: list[int]) -> None:
    data = text.encode("utf-8", errors="replace")
    decoder = codecs.getincrementaldecoder(capped_lines.register())("strict")

    decoded = [decoder.decode(data[start:end]) for start, end in pairwise([0, *sorted(cuts), None])]

    assert "".join(decoded) + decoder.decode(b"", True) == data.decode()
    assert text.encode("utf-8", "replace") == codecs.encode(data.decode(), capped_lines.NAME)


@given(st.lists(st.integers(0, 30), min_size=1), st.integers(1, 40))
def test_lines_are_cut_and_their_ends_kept(lengths: list[int], step: int) -> None:
    data = b"\n".join(b"x" * length for length in lengths)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(capped_lines, "MOST_LINE_BYTES", 10)
        decoder = codecs.getincrementaldecoder(capped_lines.register())("strict")

        decoded = "".join(decoder.decode(data[at : at + step]) for at in range(0, len(data), step))

    assert [len(line) for line in decoded.split("\n")] == [min(10, length) for length in lengths]
