"""
Read the `Range` header, with which video players request a part of a file.

    bytes=0-499   bytes=500-   bytes=-500      one part
    anything else, such as several parts       the whole file, which is a valid response too
"""

import re
from dataclasses import dataclass

_ONE = re.compile(r"\s*bytes\s*=\s*(\d{0,18})\s*-\s*(\d{0,18})\s*", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ByteRange:
    """`length` bytes from `start`. `length` is 0 if the file ends before `start`."""

    start: int
    length: int

    def content_range(self, size: int) -> str:
        return (
            f"bytes {self.start}-{self.start + self.length - 1}/{size}" if self.length else f"bytes */{size}"
        )


def parse_range(header: str | None, size: int) -> ByteRange | None:
    """Return the part of `size` bytes that `header` requests, or None if that is all of them."""
    found = _ONE.fullmatch(header or "")
    first, last = found.groups() if found is not None else ("", "")
    if not first and not last:
        return None
    if not first:
        length = min(int(last), size)
        return ByteRange(size - length, length)
    start, end = int(first), min(int(last or size), size - 1)
    if last and int(last) < start:
        return None
    return ByteRange(start, max(0, end - start + 1))
