"""Which part of a file a Range header asks for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mavera.api.http.byte_range import ByteRange, parse_range

SIZES = st.integers(0, 40)
PLACES = st.integers(0, 60)


@given(SIZES, PLACES, PLACES)
def test_a_part_is_what_a_slice_gives(size: int, first: int, last: int) -> None:
    data = bytes(range(size))
    part = parse_range(f"bytes={first}-{last}", size)

    if last < first:
        assert part is None
    else:
        assert part is not None
        assert data[part.start : part.start + part.length] == data[first : last + 1]
        assert part.length == len(data[first : last + 1])


@given(SIZES, PLACES)
def test_a_part_may_have_no_end_or_be_counted_from_it(size: int, many: int) -> None:
    data = bytes(range(size))
    rest, last = parse_range(f"bytes={many}-", size), parse_range(f"bytes=-{many}", size)

    assert rest is not None
    assert data[rest.start : rest.start + rest.length] == data[many:]
    assert last is not None
    assert data[last.start : last.start + last.length] == (data[-many:] if many else b"")


@pytest.mark.parametrize(
    "header",
    [None, "", "bytes", "bytes=", "bytes=-", "bytes=a-b", "items=0-1", "bytes=0-1,3-4", "bytes=１-２"],
)
def test_anything_else_asks_for_all(header: str | None) -> None:
    assert parse_range(header, 100) is None


def test_a_part_says_which_it_is() -> None:
    assert ByteRange(2, 3).content_range(10) == "bytes 2-4/10"
    assert ByteRange(10, 0).content_range(10) == "bytes */10"
