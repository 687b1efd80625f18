"""
Scan a large JSON body before it is decoded, in slices between which the event loop runs.

    body → strings cut out → brackets, commas, colons and numbers are left → counted

Decoding is one call that nothing interrupts. These limits keep that call below some tens of milliseconds for
a body of any size. Values, escapes and long numbers take long to decode. The bytes of a data URL do not
count, because base64 is decoded at the speed of copying. The scan is exact up to the first place at which the
body is not valid JSON, and decoding stops at that place too.
"""

import asyncio
import re
from dataclasses import dataclass
from itertools import accumulate

from mavera.errors import APIError, InvalidRequest, RequestTooLarge

# The members of a request are encoded again for the model and the client, by encoders that recurse.
MAX_DEPTH = 128
# The elements and members of all arrays and objects together. Each costs the decoder some 100 ns, and the run
# of a turn some microseconds.
MAX_VALUES = 50_000
# The bytes outside of data URLs. Escapes cost 5 ns a byte, and other bytes less.
MAX_TEXT_BYTES = 8 * 1024 * 1024
# A float of 700 digits takes 40 µs.
MAX_NUMBER_CHARACTERS = 100

# A slice takes at most 2 ms. A slice of empty strings is the worst case.
_SLICE = 8 * 1024
_SLICES_AT_ONCE = 4

# A string, or the part of it in this slice. A pattern that demanded the closing quote would start again at
# each escaped quote of a string that ends in a later slice.
_STRING = re.compile(rb'("[^"\\]{0,5}+)[^"\\]*+(?:\\.[^"\\]*+)*+("?+)', re.DOTALL)
_LONG_NUMBER = re.compile(rb"[-+.0-9Ee]{%d}" % (MAX_NUMBER_CHARACTERS + 1))
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_DATA_URL = b'"data:'
_DATA_SLICE = 1024 * 1024
# Some libraries escape the slashes of base64, which are one character in 64.
_CHARACTERS_AN_ESCAPE = 16


@dataclass(frozen=True, slots=True)
class Scanned:
    """
    `members` counts the members of all objects, with repetitions.

    The other says whether `\\u` may occur.
    """

    members: int
    has_escapes: bool


async def scan(body: bytes) -> Scanned:
    """
    Count the values of `body` before it is decoded.

    Raises InvalidRequest or RequestTooLarge if decoding `body` would hold the event loop for long.
    """
    found, start, opening, slices = _Found(), 0, b"", 0
    while start < len(body):
        end = start + _SLICE
        opening = found.take(opening + body[start:end], size=min(end, len(body)) - start)
        start = end
        if opening[:6].lower() == _DATA_URL:
            start = await _end_of_data_url(body, end)
            opening = b'"' + (opening[6:] if start == end else b"")
        slices += 1
        if slices % _SLICES_AT_ONCE == 0:
            await asyncio.sleep(0)
    return Scanned(found.members, found.has_escapes)


@dataclass(slots=True)
class _Found:
    """The counts so far."""

    text_bytes: int = 0
    values: int = 0
    members: int = 0
    depth: int = 0
    has_escapes: bool = False

    def take(self, piece: bytes, *, size: int) -> bytes:
        """
        Count the next piece, which has `size` new bytes.

        Returns the text to put before the following piece, so that it continues the same string.
        """
        # the text outside of strings, the beginning of a string, its closing quote, and so on
        parts = _STRING.split(piece)
        outside = b"".join(parts[::3])
        self.has_escapes = self.has_escapes or b"\\u" in piece or piece.endswith(b"\\")
        self.text_bytes += size
        self.values += outside.count(b",") + outside.count(b"[") + outside.count(b"{")
        self.members += outside.count(b":")
        if self.text_bytes > MAX_TEXT_BYTES:
            raise RequestTooLarge(
                f"The body has more than {MAX_TEXT_BYTES:,} bytes outside of images in data URLs."
            )
        if self.values > MAX_VALUES:
            raise RequestTooLarge(f"The arrays and objects of the body have more than {MAX_VALUES:,} values.")
        if _LONG_NUMBER.search(outside):
            raise InvalidRequest(f"The body has a number of more than {MAX_NUMBER_CHARACTERS} characters.")
        self._descend(outside)
        return b"" if len(parts) == 1 or parts[-2] else _reopen(parts[-3], parts[-1])

    def _descend(self, outside: bytes) -> None:
        depths = _find_depths(outside, self.depth)
        if max(depths) > MAX_DEPTH:
            raise too_deep()
        self.depth = depths[-1]


def _reopen(beginning: bytes, escape: bytes) -> bytes:
    """Replace the beginning of a string by a quote if it turned out not to be a data URL."""
    is_open = len(beginning) < len(_DATA_URL) or beginning.lower() == _DATA_URL
    return (beginning if is_open else b'"') + escape


async def _end_of_data_url(body: bytes, start: int) -> int:
    """Return the end of the data URL around `start`, or `start` if it is not a data URL after all."""
    end = body.find(b'"', start)
    if body[end - 1 : end] == b"\\":  # an escaped quote or backslash is not base64
        return start
    escapes = 0
    for at in range(start, end, _DATA_SLICE):
        piece = body[at : min(at + _DATA_SLICE, end)]
        escapes += piece.count(b"\\")
        if not piece.isascii() or escapes * _CHARACTERS_AN_ESCAPE > at + len(piece) - start:
            return start
        await asyncio.sleep(0)
    return max(end, start)


def refuse_depth(body: bytes) -> None:
    """Raise InvalidRequest if `body`, which is valid JSON, is nested deeper than `MAX_DEPTH`."""
    if body.count(b"[") + body.count(b"{") <= MAX_DEPTH:
        return
    if max(_find_depths(b"".join(_STRING.split(body)[::3]), 0)) > MAX_DEPTH:
        raise too_deep()


def _find_depths(outside: bytes, before: int) -> list[int]:
    brackets = outside.translate(None, delete=_NO_BRACKETS)
    return list(accumulate((1 if bracket in b"[{" else -1 for bracket in brackets), initial=before))


def too_deep() -> APIError:
    return InvalidRequest(f"The body is nested too deeply: {MAX_DEPTH} levels are the most.")
