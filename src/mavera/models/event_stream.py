"""
Read a stream of server-sent events: bytes in, messages out.

    data: {"a": 1}\\n\\n                     → Message("message", b'{"a": 1}')
    event: error\\r\\ndata: x\\rdata: y\\r\\r  → Message("error", b"x\\ny")
    : a comment\\n\\n                        → nothing

It follows the WHATWG's HTML standard, 9.2.5 and 9.2.6: lines end with LF, CR or CRLF, a byte order mark at
the start is skipped, and a last message without an empty line is dropped. `id` and `retry` are ignored,
because this client never reconnects.
"""

from typing import NamedTuple

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Message(NamedTuple):
    """One message. `data` is UTF-8 as it came, so it may be malformed."""

    event: str
    data: bytes


class LineTooLong(Exception):
    """A line or a message is longer than the reader's limit."""


class EventStreamReader:
    """Keeps an unfinished line and message between two reads, at most `most_bytes` of each."""

    def __init__(self, *, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._line = bytearray()
        self._data: list[bytes] = []
        self._data_bytes = 0
        self._event = ""
        self._has_begun = False
        self._ended_with_cr = False
        # Whether nothing is unfinished: the next byte begins a line of a new message.
        self.is_idle = False

    def feed(self, read: bytes) -> list[Message]:
        """Return the messages that `read` completes. Raises LineTooLong."""
        if not read:
            return []
        if self._ended_with_cr:
            self._ended_with_cr = False
            read = read.removeprefix(b"\n")  # the second half of a CRLF that came in two reads
        if b"\r" in read:
            self._ended_with_cr = read.endswith(b"\r")
            read = read.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *ends, rest = read.split(b"\n")
        messages: list[Message] = []
        for end in ends:
            line = bytes(self._line) + end if self._line else end
            self._line.clear()
            self._feed_line(line, messages)
        self._line += rest
        if len(self._line) > self._most_bytes:
            raise LineTooLong
        self.is_idle = not (self._line or self._data or self._event or self._ended_with_cr)
        return messages

    def _feed_line(self, line: bytes, messages: list[Message]) -> None:
        if not self._has_begun:
            self._has_begun = True
            line = line.removeprefix(_BYTE_ORDER_MARK)
        if not line:
            if self._data:
                messages.append(Message(self._event or "message", b"\n".join(self._data)))
            self._data, self._data_bytes, self._event = [], 0, ""
            return
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            self._data_bytes += len(value) + 1
            if self._data_bytes > self._most_bytes:
                raise LineTooLong
            self._data.append(value)
        elif field == b"event":
            self._event = value.decode(errors="replace")
