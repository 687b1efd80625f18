"""Server-sent events as the HTML standard has them, however they are cut into reads."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mavera.models.event_stream import EventStreamReader, LineTooLong, Message

# The examples of section 9.2.6, and its corners.
EXAMPLES = {
    "three lines": (b"data: YHOO\ndata: +2\ndata: 10\n\n", [Message("message", b"YHOO\n+2\n10")]),
    "four blocks": (
        b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n",
        [
            Message("message", b"first event"),
            Message("message", b"second event"),
            Message("message", b" third event"),
        ],
    ),
    "empty data": (b"data\n\ndata\ndata\n\ndata:\n", [Message("message", b""), Message("message", b"\n")]),
    "a space after the colon is optional": (
        b"data:test\n\ndata: test\n\n",
        [Message("message", b"test"), Message("message", b"test")],
    ),
    "a name": (b"event: error\ndata: x\n\ndata: y\n\n", [Message("error", b"x"), Message("message", b"y")]),
    "a name without data": (b"event: ping\n\ndata: y\n\n", [Message("message", b"y")]),
    "a byte order mark": (b"\xef\xbb\xbfdata: x\n\n", [Message("message", b"x")]),
    "no empty line at the end": (b"data: x\n\ndata: y\n", [Message("message", b"x")]),
    "an unknown field": (b"dato: x\ndata : x\nDATA: x\ndata: y\n\n", [Message("message", b"y")]),
    "retry": (b"retry: 10\ndata: y\n\n", [Message("message", b"y")]),
}


def messages_of(stream: bytes, *cuts: int) -> list[Message]:
    reader = EventStreamReader(most_bytes=10_000)
    places = [0, *sorted(cuts), len(stream)]
    return [one for start, end in pairwise(places) for one in reader.feed(stream[start:end])]


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
@pytest.mark.parametrize(("stream", "messages"), EXAMPLES.values(), ids=EXAMPLES.keys())
def test_every_example_is_read_with_every_end_of_line(
    stream: bytes, messages: list[Message], end: bytes
) -> None:
    assert messages_of(stream.replace(b"\n", end)) == messages


@given(st.text("\n\r:d\x00 é", max_size=40), st.lists(st.integers(0, 60)), st.booleans())
def test_reads_cut_anywhere_give_the_same_messages(text: str, cuts: list[int], marked: bool) -> None:
    stream = (b"\xef\xbb\xbf" if marked else b"") + text.replace("d", "data").encode()
    assert messages_of(stream, *cuts) == messages_of(stream)


@pytest.mark.parametrize("stream", [b"data: " + b"x" * 20_000, b"data: xxxxxxxx\n" * 2_000])
def test_lines_and_messages_without_end_are_given_up(stream: bytes) -> None:
    with pytest.raises(LineTooLong):
        messages_of(stream, *range(0, len(stream), 100))
